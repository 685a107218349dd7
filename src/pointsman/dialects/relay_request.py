"""OpenAI wire in, OpenAI wire out: read a request partially, once, and change only the bytes that routing changes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Raw

from pointsman.core.policy import Wire
from pointsman.core.priority import Priority
from pointsman.core.request import (
    BYTES_PER_TOKEN,
    NEED_AUDIO,
    NEED_FILE,
    NEED_IMAGE,
    NEED_JSON_SCHEMA,
    NEED_TOOLS,
    TOKENS_PER_IMAGE,
    Features,
)
from pointsman.dialects.base import WireError

ABSENT = Raw(b"")
(BACKSLASH,) = b"\\"  # as a number: to find one of those in bytes takes a fifth of the time
_NAME = re.compile(rb'\s*:\s*"((?:[^"\\]|\\.)*)"').match


class StreamOptions(msgspec.Struct, frozen=True, gc=False):
    include_usage: bool | None = None


Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]  # OpenAI's own bound on n


class RouterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the router's own member of the body, `pointsman`, which never reaches a provider."""

    timeout_ms: Positive | None = None
    attempts: Positive | None = None
    session: Annotated[str, msgspec.Meta(max_length=256)] | None = None  # the conversation it belongs to
    tags: Annotated[list[Tag], msgspec.Meta(max_length=16)] = []  # for rules, and kept with the row
    explain: bool = False  # answer with the long reason in a header
    priority: Priority | None = None  # no higher than the key's
    cache: Literal["off", "only-if-cached", "refresh"] | None = None
    store: bool | None = None  # false: neither request nor answer is stored
    cache_ttl_s: Positive | None = None  # how old its answer may be, and how long it is kept


NO_OPTIONS = RouterOptions()


class Head(msgspec.Struct, frozen=True, gc=False):
    """Hold the members of a chat request that routing reads; everything else stays bytes."""

    model: str
    messages: Raw
    stream: bool | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    n: Choices | None = None
    tools: Raw = ABSENT
    response_format: Raw = ABSENT
    stream_options: StreamOptions | None = None
    service_tier: str | None = None
    pointsman: RouterOptions | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def router(self) -> RouterOptions:
        return self.pointsman or NO_OPTIONS

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage is True


class _Kind(msgspec.Struct, frozen=True):
    type: str | None = None


class _Part(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct, frozen=True):
    content: list[_Part] | str | None = None


_head = msgspec.json.Decoder(Head).decode
_kind = msgspec.json.Decoder(_Kind | None).decode
_messages = msgspec.json.Decoder(list[_Message]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_NEED_OF_PART = {
    "image_url": NEED_IMAGE,
    "input_image": NEED_IMAGE,
    "input_audio": NEED_AUDIO,
    "file": NEED_FILE,
}
_NOTHING = (b"", b"null", b"[]")


def read_head(body: bytes) -> Head:
    """Return the routed members of a chat request body. Raise WireError that says what is wrong and where."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"the body is not valid UTF-8 (byte {error.start})") from None
    try:
        head = _head(body)
    except msgspec.ValidationError as error:
        raise WireError(f"the body does not fit a chat request: {error}") from None
    except msgspec.DecodeError as error:
        raise WireError(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise WireError("the body is nested too deeply") from None
    return head


def read_features(head: Head, body: bytes) -> Features:
    """Return the features of a request. Only when the bytes hint at parts other than text are the messages decoded."""
    needs = images = 0
    size = len(memoryview(head.messages))
    if head.tools is not ABSENT and bytes(head.tools) not in _NOTHING:
        needs = NEED_TOOLS
        size += len(memoryview(head.tools))
    if head.response_format is not ABSENT and _wants_schema(bytes(head.response_format)):
        needs |= NEED_JSON_SCHEMA
    # Parts other than text stand in lists of parts, so behind a second `[`; one byte is found much faster than a word.
    if body.find(b"[", body.find(b"[") + 1) >= 0 and (b'"image' in body or b'"input_' in body or b'"file"' in body):
        more, text_bytes, images = _parts(bytes(head.messages))
        needs |= more
        size += text_bytes - len(memoryview(head.messages))
    return Features(
        int(size / BYTES_PER_TOKEN) + images * TOKENS_PER_IMAGE,
        head.max_completion_tokens or head.max_tokens,
        needs,
        head.n or 1,
        head.stream is True,
    )


def splice(body: bytes, head: Head, wire: Wire, model: bytes) -> bytes:
    """Return the body as the provider gets it: model replaced, usage asked for, our own member and refused ones gone.

    `model` is the upstream model id as encoded JSON, b"" when this provider wants members renamed or dropped. In the
    usual case the body is cut at one place and every other byte stays. It is rebuilt from its raw members when that is
    not certain to hit the top-level member: `model` stands in it more than once, or escapes could spell it.
    """
    ask_usage = head.stream is True and wire.stream_usage and not head.include_usage
    around = body.split(b'"model"', 2)
    if (
        not model
        or len(around) != 2
        or (BACKSLASH in body and b"\\u00" in body)
        or head.pointsman is not msgspec.UNSET
        or (ask_usage and b'"stream_options"' in body)
    ):
        return _rebuild(body, wire, ask_usage)
    name = head.model.encode()
    before, behind = around
    colon = b': "' if behind[:3] == b': "' else b':"'
    start = len(colon)
    end = start + len(name)
    if behind[:start] != colon or behind[start:end] != name or behind[end : end + 1] != b'"':
        found = _NAME(behind)
        if found is None:
            return _rebuild(body, wire, ask_usage)
        start, end = found.span(1)
        colon = behind[:start]
    if not ask_usage:
        return b"".join((before, b'"model"', colon[:-1], model, behind[end + 1 :]))
    close = behind.rindex(b"}")
    return b"".join(
        (before, b'"model"', colon[:-1], model, behind[end + 1 : close], b',"stream_options":{"include_usage":true}}')
    )


def spliced_model(wire: Wire) -> bytes:
    """Return what `splice` takes for `model`."""
    plain = not wire.rename and not wire.drop
    return msgspec.json.encode(wire.model) if plain else b""


def _rebuild(body: bytes, wire: Wire, ask_usage: bool) -> bytes:
    members = _members(body)
    members.pop("pointsman", None)
    members["model"] = Raw(msgspec.json.encode(wire.model))
    if ask_usage:
        options = members.get("stream_options", ABSENT)
        kept = {} if bytes(options) in _NOTHING else _members(bytes(options))
        members["stream_options"] = Raw(msgspec.json.encode({**kept, "include_usage": True}))
    for name in wire.drop:
        members.pop(name, None)
    if not wire.stream_usage:
        members.pop("stream_options", None)
    renamed = {wire.rename.get(name, name): value for name, value in members.items()}
    return msgspec.json.encode(renamed)


def _wants_schema(raw: bytes) -> bool:
    try:
        kind = _kind(raw)
    except msgspec.ValidationError:
        raise WireError(
            "the body does not fit a chat request: `response_format` must be an object with `type`"
        ) from None
    return kind is not None and kind.type == "json_schema"


def _parts(messages: bytes) -> tuple[int, int, int]:
    """Return what the content parts need, the bytes of text in them, and the number of images."""
    try:
        decoded = _messages(messages)
    except msgspec.MsgspecError:
        return 0, len(messages), 0  # not of the known shape: the provider will say so
    needs = size = images = 0
    for message in decoded:
        if not isinstance(message.content, list):
            size += len(message.content or "")
            continue
        for part in message.content:
            need = _NEED_OF_PART.get(part.type, 0)
            needs |= need
            images += need == NEED_IMAGE
            size += len(part.text or "")
    return needs, size, images

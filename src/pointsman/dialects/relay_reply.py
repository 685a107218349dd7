"""OpenAI wire in, OpenAI wire out: read what the books need from a unary reply; its bytes are relayed as they are."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import MAX_TOKENS, NO_USAGE, Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.openai.facts import usage_of


class _Details(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    audio_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct, frozen=True, gc=False):
    """Hold a usage object as far as it is plain: two totals, and nothing of a class with a rate of its own."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = 0
    cached_tokens: int | None = 0


class Choice(msgspec.Struct, frozen=True, gc=False):
    finish_reason: str | None = None
    delta: dict[str, Any] | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Raw = Raw(b"")
    error: Raw = Raw(b"")


decode_body = msgspec.json.Decoder(Body).decode
NULL = (b"", b"null")
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what decoding of outside bytes raises


class ReplyFacts(msgspec.Struct, frozen=True, gc=False):
    """Hold what the books need of a unary reply. `failure` is the error it carried under status 200, if any, or that it
    says nothing: SILENT or CONTENT_FILTER, and then it may be given to the client all the same."""

    usage: Usage
    served_model: str
    failure: Outcome | None = None


def read_usage(raw: bytes) -> Usage:
    """Return the usage object of a reply; NO_USAGE when it is absent or says nothing (fault 28)."""
    if raw in NULL:
        return NO_USAGE
    try:
        return usage_of(Raw(raw)) or NO_USAGE
    except UNREADABLE:
        return NO_USAGE


def _plain_usage(u: _Usage | None) -> Usage | None:
    """Return the usage when it is plain and possible, None for any other: that is read part by part."""
    if u is None:
        return None
    given, made = u.prompt_tokens, u.completion_tokens
    if given is None or made is None or u.total_tokens != given + made or u.prompt_cache_hit_tokens or u.cached_tokens:
        return None
    d, e = u.prompt_tokens_details, u.completion_tokens_details
    if d is not None and (d.cached_tokens or d.cache_write_tokens or d.audio_tokens):
        return None
    if e is not None and (e.reasoning_tokens or e.audio_tokens):
        return None
    return Usage(given, made) if 0 < given <= MAX_TOKENS and 0 <= made <= MAX_TOKENS else None


ABSENT = Raw(b"")
_CONTENT = b'"content":'
_NOTHING = (b'""', b' ""', b"null", b" null")  # what stands behind it when a reply says nothing


class _Unary(msgspec.Struct, frozen=True, gc=False):
    choices: Raw = ABSENT
    usage: _Usage | None = None
    model: str | None = None
    error: Raw = ABSENT


_unary = msgspec.json.Decoder(_Unary).decode


def read_reply(body: bytes) -> ReplyFacts:
    """Return what the books need of a complete unary reply. Raise WireError when it is not a chat completion."""
    try:
        u = _unary(body)
    except UNREADABLE:
        return _read_odd_reply(body)
    usage = _plain_usage(u.usage)
    said = body.find(_CONTENT)
    if said < 0 or body.startswith(_NOTHING, said + len(_CONTENT)):
        return _read_odd_reply(body)  # a tool call, or nothing
    if usage is None or (u.error is not ABSENT and bytes(u.error) != b"null") or len(memoryview(u.choices)) < 3:
        return _read_odd_reply(body)
    return ReplyFacts(usage, u.model or "")


def _read_odd_reply(body: bytes) -> ReplyFacts:
    """Read a reply that is not of the usual shape, part by part: an odd usage must not cost the answer."""
    try:
        decoded = decode_body(body)
    except UNREADABLE:
        raise WireError("the reply is not a chat completion") from None
    if decoded.error is not None and bytes(decoded.error) not in NULL:
        return ReplyFacts(NO_USAGE, "", Outcome(Kind.SERVER_ERROR))
    if not decoded.choices:
        return ReplyFacts(NO_USAGE, "", Outcome(Kind.EMPTY, message="the reply has no choices"))
    return ReplyFacts(read_usage(bytes(decoded.usage)), decoded.model or "", _silence(body))


class _Said(msgspec.Struct, frozen=True, gc=False):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class _SaidChoice(msgspec.Struct, frozen=True, gc=False):
    message: _Said = _Said()
    finish_reason: str | None = None


class _SaidBody(msgspec.Struct, frozen=True, gc=False):
    choices: list[_SaidChoice]


_said = msgspec.json.Decoder(_SaidBody).decode


def _silence(body: bytes) -> Outcome | None:
    """Return what a reply that says nothing is: SILENT, or CONTENT_FILTER where that is why; None when it says something
    or was cut for its length."""
    try:
        choices = _said(body).choices
    except UNREADABLE:
        return None
    if any(any(getattr(one.message, name) for name in _Said.__struct_fields__) for one in choices):
        return None
    return silence_of({one.finish_reason or "stop" for one in choices})


def silence_of(finishes: set[str]) -> Outcome | None:
    """Return what an answer without content is, by the reasons for which it ended."""
    if finishes == {"stop"}:
        return Outcome(Kind.SILENT, 200, "the answer has neither content nor a tool call")
    if finishes == {"content_filter"}:
        return Outcome(Kind.CONTENT_FILTER, 200, "the provider's content filter left nothing of the answer")
    return None

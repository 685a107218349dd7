"""OpenAI wire in, OpenAI wire out: read what the books need from a reply, and relay its bytes.

A stream is forwarded in whole events as they came. Until the first content each event is decoded; afterwards a few byte
searches tell whether an event could be anything but plain content, and only such an event is decoded.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import NO_USAGE, Usage, clamp
from pointsman.dialects.base import WireError

MAX_EVENT_BYTES = 16 * 1024 * 1024


class _InputDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    finish_reason: str | None = None
    delta: dict[str, Any] | None = None


class _Body(msgspec.Struct, frozen=True, gc=False):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Raw = Raw(b"")
    error: Raw = Raw(b"")


_body = msgspec.json.Decoder(_Body).decode
_usage = msgspec.json.Decoder(_Usage | None).decode
_NULL = (b"", b"null")
_BOUNDARY = re.compile(rb"\r?\n\r?\n|\r\r")
_CONTENT_MEMBERS = (
    "content",
    "tool_calls",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "audio",
)


class ReplyFacts(msgspec.Struct, frozen=True, gc=False):
    """Hold what the books need of a unary reply. `failure` is the error it carried under status 200, if any."""

    usage: Usage
    served_model: str
    failure: Outcome | None = None


def read_usage(raw: bytes) -> Usage:
    """Return the usage object of a reply; NO_USAGE when it is absent or cannot be read (fault 28)."""
    if raw in _NULL:
        return NO_USAGE
    try:
        u = _usage(raw)
    except msgspec.MsgspecError:
        return NO_USAGE
    if u is None or u.prompt_tokens is None or u.completion_tokens is None:
        return NO_USAGE
    given, made = u.prompt_tokens_details, u.completion_tokens_details
    usage = Usage(
        u.prompt_tokens,
        u.completion_tokens,
        (given.cached_tokens or 0) if given else 0,
        (given.cache_write_tokens or 0) if given else 0,
        0,
        (made.reasoning_tokens or 0) if made else 0,
        (given.audio_tokens or 0) if given else 0,
        (made.audio_tokens or 0) if made else 0,
    )
    if usage.total_tokens == 0:
        return NO_USAGE  # an answer is never free of tokens
    return clamp(usage)


def read_reply(body: bytes) -> ReplyFacts:
    """Return what the books need of a complete unary reply. Raise WireError when it is not a chat completion."""
    try:
        decoded = _body(body)
    except (msgspec.DecodeError, RecursionError):
        raise WireError("the reply is not a chat completion") from None
    if decoded.error is not None and bytes(decoded.error) not in _NULL:
        return ReplyFacts(NO_USAGE, "", Outcome(Kind.SERVER_ERROR))
    if not decoded.choices:
        return ReplyFacts(NO_USAGE, "", Outcome(Kind.EMPTY, message="the reply has no choices"))
    return ReplyFacts(read_usage(bytes(decoded.usage)), decoded.model or "")


class RelayStream:
    """Relay one OpenAI stream. `feed` returns the bytes to forward: whole events only, ours and the provider's noise
    removed. After each `feed`, `content`, `failure` and `done` say what has been seen; `usage` is the last reported.
    """

    __slots__ = (
        "_carry", "_finished", "_overhead", "_prefix", "_show_usage", "_suffix", "content", "done", "events", "failure",
        "relayed_bytes", "served_model", "usage",
    )  # fmt: skip

    def __init__(self, *, show_usage: bool) -> None:
        self._show_usage = show_usage
        self._carry = b""
        self._finished = False
        self._overhead = 0
        self._prefix = self._suffix = b"\0"  # of an event that carries text; unknown until one came
        self.content = False
        self.done = False
        self.failure: Outcome | None = None
        self.usage = NO_USAGE
        self.served_model = ""
        self.events = 0
        self.relayed_bytes = 0

    def feed(self, data: bytes) -> bytes:
        prefix, suffix = self._prefix, self._suffix
        if data.startswith(prefix) and data.endswith(suffix) and not self._carry:
            # The usual event of this stream: nothing differs from the first but the text, and that is one plain string.
            inner = data[len(prefix) : -len(suffix)]
            if b'"' not in inner and b"\n" not in inner:
                self.events += 1
                self.relayed_bytes += len(data)
                return data
        if self._carry:
            data, self._carry = self._carry + data, b""
        if (
            self.content
            and data[-2:] == b"\n\n"
            and data[:5] == b"data:"
            and b"\r" not in data
            and b'"finish_reason":"' not in data
            and b'"finish_reason": "' not in data
            and b"[DONE]" not in data
            and b'"error"' not in data
            and b"\n:" not in data
            and b"\nid:" not in data
            and (
                (at := data.find(b'"usage"')) < 0
                or (data[at + 7 : at + 12] == b":null" and data.count(b'"usage"') == 1)
            )
        ):
            self.events += 1
            self.relayed_bytes += len(data)
            return data
        return self._examine(data)

    def close(self) -> Outcome:
        """Return the Outcome that the end of the bytes means: Ok only behind a terminal marker and a finish reason."""
        if self.failure is not None:
            return self.failure
        if self.done:
            return Outcome(Kind.OK, 200)
        if not self.events and not self._carry:
            return Outcome(Kind.EMPTY, 200, "the stream ended without an event")
        return Outcome(Kind.TRUNCATED, 200, "the stream ended before its terminal marker")

    @property
    def estimated_output_bytes(self) -> int:
        """Return about how many bytes of content were relayed, when the provider reported no usage."""
        return max(0, self.relayed_bytes - self.events * self._overhead)

    def _examine(self, data: bytes) -> bytes:
        """Look at each event by itself; keep an incomplete last one for later."""
        kept: list[bytes] = []
        at = 0
        for boundary in _BOUNDARY.finditer(data):
            if boundary.end() == len(data) and boundary.group() == b"\r\r":
                break  # perhaps the first half of CR LF CR LF
            event, at = data[at : boundary.start()], boundary.end()
            if self.done or self.failure is not None:
                break  # nothing follows a terminal marker (fault 53, 61)
            line = self._event(event)
            if line:
                kept.append(line)
        self._carry = b"" if self.done or self.failure is not None else data[at:]
        if len(self._carry) > MAX_EVENT_BYTES:
            self.failure = Outcome(Kind.BROKEN, 200, "an event is larger than 16 MiB")
        out = b"".join(kept)
        self.relayed_bytes += len(out)
        return out

    def _learn(self, payload: bytes, delta: dict[str, Any]) -> None:
        """Remember how an event that carries nothing but text looks around the text."""
        text = _text_member(delta)
        at = payload.find(b'"content":' + text) if text else -1
        if at < 0 or payload.count(text) != 1:
            return
        at += len(b'"content":"')
        self._prefix = b"data: " + payload[:at]
        self._suffix = payload[at + len(text) - 2 :] + b"\n\n"

    def _event(self, event: bytes) -> bytes:
        """Return one event as it is to be forwarded, b"" for none, and note what it says."""
        payload = _payload(event)
        if payload is None:
            return b""  # comments and fields without data: transport only (fault 50)
        self.events += 1
        if payload == b"[DONE]":
            if self._finished:
                self.done = True
                return b"data: [DONE]\n\n"
            self.failure = Outcome(Kind.TRUNCATED, 200, "the stream ended without a finish reason")
            return b""
        try:
            body = _body(payload)
        except (msgspec.DecodeError, RecursionError):
            if self.content:
                return b"data: " + payload + b"\n\n"  # same wire: forwarded as it came (fault 47)
            self.failure = Outcome(Kind.BROKEN, 200, "an event is not valid JSON")
            return b""
        if bytes(body.error) not in _NULL:
            self.failure = Outcome(Kind.SERVER_ERROR, 200, bytes(body.error).decode(errors="replace")[:500])
            return b""
        return self._note(body, payload)

    def _note(self, body: _Body, payload: bytes) -> bytes:
        if body.model and not self.served_model:
            self.served_model = body.model
        usage = read_usage(bytes(body.usage))
        if usage is not NO_USAGE:
            self.usage = usage
        for choice in body.choices or ():
            if choice.finish_reason:
                self._finished = True
            if not self.content and choice.delta and any(choice.delta.get(name) for name in _CONTENT_MEMBERS):
                self.content = True
                self._overhead = len(payload) + 8 - len(str(choice.delta.get("content") or ""))
            if self.content and self._prefix == b"\0" and len(body.choices or ()) == 1 and not choice.finish_reason:
                self._learn(payload, choice.delta or {})
        if usage is not NO_USAGE and not body.choices and not self._show_usage:
            return b""  # the client did not ask for it (K5)
        return b"data: " + payload + b"\n\n"


def _text_member(delta: dict[str, Any]) -> bytes:
    """Return the encoded text of a delta that carries nothing but text, b"" for any other."""
    text = delta.get("content")
    return msgspec.json.encode(text) if len(delta) == 1 and isinstance(text, str) and text else b""


def _payload(event: bytes) -> bytes | None:
    """Return the joined data lines of one SSE event, None when it has none."""
    if event[:6] == b"data: " and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = [
        line[6:] if line[5:6] == b" " else line[5:]
        for line in event.removeprefix(b"\xef\xbb\xbf").splitlines()
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None

"""OpenAI wire in, OpenAI wire out: read what the books need from a unary reply; its bytes are relayed as they are."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import MAX_TOKENS, NO_USAGE, Usage, clamp
from pointsman.dialects.base import WireError


class _InputDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    audio_tokens: int | None = 0


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = 0
    audio_tokens: int | None = 0


_NO_INPUT, _NO_OUTPUT = _InputDetails(), _OutputDetails()


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    finish_reason: str | None = None
    delta: dict[str, Any] | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Raw = Raw(b"")
    error: Raw = Raw(b"")


decode_body = msgspec.json.Decoder(Body).decode
_usage = msgspec.json.Decoder(_Usage | None).decode
NULL = (b"", b"null")
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what decoding of outside bytes raises


class ReplyFacts(msgspec.Struct, frozen=True, gc=False):
    """Hold what the books need of a unary reply. `failure` is the error it carried under status 200, if any."""

    usage: Usage
    served_model: str
    failure: Outcome | None = None


def read_usage(raw: bytes) -> Usage:
    """Return the usage object of a reply; NO_USAGE when it is absent or cannot be read (fault 28)."""
    if raw in NULL:
        return NO_USAGE
    try:
        u = _usage(raw)
    except UNREADABLE:
        return NO_USAGE
    return _usage_of(u)


def _usage_of(u: _Usage | None) -> Usage:
    if u is None:
        return NO_USAGE
    given, made = u.prompt_tokens, u.completion_tokens
    if given is None or made is None or given + made == 0:
        return NO_USAGE  # an answer is never free of tokens
    of_given, of_made = u.prompt_tokens_details or _NO_INPUT, u.completion_tokens_details or _NO_OUTPUT
    if not (
        of_given.cached_tokens
        or of_given.cache_write_tokens
        or of_given.audio_tokens
        or of_made.reasoning_tokens
        or of_made.audio_tokens
    ):
        return Usage(given, made) if 0 < given <= MAX_TOKENS and 0 <= made <= MAX_TOKENS else clamp(Usage(given, made))
    return clamp(
        Usage(
            given,
            made,
            of_given.cached_tokens or 0,
            of_given.cache_write_tokens or 0,
            0,
            of_made.reasoning_tokens or 0,
            of_given.audio_tokens or 0,
            of_made.audio_tokens or 0,
        )
    )


ABSENT = Raw(b"")


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
    if u.choices is ABSENT or (u.error is not ABSENT and bytes(u.error) != b"null") or len(memoryview(u.choices)) < 3:
        return _read_odd_reply(body)
    return ReplyFacts(_usage_of(u.usage), u.model or "")


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
    return ReplyFacts(read_usage(bytes(decoded.usage)), decoded.model or "")

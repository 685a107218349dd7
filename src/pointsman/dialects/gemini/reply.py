"""The generateContent reply, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import Choice, Message, Part, Reply, ToolCall
from pointsman.dialects.base import WireError
from pointsman.dialects.gemini.facts import (
    NAME,
    finish_of,
    is_finish,
    logprobs_body,
    logprobs_of,
    usage_body,
    usage_of,
    word_of,
)
from pointsman.dialects.gemini.parts import Calls, decode_part, encode_parts
from pointsman.dialects.gemini.shapes import REPLY, Candidate, ReplyIn
from pointsman.dialects.wirejson import checked_utf8, decode, encode, members, present

KNOWN = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId"))


def decode_reply(body: bytes) -> Reply:
    """Return the reply in a generateContent body; WireError if it is an error. A blocked prompt is one empty choice that
    ended by content_filter."""
    r = decode(REPLY, checked_utf8(body, "reply"), "reply")
    if present(r.error):
        raise WireError("reply: an error, not a reply")
    return Reply(
        id=r.response_id or "",
        model=r.model_version or "",
        choices=_choices(r),
        usage=usage_of(r.usage_metadata),
        extra={
            name: Raw(bytes(raw)) for name, raw in members(body, "reply").items() if name not in KNOWN and present(raw)
        },
        wire=NAME,
    )


def _choices(r: ReplyIn) -> tuple[Choice, ...]:
    if not r.candidates and r.prompt_feedback is not None and r.prompt_feedback.block_reason:
        blocked = Message("assistant", ())
        return (Choice(0, blocked, "content_filter", native_finish=r.prompt_feedback.block_reason),)
    return tuple(_choice(candidate, r.response_id or "") for candidate in r.candidates or ())


def _choice(c: Candidate, reply_id: str) -> Choice:
    calls = Calls(call_prefix(reply_id, c.index))
    parts: list[Part] = []
    for number, raw in enumerate((c.content.parts if c.content else None) or ()):
        parts += decode_part(raw, calls, f"candidates[{c.index}].parts[{number}]")
    word = c.finish_reason if is_finish(c.finish_reason) else None
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    return Choice(
        index=c.index,
        message=Message("assistant", tuple(parts)),
        finish=None if word is None else finish_of(word, has_calls),
        logprobs=logprobs_of(c.logprobs_result),
        native_finish=word,
    )


def call_prefix(reply_id: str, index: int) -> str:
    """Return what ids made for calls of this reply begin with; the same for a stream and a whole reply."""
    return "_".join(["call", *([reply_id] if reply_id else []), *([str(index)] if index else [])])


def encode_reply(reply: Reply) -> bytes:
    """Return a generateContent body for a client."""
    body: dict[str, Any] = {"candidates": [_encode_choice(choice) for choice in reply.choices]}
    if reply.usage is not None:
        body["usageMetadata"] = usage_body(reply.usage)
    body |= {"modelVersion": reply.model, "responseId": reply.id}
    if reply.wire == NAME:
        body |= reply.extra
    return encode(body)


def _encode_choice(c: Choice) -> dict[str, Any]:
    content = {"role": "model", "parts": encode_parts(c.message, {}, to_client=True)}
    body: dict[str, Any] = {"content": content, "index": c.index}
    if c.finish is not None:
        body["finishReason"] = word_of(c.finish, c.native_finish)
    if c.logprobs is not None and (found := logprobs_body(c.logprobs)):
        body["logprobsResult"] = found
    return body

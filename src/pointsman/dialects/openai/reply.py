"""The chat completion reply, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import Choice, Message, Reply
from pointsman.dialects.base import WireError
from pointsman.dialects.openai.facts import finish_of, usage_body, usage_of
from pointsman.dialects.openai.messages import assistant_members, decode_message
from pointsman.dialects.openai.parts import NAME
from pointsman.dialects.openai.shapes import REPLY, ChoiceIn
from pointsman.dialects.wirejson import checked_utf8, decode, encode, members, present

KNOWN = frozenset(("id", "object", "created", "model", "choices", "usage"))


def decode_reply(body: bytes) -> Reply:
    """Return the reply in a chat completion body; WireError if it is none. No `choices` at all is an empty reply."""
    r = decode(REPLY, checked_utf8(body, "reply"), "reply")
    extra = {
        name: Raw(bytes(raw)) for name, raw in members(body, "reply").items() if name not in KNOWN and present(raw)
    }
    return Reply(
        id=r.id or "",
        model=r.model or "",
        choices=tuple(_decode_choice(choice) for choice in r.choices or ()),
        usage=usage_of(r.usage),
        created_s=int(r.created or 0),
        extra=extra,
        wire=NAME,
    )


def _decode_choice(c: ChoiceIn) -> Choice:
    what = f"choices[{c.index}].message"
    message = decode_message(c.message, what) if present(c.message) else Message("assistant", ())
    if message.role != "assistant":
        raise WireError(f"{what}.role: expected assistant")
    word = c.finish_reason or None
    return Choice(
        index=c.index,
        message=message,
        finish=finish_of(word) if word else None,
        logprobs=Raw(bytes(c.logprobs)) if present(c.logprobs) else None,
        native_finish=c.native_finish_reason or word,
    )


def encode_reply(reply: Reply) -> bytes:
    """Return a chat completion body for a client."""
    body: dict[str, Any] = {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created_s,
        "model": reply.model,
        "choices": [_encode_choice(choice) for choice in reply.choices],
    }
    if reply.usage is not None:
        body["usage"] = usage_body(reply.usage)
    if reply.wire == NAME:
        body |= reply.extra
    return encode(body)


def _encode_choice(c: Choice) -> dict[str, Any]:
    body: dict[str, Any] = {
        "index": c.index,
        "message": {"role": "assistant"} | assistant_members(c.message, "reasoning_content", False),
        "logprobs": c.logprobs,
        "finish_reason": c.finish,
    }
    if c.native_finish and c.native_finish != c.finish:
        body["native_finish_reason"] = c.native_finish
    return body

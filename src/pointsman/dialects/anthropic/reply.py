"""The Messages reply, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import Choice, Message, Part, Reply, Text
from pointsman.core.usage import Usage
from pointsman.dialects.anthropic.blocks import decode_block, encode_part
from pointsman.dialects.anthropic.facts import NAME, finish_of, stop_reason_of, usage_body, usage_of
from pointsman.dialects.anthropic.shapes import REPLY, USAGE
from pointsman.dialects.base import WireError
from pointsman.dialects.wirejson import checked_utf8, decode, encode, lenient, members, present

KNOWN = frozenset(("id", "type", "role", "model", "content", "stop_reason", "usage"))


def decode_reply(body: bytes) -> Reply:
    """Return the reply in a Messages body; WireError if it is none."""
    r = decode(REPLY, checked_utf8(body, "reply"), "reply")
    if r.type not in (None, "message") or r.content is None:
        raise WireError("reply: not a message")
    parts = [decode_block(raw, f"content[{number}]") for number, raw in enumerate(r.content)]
    usage = lenient(USAGE, r.usage)
    word = r.stop_reason or None
    message = Message("assistant", tuple(part for part in parts if not _is_empty(part)))
    return Reply(
        id=r.id or "",
        model=r.model or "",
        choices=(Choice(0, message, finish_of(word) if word else None, native_finish=word),),
        usage=usage_of(usage) if usage is not None else None,
        extra={
            name: Raw(bytes(raw)) for name, raw in members(body, "reply").items() if name not in KNOWN and present(raw)
        },
        wire=NAME,
    )


def _is_empty(part: Part) -> bool:
    return isinstance(part, Text) and not part.text


def encode_reply(reply: Reply) -> bytes:
    """Return a Messages body for a client; WireError for several choices or a finish this wire has no word for."""
    if len(reply.choices) != 1:
        raise WireError("anthropic: a reply has exactly one choice in this wire")
    choice = reply.choices[0]
    reason = None if choice.finish is None else stop_reason_of(choice.finish, choice.native_finish)
    if choice.finish is not None and reason is None:
        raise WireError("anthropic: this finish reason cannot be said in this wire")
    parts = choice.message.parts
    body: dict[str, Any] = {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [block for part in parts if (block := encode_part(part, to_client=True)) is not None],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage_body(reply.usage or Usage()),
    }
    if reply.wire == NAME:
        body |= reply.extra
    return encode(body)

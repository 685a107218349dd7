"""Edit: what a route changes in the request itself, in the caller's wire, before it is relayed or translated."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from pointsman.core.options import Edit
from pointsman.core.policy import Prefill
from pointsman.dialects.base import WireError

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode
_LIMITS = ("max_completion_tokens", "max_tokens")


class _Message(msgspec.Struct):
    role: str
    content: str


_system = msgspec.json.Decoder(_Message).decode


def edited(body: bytes, edit: Edit) -> bytes:
    """Return a chat request body with the route's members, its text before everything, and its bound on the answer. Every
    other byte of a member stays. Raise WireError when the messages are no list."""
    members = _members(body)
    for name, value in edit.params.items():
        members[name] = Raw(value)
    if edit.prompt_prefix:
        members["messages"] = Raw(_prefixed(bytes(members["messages"]), edit.prompt_prefix))
    if edit.max_output_tokens is not None:
        present = [name for name in _LIMITS if name in members]
        asked = [limit for name in present if isinstance(limit := msgspec.json.decode(members[name]), int)]
        for name in present:
            del members[name]
        least = min((*asked, edit.max_output_tokens))
        members[present[0] if present else _LIMITS[0]] = Raw(_encode(least))
    return _encode(members)


def with_beginning(body: bytes, text: str, prefill: Prefill, tokens: int) -> bytes:
    """Return a chat request body that asks to go on from `text`, about `tokens` long, which its limits are lessened by.

    `last` leaves it at an assistant's message at the end (Anthropic before Claude 4.6, OpenRouter); `prefix` marks that
    message (Mistral, DeepSeek beta); `continue` says it in members of vLLM and SGLang. Raise WireError when the messages
    are no list.
    """
    members = _members(body)
    message: dict[str, object] = {"role": "assistant", "content": text}
    if prefill == "prefix":
        message["prefix"] = True
    elif prefill == "continue":
        members |= {"add_generation_prompt": Raw(b"false"), "continue_final_message": Raw(b"true")}
    members["messages"] = Raw(_encode([*_listed(bytes(members["messages"])), message]))
    for name in _LIMITS:
        asked = msgspec.json.decode(members[name]) if name in members else None
        if isinstance(asked, int):
            members[name] = Raw(_encode(max(1, asked - tokens)))
    return _encode(members)


def _listed(messages: bytes) -> list[Raw]:
    try:
        return _list(messages)
    except msgspec.MsgspecError:
        raise WireError("the body does not fit a chat request: `messages` must be a list") from None


def _prefixed(messages: bytes, prefix: str) -> bytes:
    """Return the messages with a text put before those of the system; a system message that comes first takes it in."""
    listed = _listed(messages)
    if listed:
        try:
            first = _system(listed[0])
        except msgspec.MsgspecError:
            first = None
        if first is not None and first.role in ("system", "developer"):
            members = _members(listed[0])
            members["content"] = Raw(_encode(f"{prefix}\n\n{first.content}"))
            return _encode([Raw(_encode(members)), *listed[1:]])
    return _encode([Raw(_encode({"role": "system", "content": prefix})), *listed])

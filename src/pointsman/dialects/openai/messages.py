"""Messages of the chat completions wire, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import Image, Message, Opaque, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from pointsman.dialects.base import WireError
from pointsman.dialects.openai.parts import (
    NAME,
    arguments_of,
    decode_content,
    decode_reasoning,
    decode_tool_call,
    encode_content,
    encode_tool_call,
    reasoning_members,
)
from pointsman.dialects.openai.shapes import MESSAGE, MESSAGE_MEMBERS, MessageIn
from pointsman.dialects.wirejson import decode, members, present, raw_of

NOTHING = Raw(b"[]")
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}


def decode_message(raw: Raw, what: str) -> Message:
    """Return one message; WireError for an unknown role or a tool result without its call."""
    m = decode(MESSAGE, raw, what)
    role = ROLES.get(m.role)
    if role is None:
        raise WireError(f"{what}.role: unknown")
    parts = decode_content(m.content, what)
    if role == "tool":
        call_id = m.tool_call_id or (m.name if m.role == "function" else None)
        if not call_id:
            raise WireError(f"{what}.tool_call_id: missing")
        if not all(isinstance(part, Text | Opaque) for part in parts):
            raise WireError(f"{what}.content: only text can stand in a tool result")
        return Message("tool", (ToolResult(call_id, tuple(parts)),))  # type: ignore[arg-type]
    if role == "assistant":
        return _decode_assistant(m, parts, _unknown_members(raw, what))
    return Message(role, tuple(parts), m.name)


def _decode_assistant(m: MessageIn, parts: list[Part], unknown: dict[str, Raw]) -> Message:
    found: list[Part] = list(decode_reasoning(m.reasoning_details, (m.reasoning_content, m.reasoning)))
    found += parts + decode_content(m.images, "images")
    if m.refusal:
        found.append(Refusal(m.refusal))
    if m.tool_calls:
        found += [decode_tool_call(call, number) for number, call in enumerate(m.tool_calls)]
    elif m.function_call is not None and m.function_call.name:
        found.append(ToolCall(m.function_call.name, m.function_call.name, arguments_of(m.function_call)))
    if unknown:
        found.append(Opaque(NAME, raw_of(unknown)))
    return Message("assistant", tuple(found), m.name)


def _unknown_members(raw: Raw, what: str) -> dict[str, Raw]:
    """Return members of an assistant message we do not read (audio, annotations …), without those that say nothing."""
    found = members(raw, what).items()
    return {name: value for name, value in found if name not in MESSAGE_MEMBERS and present(value) and value != NOTHING}


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_messages(messages: tuple[Message, ...], reasoning_field: str, marks: bool) -> list[dict[str, Any]]:
    """Return all messages; one message holding several tool results becomes several. `marks`: keep cache_control."""
    return [body for message in messages for body in _encode_message(message, reasoning_field, marks)]


def _encode_message(message: Message, reasoning_field: str, marks: bool) -> list[dict[str, Any]]:
    named = {"name": message.name} if message.name else {}
    if message.role == "assistant":
        return [{"role": "assistant"} | assistant_members(message, reasoning_field, marks) | named]
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    rest: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult | Reasoning)]
    bodies = [_encode_result(result, marks) for result in results]
    if rest or not results:
        role = "user" if message.role == "tool" else message.role
        bodies.append({"role": role, "content": encode_content(rest, marks)} | named)
    return bodies


def _encode_result(result: ToolResult, marks: bool) -> dict[str, Any]:
    if not all(isinstance(part, Text | Opaque) for part in result.parts):
        raise WireError("openai: only text can stand in a tool result")
    return {"role": "tool", "tool_call_id": result.call_id, "content": encode_content(list(result.parts), marks)}


def assistant_members(message: Message, reasoning_field: str, marks: bool) -> dict[str, Any]:
    """Return the members of an assistant message but its role; `content` is null where there is none."""
    texts: list[Part] = []
    images: list[Part] = []
    reasoning: list[Reasoning] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    body: dict[str, Any] = {}
    for part in message.parts:
        if isinstance(part, Reasoning):
            reasoning.append(part)
        elif isinstance(part, Refusal):
            refusals.append(part.text)
        elif isinstance(part, ToolCall):
            calls.append(encode_tool_call(part))
        elif isinstance(part, Opaque):
            if part.wire == NAME:
                _add_opaque(part, body, texts)
        else:
            (images if isinstance(part, Image) else texts).append(part)
    body["content"] = _assistant_content(texts, marks)
    if images:
        body["images"] = encode_content(images, marks)
    body |= reasoning_members(reasoning, reasoning_field)
    if refusals:
        body["refusal"] = "".join(refusals)
    if calls:
        body["tool_calls"] = calls
    return body


def _assistant_content(parts: list[Part], marks: bool) -> str | list[Any] | None:
    """Return text as one string wherever that loses nothing: clients and most servers expect no list here."""
    if not parts:
        return None
    if all(isinstance(part, Text) and not (part.cache and marks) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return encode_content(parts, marks)


def _add_opaque(part: Opaque, body: dict[str, Any], texts: list[Part]) -> None:
    """Put an opaque part back where it was: a content part has a `type`, anything else was members of the message."""
    inside = members(part.raw, "opaque part")
    if "type" in inside:
        texts.append(part)
    else:
        body.update(inside)

"""Content parts, tool calls and reasoning of the chat completions wire, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import (
    Audio,
    CacheLifetime,
    File,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from pointsman.dialects.base import WireError
from pointsman.dialects.media import data_url, split_data_url
from pointsman.dialects.openai.shapes import (
    DETAIL,
    PART,
    TEXTS,
    CacheControl,
    ExtraContent,
    Function,
    Google,
    PartIn,
    ReasoningDetail,
    ToolCallIn,
)
from pointsman.dialects.wirejson import decode, encode

NAME = "openai"
# Whose proof a reasoning detail carries; the names are OpenRouter's (openrouter.ai/docs, reasoning tokens).
FORMATS = {"anthropic-claude-v1": "anthropic", "google-gemini-v1": "gemini"}
FORMAT_OF = {dialect: name for name, dialect in FORMATS.items()}


def decode_content(content: str | list[Raw] | None, what: str) -> list[Part]:
    """Return the parts of a `content` member; WireError for a part without its payload."""
    if not content:
        return []
    if isinstance(content, str):
        return [Text(content)]
    return [part for raw in content for part in _decode_part(raw, what)]


def _decode_part(raw: Raw, what: str) -> list[Part]:
    p = decode(PART, raw, f"{what}.content[]")
    cache = _lifetime(p.cache_control)
    if p.type in ("text", "input_text", "output_text") and p.text is not None:
        return [Text(p.text, cache)]
    if p.type == "image_url" and p.image_url is not None:
        return [_decode_image(p, cache)]
    if p.type == "input_audio" and p.input_audio is not None:
        return [Audio(p.input_audio.data, p.input_audio.format)]
    if p.type == "file" and p.file is not None:
        return [_decode_file(p, cache)]
    if p.type == "refusal" and p.refusal is not None:
        return [Refusal(p.refusal)]
    if p.type == "thinking":
        return [Reasoning(text.text) for text in decode(TEXTS, p.thinking, f"{what}.content[].thinking")]
    if p.type in ("text", "image_url", "input_audio", "file", "refusal", ""):
        raise WireError(f"{what}.content[]: the part has no {p.type or 'type'}")
    return [Opaque(NAME, Raw(bytes(raw)))]


def _lifetime(mark: CacheControl | None) -> CacheLifetime | None:
    if mark is None:
        return None
    return "1h" if mark.ttl == "1h" else "5m"


def _decode_image(p: PartIn, cache: CacheLifetime | None) -> Image:
    url, detail = (p.image_url, None) if isinstance(p.image_url, str) else (p.image_url.url, p.image_url.detail)  # type: ignore[union-attr]
    if inline := split_data_url(url):
        return Image(data=inline[1], media_type=inline[0], detail=detail, cache=cache)
    return Image(url=url, detail=detail, cache=cache)


def _decode_file(p: PartIn, cache: CacheLifetime | None) -> File:
    assert p.file is not None
    media_type, data = None, p.file.file_data
    if data is not None and (inline := split_data_url(data)):
        media_type, data = inline
    return File(data=data, media_type=media_type, id=p.file.file_id, name=p.file.filename, cache=cache)


def decode_tool_call(call: ToolCallIn, number: int) -> ToolCall:
    """Return one tool call; WireError if it is not a function call. `number` names a call the server gave no id."""
    if call.function is None or not call.function.name:
        raise WireError(f"tool_calls[{number}]: only function calls with a name can be read")
    return ToolCall(call.id or f"call_{number}", call.function.name, arguments_of(call.function), signature_of(call))


def arguments_of(function: Function) -> str:
    """Return a call's arguments as JSON text, also from a server that sent them as an object."""
    arguments = function.arguments
    return arguments if isinstance(arguments, str) else "" if arguments is None else encode(arguments).decode()


def signature_of(call: ToolCallIn) -> str | None:
    """Return Gemini's thought signature on a tool call (ai.google.dev/gemini-api/docs/thought-signatures)."""
    extra = call.extra_content or ExtraContent()
    return (extra.google or Google()).thought_signature


def decode_reasoning(details: list[Raw] | None, texts: tuple[str | None, ...]) -> list[Reasoning]:
    """Return the thinking of a message or delta: the detailed list if it says anything, else the first plain text."""
    found = [r for raw in details or [] if (r := _reasoning_of(decode(DETAIL, raw, "reasoning_details[]")))]
    if found:
        return found
    text = next((t for t in texts if t), None)
    return [Reasoning(text)] if text else []


def _reasoning_of(d: ReasoningDetail) -> Reasoning | None:
    text = d.text or d.summary or ""
    if not (text or d.signature or d.data):
        return None
    signed_by = FORMATS.get(d.format or "", NAME) if d.signature or d.data else ""
    return Reasoning(text, d.signature, d.data, signed_by)


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_content(parts: list[Part], marks: bool) -> str | list[Any]:
    """Return parts as a `content` member: plain text where that says everything. `marks`: keep cache_control."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text) and not (parts[0].cache and marks):
        return parts[0].text
    encoded = [_encode_part(part, marks) for part in parts]
    return [part for part in encoded if part is not None]


def _encode_part(part: Part, marks: bool) -> dict[str, Any] | Raw | None:
    if isinstance(part, Text):
        body: dict[str, Any] = {"type": "text", "text": part.text}
    elif isinstance(part, Refusal):
        body = {"type": "refusal", "refusal": part.text}
    elif isinstance(part, Image):
        url = part.url if part.data is None else data_url(part.media_type or "image/jpeg", part.data)
        image = {"url": url} | ({"detail": part.detail} if part.detail else {})
        body = {"type": "image_url", "image_url": image}
    elif isinstance(part, Audio):
        body = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    elif isinstance(part, File):
        body = {"type": "file", "file": _encode_file(part)}
    elif isinstance(part, Opaque):
        return part.raw if part.wire == NAME else None
    else:
        raise WireError(f"openai: a {type(part).__name__} part cannot stand in this message")
    if marks and isinstance(part, Text | Image | File) and part.cache:
        body["cache_control"] = {"type": "ephemeral"} | ({"ttl": "1h"} if part.cache == "1h" else {})
    return body


def _encode_file(part: File) -> dict[str, str]:
    if part.data is not None:
        body = {"file_data": data_url(part.media_type, part.data)}
    elif part.id is not None:
        body = {"file_id": part.id}
    else:
        raise WireError("openai: a file given by URL cannot be said in this wire")
    return body | ({"filename": part.name} if part.name else {})


def encode_tool_call(call: ToolCall) -> dict[str, Any]:
    """Return one tool call as the wire writes it."""
    body: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
    if call.signature:
        body["extra_content"] = {"google": {"thought_signature": call.signature}}
    return body


def reasoning_body(reasoning: Reasoning) -> dict[str, Any]:
    """Return one reasoning part as an entry of `reasoning_details`."""
    if reasoning.redacted is not None:
        body = {"type": "reasoning.encrypted", "data": reasoning.redacted}
    else:
        body = {"type": "reasoning.text", "text": reasoning.text}
    if reasoning.signature:
        body["signature"] = reasoning.signature
    if reasoning.signed_by in FORMAT_OF:
        body["format"] = FORMAT_OF[reasoning.signed_by]
    return body


def reasoning_members(parts: list[Reasoning], field: str) -> dict[str, Any]:
    """Return the members that carry thinking; `field` "" leaves it out. Proofs need the detailed list."""
    if not parts or not field:
        return {}
    members: dict[str, Any] = {}
    text = "".join(part.text for part in parts)
    if field != "reasoning_details" and text:
        members[field] = text
    if field == "reasoning_details" or len(parts) > 1 or any(part.signature or part.redacted for part in parts):
        members["reasoning_details"] = [reasoning_body(part) for part in parts]
    return members

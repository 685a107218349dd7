"""Content parts of the Gemini wire, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from pointsman.dialects.base import WireError
from pointsman.dialects.gemini.facts import NAME
from pointsman.dialects.gemini.shapes import PART, Blob, FileData, FunctionResponse, PartIn
from pointsman.dialects.media import media_type_of_url
from pointsman.dialects.wirejson import anything, decode, json_object, members, present, text_of

AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}


class Calls:
    """Give ids to calls that came without one, and find the call a result without id answers (first of its name)."""

    def __init__(self, prefix: str = "call") -> None:
        self._prefix = prefix
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def opened(self, name: str, call_id: str | None) -> str:
        found = call_id or f"{self._prefix}_{self._count}"
        self._count += 1
        self._open.append((name, found))
        return found

    def answered(self, name: str, call_id: str | None) -> str:
        for number, (open_name, open_id) in enumerate(self._open):
            if open_id == call_id or (not call_id and open_name == name):
                del self._open[number]
                return open_id
        return call_id or f"{self._prefix}_{name}"


def decode_part(raw: Raw, calls: Calls, what: str) -> list[Part]:
    """Return what one part says; a kind we do not read stays opaque."""
    p = decode(PART, raw, what)
    if p.function_call is not None:
        call = p.function_call
        arguments = text_of(call.args, what) if present(call.args) else "{}"
        return [ToolCall(calls.opened(call.name, call.id), call.name, arguments, p.thought_signature)]
    if p.text is not None:
        return _decode_text(p)
    if p.inline_data is not None and p.inline_data.data is not None:
        return [_decode_blob(p.inline_data, p.inline_data.data)]
    if p.file_data is not None and p.file_data.file_uri is not None:
        return [_decode_file(p.file_data, p.file_data.file_uri)]
    if p.function_response is not None:
        return [_decode_result(p.function_response, calls, what)]
    return [Opaque(NAME, Raw(bytes(raw)))]


def _decode_text(p: PartIn) -> list[Part]:
    """Return text or thinking; a signature on plain text follows it as empty signed thinking, and goes back that way."""
    signature, text = p.thought_signature, p.text or ""
    if p.thought:
        return [Reasoning(text, signature, signed_by=NAME if signature else "")] if text or signature else []
    found: list[Part] = [Text(text)] if text else []
    return [*found, Reasoning("", signature, signed_by=NAME)] if signature else found


def _decode_blob(blob: Blob, data: str) -> Image | Audio | File:
    kind, _, subtype = (blob.mime_type or "").partition("/")
    if kind == "image":
        return Image(data=data, media_type=blob.mime_type)
    if kind == "audio":
        return Audio(data, AUDIO_FORMATS.get(subtype, subtype))
    return File(data=data, media_type=blob.mime_type)


def _decode_file(f: FileData, uri: str) -> Image | File:
    if (f.mime_type or "").startswith("image/"):
        return Image(url=uri, media_type=f.mime_type)
    return File(url=uri, media_type=f.mime_type)


def _decode_result(r: FunctionResponse, calls: Calls, what: str) -> ToolResult:
    """Return a function response: one `output` or `error` string is its text, anything else stays JSON text."""
    parts: list[Text | Image | File | Opaque] = []
    is_error = False
    if present(r.response):
        said = members(r.response, what)
        is_error = "error" in said
        only = next(iter(said.values())) if len(said) == 1 else None
        text = _string(only) if only is not None and {"output", "error"} & said.keys() else None
        text = text_of(r.response, what) if text is None else text
        parts = [Text(text)] if text else []
    for raw in r.parts or ():
        media = decode(PART, raw, what)
        if media.inline_data is not None and media.inline_data.data is not None:
            blob = _decode_blob(media.inline_data, media.inline_data.data)
            parts.append(blob if isinstance(blob, Image | File) else Opaque(NAME, Raw(bytes(raw))))
        elif media.file_data is not None and media.file_data.file_uri is not None:
            parts.append(_decode_file(media.file_data, media.file_data.file_uri))
    return ToolResult(calls.answered(r.name, r.id), tuple(parts), is_error)


def _string(raw: Raw) -> str | None:
    value = anything(raw, "functionResponse")
    return value if isinstance(value, str) else None


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_parts(message: Message, names: dict[str, str], *, to_client: bool = False) -> list[Any]:
    """Return the parts of a message; `names` (call id -> function) is read for results and filled from calls.

    `to_client`: thinking without Gemini's proof is shown all the same. WireError for what this wire cannot say.
    """
    found: list[Any] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            found.append(_encode_result(part, names))
        elif isinstance(part, Reasoning):
            found += _encode_reasoning(part, to_client)
        elif (body := encode_part(part)) is not None:
            found.append(body)
        if isinstance(part, ToolCall):
            names[part.id] = part.name
    return found


def encode_part(part: Part) -> dict[str, Any] | Raw | None:
    """Return one part that is neither a result nor thinking; None if it says nothing here."""
    if isinstance(part, Text | Refusal):
        return {"text": part.text} if part.text else None
    if isinstance(part, ToolCall):
        return encode_call(part)
    if isinstance(part, Image):
        return _encode_media(part, "image/jpeg")
    if isinstance(part, File):
        if part.id is not None and part.data is None and part.url is None:
            raise WireError("gemini: a file known only by another provider's id cannot be said in this wire")
        return _encode_media(part, "application/pdf")
    if isinstance(part, Audio):
        return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
    return part.raw if isinstance(part, Opaque) and part.wire == NAME else None


def encode_call(call: ToolCall) -> dict[str, Any]:
    """Return a functionCall part; WireError if the arguments are no JSON object."""
    arguments = json_object(call.arguments, "gemini: tool call arguments")
    body: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}
    if call.signature:
        body["thoughtSignature"] = call.signature
    return body


def _encode_media(part: Image | File, default: str) -> dict[str, Any]:
    if part.data is not None:
        return {"inlineData": {"mimeType": part.media_type or default, "data": part.data}}
    if part.url is None:
        raise WireError("gemini: an image or file needs data or a URL")
    media_type = part.media_type or media_type_of_url(part.url, default)
    return {"fileData": {"mimeType": media_type, "fileUri": part.url}}


def _encode_reasoning(part: Reasoning, to_client: bool) -> list[dict[str, Any]]:
    if part.redacted is not None:
        return []
    signature = part.signature if part.signed_by == NAME else None
    if signature is None:
        return [{"text": part.text, "thought": True}] if to_client and part.text else []
    if not part.text:
        return [{"text": "", "thoughtSignature": signature}]
    return [{"text": part.text, "thought": True, "thoughtSignature": signature}]


def _encode_result(part: ToolResult, names: dict[str, str]) -> dict[str, Any]:
    name = names.get(part.call_id)
    if name is None:
        raise WireError("gemini: a tool result answers no call of this conversation")
    text = "\n".join(one.text for one in part.parts if isinstance(one, Text))
    body: dict[str, Any] = {
        "id": part.call_id,
        "name": name,
        "response": {"error" if part.is_error else "output": text},
    }
    if media := [found for one in part.parts if not isinstance(one, Text) and (found := encode_part(one)) is not None]:
        body["parts"] = media
    return {"functionResponse": body}

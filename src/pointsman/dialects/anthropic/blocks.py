"""Content blocks of the Messages wire, both ways."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import (
    Audio,
    CacheLifetime,
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
from pointsman.dialects.anthropic.facts import NAME
from pointsman.dialects.anthropic.shapes import BLOCK, BLOCKS, SOURCE, Block, CacheControl, Source
from pointsman.dialects.base import WireError
from pointsman.dialects.media import base64_of_text, text_of_base64
from pointsman.dialects.wirejson import decode, json_object, present, text_of

ResultPart = Text | Image | File | Opaque


def decode_content(raw: Raw, what: str, *, in_result: bool = False) -> list[Part]:
    """Return the parts of a `content` or `system` member: a string or a list of blocks.

    `in_result`: inside a tool result, where only text and media are read, so that nothing nests deeper.
    """
    if not present(raw):
        return []
    content = decode(BLOCKS, raw, what)
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [decode_block(block, f"{what}[{number}]", in_result) for number, block in enumerate(content)]


def decode_block(raw: Raw, what: str, in_result: bool = False) -> Part:
    """Return one block as a part; a kind we do not read stays opaque. WireError for a block without its payload."""
    b = decode(BLOCK, raw, what)
    if in_result and b.type not in ("text", "image", "document"):
        return Opaque(NAME, Raw(bytes(raw)))
    cache = lifetime(b.cache_control)
    if b.type == "text" and b.text is not None:
        return Text(b.text, cache)
    if b.type in ("image", "document") and present(b.source):
        return _decode_media(b, Opaque(NAME, Raw(bytes(raw))), cache, what)
    if b.type == "tool_use" and b.id and b.name:
        return ToolCall(b.id, b.name, text_of(b.input, what) if present(b.input) else "{}")
    if b.type == "tool_result" and b.tool_use_id:
        return ToolResult(b.tool_use_id, _result_parts(b, what), bool(b.is_error), cache)
    if b.type == "thinking" and b.thinking is not None:
        return Reasoning(b.thinking, b.signature or None, signed_by=NAME if b.signature else "")
    if b.type == "redacted_thinking" and b.data is not None:
        return Reasoning(redacted=b.data, signed_by=NAME)
    if b.type in ("", "text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"):
        raise WireError(f"{what}: the block has no {'type' if not b.type else 'payload'}")
    return Opaque(NAME, Raw(bytes(raw)))


def lifetime(mark: CacheControl | None) -> CacheLifetime | None:
    """Return how long the provider may cache up to here; five minutes is the wire's default."""
    if mark is None:
        return None
    return "1h" if mark.ttl == "1h" else "5m"


def _result_parts(b: Block, what: str) -> tuple[ResultPart, ...]:
    parts = decode_content(b.content, f"{what}.content", in_result=True)
    return tuple(part for part in parts if isinstance(part, Text | Image | File | Opaque))


def _decode_media(b: Block, opaque: Opaque, cache: CacheLifetime | None, what: str) -> Part:
    s: Source = decode(SOURCE, b.source, f"{what}.source")
    if s.type == "base64" and s.data is not None:
        if b.type == "image":
            return Image(data=s.data, media_type=s.media_type, cache=cache)
        return File(data=s.data, media_type=s.media_type, name=b.title, cache=cache)
    if s.type == "url" and s.url is not None:
        return Image(url=s.url, cache=cache) if b.type == "image" else File(url=s.url, name=b.title, cache=cache)
    if b.type == "document" and s.type == "text" and s.data is not None:
        return File(data=base64_of_text(s.data), media_type="text/plain", name=b.title, cache=cache)
    if b.type == "document" and s.type == "file" and s.file_id is not None:
        return File(id=s.file_id, name=b.title, cache=cache)
    return opaque


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_parts(message: Message) -> list[Any]:
    """Return the blocks of one message, tool results first as the wire demands; WireError for what it cannot say."""
    parts = list(message.parts)
    if message.role != "assistant":
        parts.sort(key=lambda part: not isinstance(part, ToolResult))
    return [block for part in parts if (block := encode_part(part)) is not None]


def encode_part(part: Part, *, to_client: bool = False) -> dict[str, Any] | Raw | None:
    """Return one block, or None for a part that says nothing here: empty text, another provider's proof.

    `to_client`: thinking without our proof is shown all the same, with an empty signature.
    """
    if isinstance(part, Text):
        # An empty text block is refused by the API.
        return _marked({"type": "text", "text": part.text}, part.cache) if part.text else None
    if isinstance(part, Refusal):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, ToolCall):
        arguments = json_object(part.arguments, "anthropic: tool call arguments")
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
    if isinstance(part, ToolResult):
        return _encode_result(part)
    if isinstance(part, Image):
        return _marked({"type": "image", "source": _image_source(part)}, part.cache)
    if isinstance(part, File):
        title = {"title": part.name} if part.name else {}
        return _marked({"type": "document", "source": _file_source(part)} | title, part.cache)
    if isinstance(part, Reasoning):
        return _encode_reasoning(part, to_client)
    if isinstance(part, Audio):
        raise WireError("anthropic: audio cannot be said in this wire")
    return part.raw if part.wire == NAME else None


def mark(cache: CacheLifetime) -> dict[str, str]:
    """Return a cache_control member."""
    return {"type": "ephemeral", "ttl": "1h"} if cache == "1h" else {"type": "ephemeral"}


def _marked(block: dict[str, Any], cache: CacheLifetime | None) -> dict[str, Any]:
    return block | {"cache_control": mark(cache)} if cache else block


def _encode_result(part: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    if content := [inner for one in part.parts if (inner := encode_part(one)) is not None]:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return _marked(block, part.cache)


def _image_source(part: Image) -> dict[str, str]:
    if part.data is not None:
        return {"type": "base64", "media_type": part.media_type or "image/jpeg", "data": part.data}
    if part.url is not None:
        return {"type": "url", "url": part.url}
    raise WireError("anthropic: an image needs data or a URL")


def _file_source(part: File) -> dict[str, str]:
    if part.id is not None:
        return {"type": "file", "file_id": part.id}
    if part.url is not None:
        return {"type": "url", "url": part.url}
    if part.data is None:
        raise WireError("anthropic: a file needs data, a URL or an id")
    if part.media_type in (None, "application/pdf"):
        return {"type": "base64", "media_type": "application/pdf", "data": part.data}
    if part.media_type is not None and part.media_type.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": text_of_base64(part.data, "anthropic: text file")}
    raise WireError("anthropic: only PDF and text files can be said in this wire")


def _encode_reasoning(part: Reasoning, to_client: bool) -> dict[str, Any] | None:
    """Return a thinking block; the API checks its proof, so thinking without one, or with a stranger's, stays out."""
    ours = part.signed_by == NAME
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted} if ours else None
    if not ours and not (to_client and part.text):
        return None
    return {"type": "thinking", "thinking": part.text, "signature": (part.signature or "") if ours else ""}

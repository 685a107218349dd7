"""Data URLs and media types."""

from __future__ import annotations

import base64
import binascii
import re

from pointsman.dialects.base import WireError

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*);base64,", re.IGNORECASE)

IMAGE_TYPES_BY_SUFFIX = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
}


def data_url(media_type: str | None, data: str) -> str:
    """Return base64 `data` as a data URL (RFC 2397)."""
    return f"data:{media_type or 'application/octet-stream'};base64,{data}"


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return (media type, base64 data) of a base64 data URL, or None if `url` is something else."""
    if url[:5].lower() != "data:":
        return None
    match = _DATA_URL.match(url)
    return (match[1] or "text/plain", url[match.end() :]) if match else None


def media_type_of_url(url: str, default: str) -> str:
    """Return the media type the file name in `url` suggests, else `default`; nothing is fetched."""
    name = url.partition("?")[0].partition("#")[0]
    return IMAGE_TYPES_BY_SUFFIX.get(name.rpartition(".")[2].lower(), default)


def text_of_base64(data: str, what: str) -> str:
    """Return the UTF-8 text in base64 `data`; WireError if it is not that."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise WireError(f"{what}: not base64 of UTF-8 text") from None


def base64_of_text(text: str) -> str:
    """Return `text` as base64 of its UTF-8 bytes."""
    return base64.b64encode(text.encode("utf-8", "replace")).decode()

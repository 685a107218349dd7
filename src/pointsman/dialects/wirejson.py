"""JSON at the border: every way bytes can be wrong becomes a WireError that says where, never what."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from pointsman.dialects.base import WireError

T = TypeVar("T")

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ANY = msgspec.json.Decoder()
_STR = msgspec.json.Decoder(str)

encode = msgspec.json.Encoder().encode
NO_RAW = Raw(b"")


def decode(decoder: msgspec.json.Decoder[T], data: bytes | Raw, what: str) -> T:
    """Return `data` decoded; WireError naming `what` if it is not JSON of that shape, not UTF-8, or nested too deep."""
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        raise WireError(f"{what}: not valid UTF-8") from None
    except ValueError as error:
        raise WireError(f"{what}: {error}") from None
    except RecursionError:
        raise WireError(f"{what}: nested too deep") from None


def members(data: bytes | Raw, what: str) -> dict[str, Raw]:
    """Return the members of a JSON object, each still raw; WireError if it is no object."""
    return decode(_MEMBERS, data, what)


def anything(data: bytes | Raw, what: str) -> Any:
    """Return any JSON value as plain Python; for the error path only (slow)."""
    return decode(_ANY, data, what)


def checked_utf8(body: bytes, what: str) -> bytes:
    """Return `body` if all of it is UTF-8 (raw members are not checked by the JSON decoder); else WireError."""
    try:
        str(body, "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{what}: not valid UTF-8") from None
    return body


def present(raw: Raw) -> bool:
    """Return whether a raw member was given and is not null."""
    return bytes(raw) not in (b"", b"null")


def text_of(raw: Raw, what: str) -> str:
    """Return raw JSON as text exactly as it came; WireError if it is not UTF-8."""
    try:
        return str(bytes(raw), "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{what}: not valid UTF-8") from None


def raw_of(value: object) -> Raw:
    """Return `value` encoded as raw JSON."""
    return Raw(encode(value))


def json_object(text: str, what: str) -> Raw:
    """Return JSON text of an object as raw JSON, untouched; empty text is {}; WireError if it is anything else."""
    if not text.strip():
        return Raw(b"{}")
    data = text.encode("utf-8", "replace")
    try:
        _ANY.decode(data)
        members(data, what)
    except (ValueError, RecursionError):
        raise WireError(f"{what}: not a JSON object, and this wire can carry nothing else") from None
    return Raw(data)


def lenient(decoder: msgspec.json.Decoder[T], raw: Raw) -> T | None:
    """Return a side fact (usage, log probabilities) decoded, or None if it is absent or of another shape (fault 29)."""
    if not present(raw):
        return None
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None


def count(value: float | None) -> int:
    """Return a token count as a provider wrote it: an int or a float; None counts as 0. May be negative or absurd."""
    return 0 if value is None else int(value)

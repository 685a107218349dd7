"""Keys: how they are made, told from other text, and the digests they are looked up by."""

from __future__ import annotations

import hashlib
import hmac
import zlib

CLIENT, ADMIN = "pk-pm-", "ak-pm-"  # what the text of a key of the key store begins with
CHANCE_BYTES = 32  # 256 bits of a key are random
SHOWN_CHARACTERS = 12  # of a key, kept to tell it from others; too few to guess the rest
_CONTEXT = b"pointsman client key v1\0"
_STORED = b"pointsman stored key v1\0"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KNOWN = frozenset(_DIGITS.encode())
_RANDOM_DIGITS, _CHECK_DIGITS = 43, 6  # 62**43 > 2**256, 62**6 > 2**32


def digest(key: bytes) -> bytes:
    """Return the 32-byte digest under which a client key of the config is kept and looked up.

    The table holds only digests, so a lookup compares no secret bytes.
    """
    return hashlib.sha256(_CONTEXT + key).digest()


def peppered(pepper: bytes, key: bytes) -> bytes:
    """Return the 32-byte digest of a key of the key store: HMAC-SHA-256 (RFC 2104) with the server's pepper, so that who
    has the store alone can not even try out keys."""
    return hmac.digest(pepper, _STORED + key, "sha256")


def mark_of(pepper: bytes) -> bytes:
    """Return 8 bytes by which to see that two peppers are the same one; they say nothing of it."""
    return hmac.digest(pepper, b"pointsman pepper v1", "sha256")[:8]


def key_text(prefix: str, chance: bytes) -> str:
    """Return the text of a new key made of CHANCE_BYTES random bytes: prefix, 43 digits to base 62, and 6 digits of CRC-32
    over all before them, by which a key is told from other text without a look-up."""
    if len(chance) != CHANCE_BYTES:
        raise ValueError(f"a key is made of {CHANCE_BYTES} random bytes")
    text = prefix + _base62(int.from_bytes(chance), _RANDOM_DIGITS)
    return text + _base62(zlib.crc32(text.encode()), _CHECK_DIGITS)


def is_key(key: bytes, prefix: str) -> bool:
    """Tell whether some bytes are a whole key with this prefix: its length, its digits and its check sum are right."""
    start = prefix.encode()
    if len(key) != len(start) + _RANDOM_DIGITS + _CHECK_DIGITS or not key.startswith(start):
        return False
    body, check = key[:-_CHECK_DIGITS], key[-_CHECK_DIGITS:]
    return _KNOWN.issuperset(key[len(start) :]) and check == _base62(zlib.crc32(body), _CHECK_DIGITS).encode()


def shown(text: str) -> str:
    """Return the beginning of a key's text that may be shown and kept."""
    return text[:SHOWN_CHARACTERS]


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text

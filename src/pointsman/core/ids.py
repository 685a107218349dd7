"""Ids: made in one place, from a time and random bits that the caller provides."""

from __future__ import annotations

from functools import lru_cache


def request_id(now_ms: int, chance: bytes) -> str:
    """Return a request id: `req_`, 12 hex digits of Unix milliseconds, 16 hex digits of the 8 random bytes of `chance`.

    Ids sort by time like UUIDv7 (RFC 9562 section 5.7) and cannot be guessed when `chance` comes from a good source.
    """
    return _prefix(now_ms) + chance.hex()


def feedback_id(now_ms: int, chance: bytes) -> str:
    """Return the id of a feedback: `fbk_`, then as in `request_id`."""
    return f"fbk_{now_ms:012x}{chance.hex()}"


@lru_cache(maxsize=4)
def _prefix(now_ms: int) -> str:
    return f"req_{now_ms:012x}"

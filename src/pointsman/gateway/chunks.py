"""Chunks: the plainest spelling of a chunk of the chunked transfer coding (RFC 9112, section 7.1), by its length."""

from __future__ import annotations

MAX_PLAIN_CHUNK = 4096  # bytes with framing; a longer one goes to the parser
NEVER = bytes(MAX_PLAIN_CHUNK)  # longer than what is looked at: nothing begins with it


def _size_line(total: int) -> bytes:
    """Return the size line of the one chunk that takes `total` bytes with its framing; NEVER when there is none."""
    for digits in range(1, 5):
        size = total - digits - 4
        if size > 0 and len(line := b"%x\r\n" % size) == digits + 2:
            return line
    return NEVER


SIZE_LINES = [_size_line(total) for total in range(MAX_PLAIN_CHUNK)]

"""RESP2, the protocol of Redis (redis.io/docs/latest/develop/reference/protocol-spec), as far as scripts need it: commands
out, replies in. No sockets here."""

from __future__ import annotations

MOST_REPLY_BYTES = 1 << 20


class RespError(ValueError):
    """Say that what came is no reply."""


class RespFault(Exception):
    """Hold an error reply of the server."""


Reply = int | bytes | None | list["Reply"] | RespFault


def command(*parts: bytes | str | int) -> bytes:
    """Return a command as an array of bulk strings."""
    return b"*%d\r\n%b" % (len(parts), b"".join(map(bulk, parts)))


def bulk(part: bytes | str | int) -> bytes:
    """Return one bulk string."""
    data = part if isinstance(part, bytes) else str(part).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


class Replies:
    """Cut what comes into replies. Bounded: a reply of more than `most_bytes` is an error."""

    def __init__(self, most_bytes: int = MOST_REPLY_BYTES) -> None:
        self._most_bytes = most_bytes
        self._data = b""

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are whole now. Raise RespError when this is no RESP."""
        data = self._data + data if self._data else data
        at, found = 0, []
        while at < len(data):
            end, reply = _parse(data, at)
            if end < 0:
                break
            found.append(reply)
            at = end
        self._data = data[at:]
        if len(self._data) > self._most_bytes:
            raise RespError("a reply is too long")
        return found


def _parse(data: bytes, at: int) -> tuple[int, Reply]:
    """Return the end of the reply at `at`, -1 if it is not whole, and the reply."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return -1, None
    kind, line, end = data[at : at + 1], data[at + 1 : line_end], line_end + 2
    if kind == b":":
        return end, int(line)
    if kind == b"+":
        return end, line
    if kind == b"-":
        return end, RespFault(line[:200].decode("latin-1"))
    if kind == b"$":
        size = int(line)
        if size < 0:
            return end, None
        return (end + size + 2, data[end : end + size]) if len(data) >= end + size + 2 else (-1, None)
    if kind != b"*":
        raise RespError(f"a reply begins with {kind!r}")
    items: list[Reply] = []
    for _ in range(max(0, int(line))):
        end, item = _parse(data, end)
        if end < 0:
            return -1, None
        items.append(item)
    return end, items

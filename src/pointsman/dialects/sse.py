"""Server-sent events: bytes -> (event name, data), sans-I/O.

Format: WHATWG HTML Living Standard, section 9.2.6 "Interpreting an event stream". One deviation, on purpose: `close`
hands out an event whose closing blank line never came, since several servers end the connection right after `[DONE]`.
"""

from __future__ import annotations

from pointsman.dialects.base import WireError

MAX_EVENT_BYTES = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"

SseEvent = tuple[str, bytes]


class SseParser:
    """Split a byte stream into events; works on bytes, so a character cut by a chunk border stays whole.

    Holds at most `max_event_bytes` (and one chunk); beyond that it fails: events before the oversized one are still
    handed out, then every call raises WireError.
    """

    __slots__ = ("_data", "_failed", "_first", "_held", "_held_bytes", "_max", "_name", "_pending_lf", "_size")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._held: list[bytes] = []  # pieces of a line whose end has not come
        self._held_bytes = 0
        self._data: list[bytes] = []  # data lines of the event in the making
        self._name = ""
        self._size = 0  # bytes of the lines of that event
        self._first = True
        self._pending_lf = False  # the last chunk ended in CR: an LF to come belongs to it
        self._failed = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events completed by `data`; WireError if an event grew beyond the bound."""
        if self._failed:
            raise WireError(f"event stream: an event is larger than {self._max} bytes")
        if self._pending_lf and data:
            self._pending_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._pending_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            return self._hold(data, [])
        if self._held:
            self._held.append(data)
            data = b"".join(self._held)
            self._held, self._held_bytes = [], 0
        lines = data.split(b"\n")
        rest = lines.pop()
        out: list[SseEvent] = []
        for line in lines:
            if not line:
                self._dispatch(out)
            elif not self._take(line):
                return self._fail(out)
        return self._hold(rest, out)

    def close(self) -> list[SseEvent]:
        """Return the event left unfinished by the end of the bytes, if any; WireError as `feed`."""
        out = self.feed(b"\n") if self._held else self.feed(b"")
        self._dispatch(out)
        return out

    def _hold(self, rest: bytes, out: list[SseEvent]) -> list[SseEvent]:
        if rest:
            self._held.append(rest)
            self._held_bytes += len(rest)
            if self._size + self._held_bytes > self._max:
                return self._fail(out)
        return out

    def _take(self, line: bytes) -> bool:
        """Read one line that is not blank; False if the event is now too large."""
        self._size += len(line)
        if self._first:
            self._first = False
            line = line.removeprefix(BOM)
        if line[:6] == b"data: ":
            self._data.append(line[6:])
        elif line[:5] == b"data:":
            self._data.append(line[5:])
        elif line == b"data":
            self._data.append(b"")
        elif line[:6] == b"event:":
            self._name = line[6:].removeprefix(b" ").decode("utf-8", "replace")
        return self._size <= self._max

    def _dispatch(self, out: list[SseEvent]) -> None:
        data = self._data
        if data:
            out.append((self._name or "message", data[0] if len(data) == 1 else b"\n".join(data)))
            self._data = []
        self._name = ""
        self._size = 0
        self._first = False

    def _fail(self, out: list[SseEvent]) -> list[SseEvent]:
        self._failed = True
        self._held, self._data = [], []
        return out if out else self.feed(b"")


def event_bytes(data: bytes, name: str = "") -> bytes:
    """Return one whole event; `data` must hold no line break (JSON from our encoder never does)."""
    if name:
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"

"""What every decoder of an event stream does alike: parse, stop once, and say what a bad end was."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pointsman.core.chat import End, Event, StreamError
from pointsman.core.outcome import Kind
from pointsman.dialects.base import WireError
from pointsman.dialects.errors import ErrorTable, read_error, stream_error
from pointsman.dialects.sse import SseParser

MAX_HEAD_BYTES = 64 * 1024  # kept of a body that is no event stream at all, to read an error from it


class SseDecoder(ABC):
    """Decode an SSE stream; after End or StreamError everything is ignored (faults 53, 61)."""

    def __init__(self, errors: ErrorTable) -> None:
        self._errors = errors
        self._parser = SseParser()
        self._head = bytearray()
        self._seen = False  # an SSE event came
        self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events completed by `data`."""
        out: list[Event] = []
        if self._done:
            return out
        if not self._seen and len(self._head) < MAX_HEAD_BYTES:
            self._head += data[: MAX_HEAD_BYTES - len(self._head)]
        try:
            self._take(self._parser.feed(data), out)
        except WireError as error:
            self._stop(out, StreamError(Kind.BROKEN, str(error)))
        return out

    def close(self) -> list[Event]:
        """Return what the end of the bytes means."""
        out: list[Event] = []
        if self._done:
            return out
        try:
            tail = self._parser.close()
        except WireError as error:
            self._stop(out, StreamError(Kind.BROKEN, str(error)))
            return out
        try:
            self._take(tail, out)
        except WireError:
            self._stop(out, StreamError(Kind.TRUNCATED, "the stream ended inside an event"))
        if not self._done:
            self._end(out)
        if not self._done:
            self._stop(out, self._no_end())
        return out

    def _take(self, events: list[tuple[str, bytes]], out: list[Event]) -> None:
        for name, data in events:
            if not self._seen:
                self._seen = True
                self._head.clear()
            self._event(name, data, out)
            if self._done:
                return

    def _stop(self, out: list[Event], last: End | StreamError) -> None:
        self._done = True
        out.append(last)

    def _no_end(self) -> StreamError:
        if not self._seen:
            if facts := read_error(bytes(self._head)):
                return stream_error(self._errors, facts)
            if bytes(self._head).strip()[:1] in (b"<", b"{", b"["):
                return StreamError(Kind.BROKEN, "the body is not an event stream")
        return StreamError(Kind.TRUNCATED, "the stream ended before its terminal marker")

    @abstractmethod
    def _event(self, name: str, data: bytes, out: list[Event]) -> None:
        """Append what one SSE event means; call `_stop` at the terminal marker; WireError for a malformed event."""

    def _end(self, out: list[Event]) -> None:  # noqa: B027 - most wires have nothing to say here
        """Append what the end of the bytes means where that is the terminal marker."""

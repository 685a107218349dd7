"""Delivery: how one streamed answer reaches the client: held until it commits, then framed as the client reads it."""

from __future__ import annotations

from pointsman.gateway import answers
from pointsman.gateway.edge import Edge, Incoming


class Delivery:
    """Write one stream to one client. Before `commit` nothing leaves, so another provider may still be tried (I8)."""

    committed = False
    plain = False  # the client speaks HTTP/1.0: the end of the connection ends the stream

    def __init__(self, edge: Edge, incoming: Incoming) -> None:
        self._edge = edge
        self.send = edge.transport.write  # bytes as they are
        self._incoming = incoming
        self._held: list[bytes] = []
        self.held_bytes = 0

    def hold(self, out: bytes) -> None:
        """Keep what comes before the first content: roles, pings (faults 41-43)."""
        self._held.append(out)
        self.held_bytes += len(out)

    def drop(self) -> None:
        """Forget what was held: its attempt failed."""
        self._held.clear()
        self.held_bytes = 0

    def commit(self, headers: str, out: bytes) -> None:
        """Send the head, what was held, and the first content."""
        self.committed = True
        incoming = self._incoming
        if not self._edge.takes_chunks():
            self.plain = incoming.close = True
        data = b"".join((*self._held, out))
        self.drop()
        head = answers.stream_head(headers, chunked=not self.plain, close=incoming.close)
        self._edge.write(head + self._framed(data) if data else head)

    def write(self, out: bytes) -> None:
        """Send more of the stream, whole events only."""
        if out:
            self.send(out if self.plain else b"%x\r\n%b\r\n" % (len(out), out))

    def last(self, event: bytes = b"") -> bytes:
        """Return the end of the stream, behind one more event if there is one."""
        return (self._framed(event) if event else b"") + (b"" if self.plain else answers.LAST_CHUNK)

    def _framed(self, data: bytes) -> bytes:
        return data if self.plain else answers.chunk(data)

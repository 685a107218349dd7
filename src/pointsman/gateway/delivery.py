"""Delivery: how one streamed answer reaches the client, framed as the client reads it."""

from __future__ import annotations

from pointsman.gateway import answers
from pointsman.gateway.edge import Edge, Incoming


class Delivery:
    """Write one stream to one client. Before `commit` nothing leaves, so another provider may still be tried (I8)."""

    plain = False  # the client speaks HTTP/1.0: the end of the connection ends the stream

    def __init__(self, edge: Edge, incoming: Incoming) -> None:
        self._edge = edge
        self.send = edge.transport.write  # bytes as they are
        self._incoming = incoming

    def commit(self, headers: str, data: bytes) -> None:
        """Send the head, and the stream up to its first content."""
        incoming = self._incoming
        if not self._edge.takes_chunks():
            self.plain = incoming.close = True
        head = answers.stream_head(headers, chunked=not self.plain, close=incoming.close)
        self._edge.write(head + self._framed(data) if data else head)

    def write(self, out: bytes) -> None:
        """Send more of the stream, whole events only."""
        if out:
            self.send(out if self.plain else b"%x\r\n%b\r\n" % (len(out), out))

    def keep_alive(self) -> None:
        """Send a comment, so that nobody on the way takes the stream for dead. It ends no event, because some clients would
        dispatch an empty one (fault 51), and stands between events: only whole ones are ever written."""
        self.write(b":\n")

    def last(self, event: bytes = b"") -> bytes:
        """Return the end of the stream, behind one more event if there is one."""
        return (self._framed(event) if event else b"") + (b"" if self.plain else answers.LAST_CHUNK)

    def _framed(self, data: bytes) -> bytes:
        return data if self.plain else answers.chunk(data)

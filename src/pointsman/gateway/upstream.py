"""Upstream: HTTP/1.1 connections to one origin, pooled; one of the two files that speak HTTP (DESIGN section 6).

A connection carries one call at a time and tells its Sink what happens, by plain calls: no future, no task and no await
stands between the socket and the exchange.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Limits

_WANTED = frozenset(
    {
        b"content-type",
        b"content-length",
        b"transfer-encoding",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"request-id",
        b"x-request-id",
    }
)
_NAMES: dict[bytes, str] = {}  # header name as it came -> lower-case name if wanted, else ""; bounded below
_MAX_NAMES = 512
MAX_HEADERS = 200


class Sink(Protocol):
    """What a connection tells the exchange it serves. After `on_reply`, `on_stream_end` or `on_lost` it is free."""

    streams: bool

    def on_reply(self, status: int, headers: dict[str, str], body: bytes) -> None: ...
    def on_stream(self, data: bytes) -> None: ...
    def on_stream_end(self) -> None: ...
    def on_lost(self, outcome: Outcome) -> None: ...


class Connection(asyncio.Protocol):
    """One keep-alive connection. `call` sends; the Sink hears of the reply; then it goes back to its Origin."""

    __slots__ = (
        "_body", "_bytes_in", "_close", "_ended", "_headers", "_parser", "_parts", "_size", "_status", "_streaming",
        "born_ms", "origin", "sink", "transport", "used",
    )  # fmt: skip

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.sink: Sink | None = None
        self.used = False
        self.born_ms = origin.clock()
        self.transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    # --- towards the exchange
    def call(self, sink: Sink, data: bytes) -> None:
        """Send one request, already encoded, and report to `sink`."""
        self.sink = sink
        self._bytes_in = self._status = self._size = 0
        self._headers = {}
        self._parts = []
        self._streaming = False
        self._ended = False
        self._close = False
        self.transport.write(data)

    def cancel(self) -> None:
        """Give the call up and close: what the provider still sends belongs to nobody."""
        self.sink = None
        self.transport.abort()

    def pause(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # --- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:
            self.transport.abort()  # bytes nobody asked for: this connection is out of step
            return
        self._bytes_in += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lose(Outcome(Kind.BROKEN, self._status, f"the reply is not HTTP: {type(error).__name__}"))
            return
        if self._streaming:
            if parts := self._parts:
                chunk = parts[0] if len(parts) == 1 else b"".join(parts)
                self._parts = []
                sink.on_stream(chunk)
        elif self._size > self.origin.limits.reply_bytes:
            self._lose(Outcome(Kind.BROKEN, self._status, "the reply is larger than the limit"))
            return
        if self._ended and self.sink is sink:
            self._finish(sink)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        origin, sink = self.origin, self.sink
        origin.forget(self)
        if sink is None:
            return
        self.sink = None
        if error is None and self._close_delimited():
            self._deliver(sink)
        elif self.used and not self._bytes_in:
            sink.on_lost(Outcome(Kind.STALE, 0, "the pooled connection was closed before it answered"))
        elif self._status == 0 and not self._bytes_in:
            sink.on_lost(Outcome(Kind.UNREACHABLE, 0, "the connection was closed before any answer"))
        else:
            sink.on_lost(Outcome(Kind.TRUNCATED, self._status, "the connection was closed inside the answer"))

    # --- httptools callbacks
    def on_header(self, name: bytes, value: bytes) -> None:
        known = _NAMES.get(name)
        if known is None:
            known = _learn(name)
        if known:
            self._headers[known] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        sink = self.sink
        if sink is None:
            return
        self._status = status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}
            return
        kind = self._headers.get("content-type", "")
        self._streaming = sink.streams and status == 200 and "json" not in kind and "html" not in kind

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._ended = True
            self._close = not self._parser.should_keep_alive()

    # --- ends
    def _close_delimited(self) -> bool:
        """Tell whether the end of the connection is the end of the body: neither a length nor chunks were declared."""
        if self._status < 200 or self._ended:
            return False
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _finish(self, sink: Sink) -> None:
        self.sink = None
        self.used = True
        if self._close:
            self.transport.close()
        else:
            self.origin.give_back(self)
        self._deliver(sink)

    def _deliver(self, sink: Sink) -> None:
        parts = self._parts
        self._parts = []
        if self._streaming:
            if parts:
                sink.on_stream(b"".join(parts))
            sink.on_stream_end()
        else:
            sink.on_reply(self._status, self._headers, parts[0] if len(parts) == 1 else b"".join(parts))

    def _lose(self, outcome: Outcome) -> None:
        sink, self.sink = self.sink, None
        self.transport.abort()
        if sink is not None:
            sink.on_lost(outcome)


def _learn(name: bytes) -> str:
    lower = name.lower()
    known = lower.decode() if lower in _WANTED else ""
    if len(_NAMES) < _MAX_NAMES:
        _NAMES[name] = known
    return known


class Origin:
    """Pool the connections to one scheme, host and port. Idle ones are taken last-in first-out; age and number are
    bounded by `limits`."""

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext | None, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.host, self.port = address
        self.limits = limits
        self.clock = clock
        self.open = 0
        self._context = context
        self._idle: list[Connection] = []
        self._connecting: set[asyncio.Task[None]] = set()

    def take(self, now_ms: float) -> Connection | None:
        """Return an idle connection, None when there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.is_closing():
                continue
            if now_ms - connection.born_ms > self.limits.upstream_max_age_ms:
                connection.transport.close()
                continue
            return connection
        return None

    def connect(self, ready: Callable[[Connection | Outcome], None]) -> asyncio.Task[None]:
        """Open a connection and hand it, or the Outcome that says why not, to `ready`. Cancel the task to give up."""
        task = asyncio.get_running_loop().create_task(self._connect(ready))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def give_back(self, connection: Connection) -> None:
        if len(self._idle) < self.limits.upstream_idle_per_host:
            self._idle.append(connection)
        else:
            connection.transport.close()

    def forget(self, connection: Connection) -> None:
        self.open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close idle connections; those at work close when their call ends."""
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()
        for task in self._connecting:
            task.cancel()

    async def _connect(self, ready: Callable[[Connection | Outcome], None]) -> None:
        if self.open >= self.limits.upstream_connections_per_host:
            ready(Outcome(Kind.UNREACHABLE, 0, "too many connections to this provider"))
            return
        loop = asyncio.get_running_loop()
        self.open += 1
        try:
            async with asyncio.timeout(self.limits.connect_ms / 1000):
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    self.host,
                    self.port,
                    ssl=self._context,
                    server_hostname=self.host if self._context else None,
                )
        except (OSError, TimeoutError) as error:
            self.open -= 1
            ready(_connect_outcome(error))
        except asyncio.CancelledError:
            self.open -= 1
            raise
        else:
            ready(connection)


def _connect_outcome(error: OSError | TimeoutError) -> Outcome:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Outcome(Kind.UNTRUSTED, 0, f"TLS: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Outcome(Kind.UNREACHABLE, 0, f"TLS: {error.reason or 'handshake failed'}")
    if isinstance(error, TimeoutError) and not error.args:
        return Outcome(Kind.UNREACHABLE, 0, "no connection within the limit")
    return Outcome(Kind.UNREACHABLE, 0, f"connect: {error.strerror or error}"[:200])

"""Upstream: HTTP/1.1 connections to one origin, pooled; one of the two files that speak HTTP (DESIGN section 6).

A connection carries one call at a time and tells its Sink what happens, by plain calls: no future, no task and no await
stands between the socket and the exchange.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

import httptools
import msgspec

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Limits
from pointsman.dialects.relay_stream import Tap
from pointsman.gateway.chunks import MAX_PLAIN_CHUNK, SIZE_LINES
from pointsman.gateway.resolver import Resolver, needs_no_lookup

RawHeaders = dict[bytes, bytes]
END_WAIT_S = 1.0
LOOK_EACH = 63  # of a provider that did not tell its rate limits, one reply in so many and one is looked at again
CRLF = b"\r\n"


class Sink(Protocol):
    """What a connection tells the exchange it serves. After `on_reply`, `on_stream_end` or `on_lost` it is free."""

    streams: bool

    # `chunk`, unless it is empty, is `data` as one chunk of the chunked transfer coding, as it came.
    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None: ...
    def on_stream(self, data: bytes, chunk: bytes) -> None: ...
    def on_stream_end(self) -> None: ...
    def on_lost(self, outcome: Outcome) -> None: ...
    def on_limits(self, headers: dict[str, str]) -> None: ...  # of any reply, what it says of rate limits


def lower(headers: RawHeaders) -> dict[str, str]:
    """Return headers by lower-case name, as text."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers.items()}


class Connection:
    """One keep-alive connection. `call` sends; the Sink hears of the reply; then it goes back to its Origin."""

    __deletable__ = ("_parser",)  # said to mypyc
    transport: asyncio.Transport
    sink: Sink | None
    _used = False  # it has carried a call before
    _bytes_in = 0  # of this call, like all below
    _headed = False  # the head of the final reply is there
    _ended = False
    _keep = False  # it may carry another call
    _paused = False
    _whole = 0  # parts of the body when it was complete
    _streaming = False
    _at_chunk = False  # inside a stream, the parser waits for the next chunk's size and has seen nothing of it
    tap: Tap | None = None  # passes on whole chunks that need no look

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.sink = None
        self.born_ms = origin.clock()
        self._headers: RawHeaders = {}
        self._parts: list[bytes] = []
        # The parser calls these by name; a container's own method costs no frame.
        self.on_header = self._headers.__setitem__
        self.on_body = self._parts.append
        self._begun: list[None] = []  # messages since the reply was complete, interim ones before it included
        self.on_message_begin = partial(self._begun.append, None)
        self._between: list[None] = []  # not empty: the parser has just read a whole chunk
        self.on_chunk_header = self._between.clear
        self.on_chunk_complete = partial(self._between.append, None)
        self._parser = httptools.HttpResponseParser(self)

    # --- towards the exchange
    def call(self, sink: Sink, data: bytes) -> None:
        """Send one request, already encoded, and report to `sink`."""
        self.sink, self.tap = sink, None
        self._bytes_in = 0
        self._headed = self._ended = False
        self._between.clear()
        self.transport.write(data)

    def end_soon(self, sink: Sink) -> None:
        """State that `sink` has its answer: what is left of the call is its framing, and that may take END_WAIT_S."""
        self.tap = None
        self.resume()  # its client may have been slow to read
        if not self._ended:
            asyncio.get_running_loop().call_later(END_WAIT_S, self._drop, sink)

    def cancel(self) -> None:
        """Give the call up and close: what the provider still sends belongs to nobody."""
        self.sink = self.tap = None
        self.transport.abort()

    def pause(self) -> None:
        if not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    # --- asyncio.Protocol
    def pause_writing(self) -> None:
        """A request is never held back: its size is bounded, and it is already here."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        tap = self.tap
        if tap is not None and self._at_chunk and tap.passes(data):
            return  # one whole chunk, as below
        sink = self.sink
        if sink is None:
            self.transport.abort()  # bytes nobody asked for: this connection is out of step
            return
        size = len(data)
        if self._at_chunk and size < MAX_PLAIN_CHUNK:
            # One whole chunk, and the parser waits for one: it would say the same and wait for one again, so it need
            # not see it. The size line follows from the length, so that none but the plainest spelling passes.
            line = SIZE_LINES[size]
            inner = data.removeprefix(line).removesuffix(CRLF)
            if len(inner) + len(line) + 2 == size:  # so both were there
                sink.on_stream(inner, data)
                return
        self._bytes_in += size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._broken(f"the reply is not HTTP: {type(error).__name__}")
            return
        if self._streaming:
            # Of what may follow a whole chunk only the next size line has a line feed, and that line is reported.
            self._at_chunk = bool(self._between) and data.endswith(b"\n")
            if parts := self._parts:
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                sink.on_stream(body, b"")
        elif self._bytes_in > self.origin.limits.reply_bytes:
            self._broken("the reply is larger than the limit")
            return
        if self._ended and self.sink is sink:
            self._finish(sink)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.origin.forget(self)
        sink = self.sink
        if sink is not None:
            self.sink = None
            self._lost(sink, error)
        del self._parser  # it holds our methods: a cycle less

    # --- httptools callbacks
    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()  # an interim reply: the final one follows
            return
        self._headed = True
        sink, origin = self.sink, self.origin
        origin.replies += 1
        if (origin.rated or not origin.replies & LOOK_EACH) and sink is not None:
            limits = {name: value for name, value in lower(self._headers).items() if "ratelimit" in name}
            origin.rated = bool(limits)
            if limits:
                sink.on_limits(limits)
        if sink is not None and sink.streams and status == 200:
            kind = lower(self._headers).get("content-type", "")
            self._streaming = "json" not in kind and "html" not in kind

    def on_message_complete(self) -> None:
        if self._ended:
            return
        self._ended = self._headed
        self._whole = len(self._parts)
        self._keep = self._parser.should_keep_alive()  # known only here
        self._begun.clear()  # what begins from here on, nobody asked for

    # --- ends
    def _finish(self, sink: Sink) -> None:
        self.sink = self.tap = None
        self._used = True
        if self._begun:  # bytes came behind the reply
            del self._parts[self._whole :]
            self.transport.abort()  # out of step: what it says next would be taken for another call's answer
        elif self._keep:
            if self._paused:
                self.resume()  # its client was slow; the next one is another
            self.origin.give_back(self)
        else:
            self.transport.close()
        self._deliver(sink)

    def _deliver(self, sink: Sink) -> None:
        headers, parts = self._headers, self._parts
        if self._streaming:
            self._streaming = self._at_chunk = False
            headers.clear()
            sink.on_stream_end()
            return
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        status, kept = self._parser.get_status_code(), headers
        if status != 200:
            kept = dict(headers)
        headers.clear()
        sink.on_reply(status, kept, body)

    def _lost(self, sink: Sink, error: Exception | None) -> None:
        """Tell the sink what the end of the connection means for its call."""
        if self._headed and not self._ended and error is None:
            named = lower(self._headers)
            if "content-length" not in named and "transfer-encoding" not in named:
                self._deliver(sink)  # the end of the body, as declared
                return
        if not self._bytes_in and self._used:
            sink.on_lost(Outcome(Kind.STALE, 0, "the pooled connection was closed before it answered"))
        elif not self._bytes_in:
            sink.on_lost(Outcome(Kind.UNREACHABLE, 0, "the connection was closed before any answer"))
        else:
            status = self._parser.get_status_code() if self._headed else 0
            sink.on_lost(Outcome(Kind.TRUNCATED, status, "the connection was closed inside the answer"))

    def _drop(self, sink: Sink) -> None:
        if self.sink is sink:
            self.cancel()

    def _broken(self, message: str) -> None:
        sink, self.sink, self.tap = self.sink, None, None
        self.transport.abort()
        if sink is not None:
            sink.on_lost(Outcome(Kind.BROKEN, 0, message))


class Origin:
    """Pool the connections to one scheme, host and port. Idle ones are taken last-in first-out; age and number are
    bounded by `limits`."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext | None,
        limits: Limits,
        clock: Callable[[], float],
        resolver: Resolver | None = None,
    ) -> None:
        self.host, self.port = address
        self._resolver = resolver or Resolver(clock)
        self._plain = needs_no_lookup(self.host)
        self.limits = limits
        self.clock = clock
        self.open = 0
        self.replies = 0
        self.rated = True  # its replies tell what is left of our quota there
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

    def retire(self) -> None:
        """Close idle connections, and each other one when its call ends: no later World sends here."""
        self.limits = msgspec.structs.replace(self.limits, upstream_idle_per_host=0)
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

    async def _connect(self, ready: Callable[[Connection | Outcome], None]) -> None:
        if self.open >= self.limits.upstream_connections_per_host:
            ready(Outcome(Kind.FULL, 0, "the router has too many connections to this provider"))
            return
        self.open += 1
        try:
            async with asyncio.timeout(self.limits.connect_ms / 1000):
                connection = await self._opened()
        except (OSError, TimeoutError) as error:
            self.open -= 1
            self._resolver.doubt(self.host)
            own = self._resolver.reach.failed(self.host, error, self.clock())
            ready(_connect_outcome(error, own=own))
        except asyncio.CancelledError:
            self.open -= 1
            raise
        else:
            self._resolver.reach.connected(self.host, self.clock())
            ready(connection)

    async def _opened(self) -> Connection:
        """Return a new connection. When nobody is at the addresses that were known, look the name up again, once."""
        if self._plain:
            return await self._open(self.host, self.limits.connect_ms / 1000)
        addresses = await self._resolver.addresses(self.host, self.limits.dns_ms)
        try:
            return await self._open_any(addresses)
        except OSError as error:
            if isinstance(error, ssl.SSLError) or not self._resolver.doubt(self.host):
                raise
            moved = await self._resolver.addresses(self.host, self.limits.dns_ms)
            if set(moved) <= set(addresses):
                raise
        return await self._open_any(moved)

    async def _open_any(self, addresses: tuple[str, ...]) -> Connection:
        """Try one address after the other; each has its share of the time that is left."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self.limits.connect_ms / 1000
        for count, address in enumerate(addresses):
            left = len(addresses) - count
            try:
                connection = await self._open(address, (end_s - loop.time()) / left)
            except OSError as error:  # TimeoutError is one
                if left == 1 or isinstance(error, ssl.SSLCertVerificationError):
                    raise
            else:
                if count:
                    self._resolver.prefer(self.host, address)
                return connection
        raise OSError("the name has no address")

    async def _open(self, address: str, wait_s: float) -> Connection:
        async with asyncio.timeout(wait_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: cast(asyncio.Protocol, Connection(self)),
                address,
                self.port,
                ssl=self._context,
                server_hostname=self.host if self._context else None,
            )
        return cast(Connection, connection)


def _connect_outcome(error: OSError, *, own: bool) -> Outcome:
    if own:
        what = error.strerror or str(error) or "nobody answers"
        return Outcome(Kind.LOCAL, 0, f"the router cannot connect to any provider: {what}"[:200], 1_000)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Outcome(Kind.UNTRUSTED, 0, f"TLS: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Outcome(Kind.UNREACHABLE, 0, f"TLS: {error.reason or 'handshake failed'}")
    if isinstance(error, socket.gaierror):
        return Outcome(Kind.UNREACHABLE, 0, f"DNS: {error.strerror or error}"[:200])
    if isinstance(error, TimeoutError) and not error.args:
        return Outcome(Kind.UNREACHABLE, 0, "no connection within the limit")
    return Outcome(Kind.UNREACHABLE, 0, f"connect: {error.strerror or error}"[:200])

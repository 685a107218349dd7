"""The mock's HTTP/1.1 side: one asyncio protocol per connection that reads requests and plays replies step by step.

No task per request or stream: due steps are written from the shared wheel's callbacks.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import unquote

import httptools

from pointsman.lab.faults import Rule
from pointsman.lab.mock.ask import Received
from pointsman.lab.mock.log import Entry
from pointsman.lab.mock.steps import Step, Steps
from pointsman.lab.mock.wheel import Wheel

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_HEADERS = 200
MAX_WAITING = 32  # pipelined requests of one connection
WRITE_HIGH_BYTES = 256 * 1024
FLUSH_BYTES = 64 * 1024
_EARLY_S = 0.0005  # a step this close to its time is due
_RESET_GRACE_S = 0.003  # what was written before an RST is read by the peer first
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """Hold one reply being played: its steps, its log entry (None: not logged), and what to do at its end."""

    __slots__ = ("close_after_ms", "end", "entry", "steps")

    def __init__(self, steps: Steps, entry: Entry | None = None, end: Callable[[], None] | None = None) -> None:
        self.steps = steps
        self.entry = entry
        self.end = end
        self.close_after_ms: float | None = None


class Site(Protocol):
    """What listens behind a port."""

    wheel: Wheel

    def opened(self, connection: Connection) -> tuple[Rule, ...]:
        """Take in a new connection; return the `accept` rules that hit it."""
        ...

    def closed(self, connection: Connection) -> None: ...

    def answer(self, received: Received) -> Exchange: ...

    def finished(self, exchange: Exchange) -> None:
        """Book an exchange that has ended; called exactly once for each."""
        ...


def reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN (SO_LINGER 0)."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Connection(asyncio.Protocol):
    """Read requests of one client connection one after the other, and play what the site answers."""

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.number = number
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Received, bool]] = deque()
        self._exchange: Exchange | None = None
        self._keep_alive = True
        self._held: Step | None = None
        self._due_s = 0.0
        self._armed_s = 0.0
        self._paused = False
        self._stopped = False  # a fault holds or cuts this exchange: nothing more is written
        self._mute = False
        self._late: deque[bytes] | None = None
        self._begin()

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        self._transport = stream
        stream.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        for rule in self.site.opened(self):
            self._accept_fault(rule, stream)

    def data_received(self, data: bytes) -> None:
        if self._mute:
            return
        if self._late is not None:
            self._late.append(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(_BAD_REQUEST)
        except httptools.HttpParserError:
            self._refuse(_BAD_REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        exchange = self._exchange
        if exchange is not None:
            if exchange.entry is not None and exchange.entry.outcome == "complete":
                exchange.entry.outcome = "client_gone"
            self._finish()
        self.site.closed(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._run()

    def cut(self, fault: str) -> None:
        """Reset the connection now, as a machine that goes down does."""
        if self._exchange is not None and self._exchange.entry is not None:
            self._exchange.entry.mark(fault)
            self._exchange.entry.outcome = "cut"
        if self._transport is not None:
            reset(self._transport)

    # --- the parser's calls

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) < MAX_HEADERS:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(_TOO_LARGE)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        received = Received(
            method=self._parser.get_method().decode("latin-1"),
            path=unquote(path) if "%" in path else path,
            query=query,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            connection=self.number,
        )
        self._waiting.append((received, self._parser.should_keep_alive()))
        if len(self._waiting) > MAX_WAITING:
            self._refuse(_BAD_REQUEST)
        elif self._exchange is None:
            self._start()

    # --- faults of the connection itself

    def _accept_fault(self, rule: Rule, transport: asyncio.Transport) -> None:
        if rule.do == "delay":
            self._late = deque()
            transport.pause_reading()
            self.site.wheel.at(self.site.wheel.now_s() + (rule.ms or 1000.0) / 1000, self._wake)
            return
        self._mute = True
        if rule.do == "reset":
            reset(transport)
        elif rule.do == "eof":
            transport.close()

    def _wake(self) -> None:
        late, self._late = self._late, None
        if self._transport is not None:
            self._transport.resume_reading()
            for data in late or ():
                self.data_received(data)

    def _refuse(self, answer: bytes) -> None:
        self._mute = True
        if self._transport is not None:
            self._transport.write(answer)
            self._transport.close()

    # --- playing

    def _start(self) -> None:
        received, self._keep_alive = self._waiting.popleft()
        self._exchange = self.site.answer(received)
        self._due_s = self.site.wheel.now_s()
        self._run()

    def _run(self) -> None:
        """Write every step that is due; leave a callback with the wheel for the next."""
        if self._exchange is None or self._transport is None or self._paused or self._stopped:
            return
        now_s = self.site.wheel.now_s()
        chunks: list[bytes] = []
        size = 0
        while True:
            step = self._held or self._pull()
            self._held = None
            if step is None:
                self._flush(chunks)
                self._complete()
                return
            if self._due_s > now_s + _EARLY_S:
                self._held = step
                self._flush(chunks)
                self._arm()
                return
            if step.data:
                chunks.append(step.data)
                size += len(step.data)
            self._count(step)
            if step.op != "write" or size >= FLUSH_BYTES:
                self._flush(chunks)
                size = 0
                if self._paused or (step.op != "write" and not self._obey(step)):
                    return

    def _arm(self) -> None:
        if self._armed_s != self._due_s:
            self._armed_s = self._due_s
            self.site.wheel.at(self._due_s, self._run)

    def _pull(self) -> Step | None:
        assert self._exchange is not None
        step = next(self._exchange.steps, None)
        if step is not None:
            self._due_s += step.wait_ms / 1000
        return step

    def _count(self, step: Step) -> None:
        entry = self._exchange.entry if self._exchange is not None else None
        if entry is not None:
            entry.written_tokens += step.tokens
            entry.bytes_written += len(step.data)

    def _flush(self, chunks: list[bytes]) -> None:
        if chunks and self._transport is not None:
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
            chunks.clear()

    def _obey(self, step: Step) -> bool:
        """Carry out what a step does besides writing; return whether to go on at once."""
        wheel = self.site.wheel
        if step.op == "turn":
            asyncio.get_running_loop().call_soon(self._run)
            return False
        self._stopped = True
        if step.op != "hold":
            if self._exchange is not None and self._exchange.entry is not None:
                self._exchange.entry.outcome = "cut"
            if step.op == "eof" and self._transport is not None:
                self._mute = True
                self._transport.close()
            else:
                wheel.at(wheel.now_s() + _RESET_GRACE_S, self._reset)
        return False

    def _reset(self) -> None:
        if self._transport is not None:
            reset(self._transport)

    def _complete(self) -> None:
        exchange = self._exchange
        self._finish()
        if self._transport is None:
            return
        if exchange is not None and exchange.close_after_ms is not None:
            wheel, transport = self.site.wheel, self._transport
            wheel.at(wheel.now_s() + exchange.close_after_ms / 1000, transport.close)
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            self._start()

    def _finish(self) -> None:
        exchange, self._exchange, self._held = self._exchange, None, None
        if exchange is not None:
            self.site.finished(exchange)

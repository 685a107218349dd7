"""Edge: the HTTP/1.1 server; one of the two files that speak HTTP (DESIGN section 6). Parsing stays with httptools.

A connection reads requests and hands each complete one to the dispatcher; one is answered at a time, in order. Every bound
stands in `core.policy.Limits`; the worker's sweep calls `overdue` so that no wait here needs a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

import httptools

from pointsman.core.policy import Limits
from pointsman.gateway.answers import refusal

WANTED = {
    b"authorization": "authorization",
    b"x-api-key": "x-api-key",
    b"api-key": "api-key",
    b"x-request-id": "x-request-id",
    b"x-stainless-read-timeout": "x-stainless-read-timeout",
    b"x-stainless-retry-count": "x-stainless-retry-count",
    b"content-encoding": "content-encoding",
    b"content-length": "content-length",
    b"expect": "expect",
    b"openai-beta": "openai-beta",
    b"traceparent": "traceparent",
    b"upgrade": "upgrade",
}
_NAMES: dict[bytes, str] = {}  # header name as it came -> its lower-case name if wanted, else ""; bounded below
_MAX_NAMES = 512
MAX_PIPELINED = 16
HIGH_WATER = 64 * 1024


class Incoming:
    """One request as it came: method, target, the wanted headers, body. `refused` is an answer decided before the body."""

    method = b""
    target = b""
    body = b""
    ready_ms = 0.0  # when its last byte was there
    caller: object | None = None
    refused: bytes | None = None
    close = False

    def __init__(self) -> None:
        self.headers: dict[str, bytes] = {}


class Work(Protocol):
    """What answers a request when it takes longer than the call that started it."""

    def client_gone(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def shut_down(self) -> None: ...


class Dispatcher(Protocol):
    """What the edge needs of the worker."""

    limits: Limits
    draining: bool

    def now_ms(self) -> float: ...
    def admit(self, incoming: Incoming) -> bytes | None: ...
    def dispatch(self, edge: Edge, incoming: Incoming) -> Work | None: ...
    def opened(self, edge: Edge) -> bool: ...
    def closed(self, edge: Edge) -> None: ...


class Edge(asyncio.Protocol):
    """Serve one client connection."""

    __slots__ = (
        "_head_bytes", "_in_head", "_incoming", "_parser", "_parts", "_paused_ms", "_pipeline", "_size",
        "_stalled_bytes", "closing", "current", "due_ms", "transport", "work", "worker",
    )  # fmt: skip

    def __init__(self, worker: Dispatcher) -> None:
        self.worker = worker
        self.transport: asyncio.Transport
        self.work: Work | None = None
        self.current: Incoming | None = None  # the request being answered
        self.due_ms = 0.0  # when the wait for the client's next bytes ends
        self.closing = False
        self._incoming: Incoming | None = None  # the request being read
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._in_head = False
        self._pipeline: deque[Incoming] = deque()
        self._paused_ms = 0.0
        self._stalled_bytes = 0

    # --- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)
        self.due_ms = self.worker.now_ms() + self.worker.limits.header_ms
        if not self.worker.opened(self):
            self._refuse(503, "too many connections; try again later", "overloaded")

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(426, "protocol upgrades are not supported", "upgrade_not_supported")
        except httptools.HttpParserCallbackError:
            raise  # a fault of ours: the loop logs it and drops the connection, which settles the work
        except httptools.HttpParserError:
            self._refuse(400, "the request is not valid HTTP/1.1", "invalid_http")
        if self._incoming is not None:
            self._wait_for_more(len(data))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.worker.closed(self)
        self._pipeline.clear()
        if self.work is not None:
            work, self.work = self.work, None
            work.client_gone()

    def pause_writing(self) -> None:
        self._paused_ms = self.worker.now_ms()
        self._stalled_bytes = self.transport.get_write_buffer_size()
        if self.work is not None:
            self.work.client_paused()

    def resume_writing(self) -> None:
        self._paused_ms = 0.0
        if self.work is not None:
            self.work.client_resumed()

    # --- httptools callbacks
    def on_message_begin(self) -> None:
        self._incoming = Incoming()
        self._parts = []
        self._size = self._head_bytes = 0
        self._in_head = True
        self.due_ms = 0.0

    def on_url(self, url: bytes) -> None:
        incoming = self._incoming
        assert incoming is not None
        incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        known = _NAMES.get(name)
        if known is None:
            known = _learn(name)
        self._head_bytes += len(name) + len(value)
        if known:
            assert self._incoming is not None
            self._incoming.headers[known] = value

    def on_headers_complete(self) -> None:
        incoming, parser = self._incoming, self._parser
        assert incoming is not None
        incoming.method = parser.get_method()
        self._in_head = False
        limits, headers = self.worker.limits, incoming.headers
        if self._head_bytes > limits.header_bytes:
            self._refuse_head()
            return
        length = headers.get("content-length")
        if length is not None and int(length) > limits.body_bytes:
            self._refuse_body()
            return
        incoming.refused = self.worker.admit(incoming)
        if "expect" in headers and incoming.refused is None and not self.closing:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self.worker.limits.body_bytes:
            self._refuse_body()
        elif self._incoming is not None and self._incoming.refused is None:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is None or self.closing:
            return
        incoming.ready_ms = self.worker.now_ms()
        parts = self._parts
        incoming.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        incoming.close = not self._parser.should_keep_alive()
        if self.current is None:
            self._answer(incoming)
        elif len(self._pipeline) < MAX_PIPELINED:
            self._pipeline.append(incoming)
        else:
            self.abort()

    # --- towards whatever answers
    def write(self, data: bytes) -> None:
        if not self.closing:
            self.transport.write(data)

    def finish(self) -> None:
        """State that the current request is answered: go on with the next, or close."""
        incoming, self.current, self.work = self.current, None, None
        if self.closing:
            return
        if incoming is None or incoming.close or self.worker.draining:
            self.close()
            return
        self.due_ms = 0.0
        if self._pipeline:
            self._answer(self._pipeline.popleft())

    def abort(self) -> None:
        """Drop the connection at once."""
        self.closing = True
        self.transport.abort()

    def overdue(self, now_ms: float) -> None:
        """Act on waits that have ended: called by the worker's sweep."""
        if self._paused_ms:
            left = self.transport.get_write_buffer_size()
            if left < self._stalled_bytes:
                self._stalled_bytes, self._paused_ms = left, now_ms
            elif now_ms - self._paused_ms > self.worker.limits.write_stall_ms:
                self.abort()  # connection_lost tells the work that its client is gone
        elif not self.due_ms:
            self.due_ms = now_ms + self.worker.limits.keepalive_ms
        elif now_ms > self.due_ms and self.current is None:
            if self._incoming is not None:
                self._refuse(408, "the request did not arrive in time", "request_timeout")
            else:
                self.close()

    def idle(self) -> bool:
        return self.current is None and self._incoming is None

    # --- inside
    def _answer(self, incoming: Incoming) -> None:
        self.current = incoming
        if incoming.refused is not None:
            self.transport.write(incoming.refused)
            self.finish()
            return
        work = self.worker.dispatch(self, incoming)
        if self.current is incoming:  # not answered within the call
            self.work = work

    def _wait_for_more(self, size: int) -> None:
        """Bound the wait for, and the size of, a request that has not wholly arrived."""
        limits = self.worker.limits
        if self._in_head:
            self._head_bytes += size  # a head that never ends is not seen by on_header
            if self._head_bytes > 2 * limits.header_bytes:
                self._refuse_head()
        if not self.due_ms:
            self.due_ms = self.worker.now_ms() + (limits.header_ms if self._in_head else limits.body_ms)

    def _refuse_head(self) -> None:
        self._refuse(431, "the request's headers are larger than the limit", "headers_too_large")

    def _refuse_body(self) -> None:
        limit = self.worker.limits.body_bytes // (1024 * 1024)
        self._refuse(413, f"the body is larger than the limit of {limit} MiB", "body_too_large")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer a request that cannot be read further, and close."""
        if self.closing:
            return
        self._incoming = None
        if self.current is None:
            self.transport.write(refusal(status, message, code, close=True))
        self.close()

    def close(self) -> None:
        """Close once what was written has left."""
        self.closing = True
        self.transport.close()


def _learn(name: bytes) -> str:
    known = WANTED.get(name.lower(), "")
    if len(_NAMES) < _MAX_NAMES:
        _NAMES[name] = known
    return known

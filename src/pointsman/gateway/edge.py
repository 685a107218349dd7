"""Edge: the HTTP/1.1 server; one of the two files that speak HTTP (DESIGN section 6). Parsing stays with httptools.

A connection reads requests and hands each complete one to the worker; one is answered at a time, in order. The parser
fills plain containers (header names and values, body parts) without a call of ours for each. Every bound stands in
`core.policy.Limits`; the worker's sweep calls `overdue`, so that no wait here needs a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hmac import compare_digest
from typing import Protocol, cast

import httptools

from pointsman.core.policy import Limits
from pointsman.gateway.headers import Wanted
from pointsman.gateway.known import END_OF_HEAD, Known, known_of
from pointsman.gateway.known import Incoming as Incoming

MAX_PIPELINED = 16
MAX_TRAILERS = 32
HIGH_WATER = 64 * 1024
SMALL_BODY_BYTES = 64 * 1024  # such a body is read before its request is refused: the connection can be used again
LINGER_MS = 2_000  # that a client may still send for when it was refused before its body had come
LEAST_BYTES_PER_MS = 64  # a body that comes slower than this, beyond limits.body_ms, is not waited for
LESSONS = 4  # heads that one connection may teach: a client whose heads all differ soon stops paying for it


class Work(Protocol):
    """What answers a request when it takes longer than the call that started it."""

    def client_gone(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...


class Dispatcher(Protocol):
    """What the edge needs of the worker."""

    limits: Limits
    draining: bool
    generation: object  # of the keys: another one, another look-up
    wanted: Wanted

    def now_ms(self) -> float: ...
    def admit(self, incoming: Incoming, edge: Edge | None = None, *, close: bool = False) -> bytes | None: ...
    def refusal(self, status: int, message: str, code: str, *, close: bool) -> bytes: ...
    def pressed(self) -> bool: ...
    def refuse_body(self, incoming: Incoming, *, close: bool) -> bytes | None: ...
    def dispatch(self, edge: Edge, incoming: Incoming) -> Work | None: ...
    def opened(self, edge: Edge) -> bool: ...
    def closed(self, edge: Edge) -> None: ...


class Edge:
    """Serve one client connection: what asyncio.Protocol asks for, without its class, which a compiled one cannot extend."""

    __deletable__ = ("_parser",)  # said to mypyc
    transport: asyncio.Transport
    work: Work | None
    current: Incoming | None = None  # the request being answered
    due_ms = 0.0  # when the present wait for the client ends; 0.0: not yet set
    closing = False
    _in_head = True  # of the request being read
    _head_bytes = 0  # of a head that did not come in one piece
    _body_bytes = 0
    _head_names = 0
    _admitted: Incoming | None = None  # its caller was looked at before its body was there
    _credential = b"\0"  # what the last request on this connection showed, and who that was
    _caller: object | None = None
    _generation: object | None = None
    _known: Known | None = None
    _held = b""  # a known head that waits for its body; the parser has not seen it
    _first = b""  # the first piece of a request that may be learned
    _paused_ms = 0.0
    _stalled_bytes = 0

    def __init__(self, worker: Dispatcher) -> None:
        self.worker = worker
        self.work = None
        self._lessons = LESSONS + 1  # the first request is no lesson: it may be the only one
        self._headers: dict[bytes, bytes] = {}
        self._url: list[bytes] = []
        self._parts: list[bytes] = []
        self._ready: deque[Incoming] = deque()
        # The parser calls these by name; a container's own method costs no frame.
        self.on_header = self._headers.__setitem__
        self.on_url = self._url.append
        self.on_body = self._parts.append
        self._between: list[None] = [None]  # not empty: the parser is between messages, and saw nothing of the next
        self.on_message_begin = self._between.clear
        self._parser = httptools.HttpRequestParser(self)

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
        if self._held:
            data, self._held = self._held + data, b""
        between = self._between and self.current is None
        known = self._known if between else None
        if known is not None and known.wanted is self.worker.wanted:
            incoming = known.read(data, self.worker.limits)
            if incoming is not None:
                self._answer_known(incoming, known)
                return
            length = known.awaits(data, self.worker.limits) if known.generation is self.worker.generation else 0
            if length and (length <= SMALL_BODY_BYTES or not self.worker.pressed()):
                self._hold(data, length)
                return
        limit = self.worker.limits.header_bytes
        if self._in_head and len(data) > limit and data.find(END_OF_HEAD, 0, limit) < 0:
            self._refuse_head()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(426, "protocol upgrades are not supported", "upgrade_not_supported")
            return
        except httptools.HttpParserError:
            self._refuse(400, "the request is not valid HTTP/1.1", "invalid_http")
            return
        if not self._ready:
            self._first = data if between and self._lessons and len(data) <= limit else b""
            self._wait_for_more(len(data))
        elif self.current is None:
            incoming = self._ready.popleft()
            whole, self._first = self._first + data if between or self._first else b"", b""
            lesson = whole and self._lessons and self._between and not self._ready
            self._answer(incoming)
            if lesson:
                self._learn(whole, incoming)
        elif len(self._ready) > MAX_PIPELINED:
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.worker.closed(self)
        self._ready.clear()
        del self._parser  # it holds our methods: a cycle less
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
    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_names = len(self._headers)

    def on_message_complete(self) -> None:
        incoming = self._admitted
        if incoming is None:
            incoming = self._incoming()
        else:
            self._admitted = None
        parts = self._parts
        incoming.body = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self._parser.should_keep_alive():
            incoming.close = True
        incoming.ready_ms = self.worker.now_ms()
        parts.clear()
        self._headers.clear()
        self._in_head = True
        self._head_bytes = self._body_bytes = 0
        self.due_ms = 0.0
        self._between.append(None)
        self._ready.append(incoming)

    # --- towards whatever answers
    def write(self, data: bytes) -> None:
        if not self.closing:
            self.transport.write(data)

    def answer(self, data: bytes) -> None:
        """Write a whole response and finish. To HEAD only the head is sent."""
        if self.current is not None and self.current.method == b"HEAD":
            data = data[: data.index(END_OF_HEAD) + len(END_OF_HEAD)]
        self.finish(data)

    def finish(self, data: bytes) -> None:
        """Write the last bytes of the answer to the current request; go on with the next, or close."""
        incoming, self.current, self.work = self.current, None, None
        if self.closing:
            return
        self.transport.write(data)
        if incoming is None or incoming.close or self.worker.draining:
            self.close()
        elif self._ready:
            following = self._ready.popleft()
            following.waited = True
            self._answer(following)

    def close(self) -> None:
        """Close once what was written has left."""
        self.closing = True
        self.transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.closing = True
        self.transport.abort()

    def overdue(self, now_ms: float) -> None:
        """Act on waits that have ended: called by the worker's sweep."""
        if self.closing:
            if self.due_ms and now_ms > self.due_ms:
                self.abort()
        elif self._paused_ms:
            left = self.transport.get_write_buffer_size()
            if left < self._stalled_bytes:
                self._stalled_bytes, self._paused_ms = left, now_ms
            elif now_ms - self._paused_ms > self.worker.limits.write_stall_ms:
                self.abort()  # connection_lost tells the work that its client is gone
        elif self.current is not None:
            self.due_ms = 0.0
        elif not self.due_ms:
            self.due_ms = now_ms + self.worker.limits.keepalive_ms
        elif now_ms > self.due_ms:
            if self.idle():
                self.close()
            else:
                self._refuse(408, "the request did not arrive in time", "request_timeout")

    def takes_chunks(self) -> bool:
        """Tell whether the client of the current request reads the chunked transfer coding."""
        current = self.current
        return (current is not None and current.known) or bool(self._parser.get_http_version() != "1.0")

    def idle(self) -> bool:
        """Tell whether no request is being read or answered."""
        return self.current is None and self._in_head and not self._head_bytes

    # --- inside
    def _incoming(self) -> Incoming:
        url = self._url
        target = url[0] if len(url) == 1 else b"".join(url)
        url.clear()
        return Incoming(self._parser.get_method(), target, self.worker.wanted.of(self._headers))

    def _answer(self, incoming: Incoming) -> None:
        self.current = incoming
        headers, worker = incoming.headers, self.worker
        credential = headers.get("authorization", b"")
        if (
            credential
            and compare_digest(credential, self._credential)
            and self._generation is worker.generation
            and "content-encoding" not in headers
        ):
            incoming.caller = self._caller  # the same as before on this connection
        else:
            refused = incoming.refused
            if refused is None and incoming.generation is not worker.generation:
                refused = worker.admit(incoming, self)
            if refused is not None:
                self.answer(refused)
                return
            if credential:
                self._credential, self._caller, self._generation = credential, incoming.caller, worker.generation
        self._go_on(incoming, self.worker.dispatch(self, incoming))

    def _answer_known(self, incoming: Incoming, known: Known) -> None:
        """Answer a request whose head is known, and with it who calls, as long as the keys are the same."""
        worker = self.worker
        incoming.ready_ms = worker.now_ms()
        self.due_ms = 0.0
        self._head_bytes = 0  # line ends that came before it
        self.current = incoming
        if known.generation is worker.generation:
            incoming.caller = known.caller
        else:
            refused = worker.admit(incoming, self)
            if refused is not None:
                self.answer(refused)
                return
            known.caller, known.generation = incoming.caller, worker.generation
        self._go_on(incoming, worker.dispatch(self, incoming))

    def _go_on(self, incoming: Incoming, work: Work | None) -> None:
        """Remember what answers a request, if that was not done within the call."""
        if self.current is incoming:
            self.work = work
            if self._paused_ms and work is not None:
                work.client_paused()  # it has not read the answer before

    def _hold(self, head: bytes, length: int) -> None:
        """Keep a known head whose caller is known until its body comes: many clients send the two apart."""
        self._held, self._head_bytes = head, len(head)
        self.due_ms = self.worker.now_ms() + self.worker.limits.body_ms + length / LEAST_BYTES_PER_MS

    def _learn(self, data: bytes, incoming: Incoming) -> None:
        """Remember the head of a request, `data` from one message's end to the next."""
        self._lessons -= 1
        known = known_of(data, incoming, self.worker.limits) if 0 < self._lessons < LESSONS else None
        if known is not None:
            known.wanted = self.worker.wanted
            if incoming.caller is not None:
                known.caller, known.generation = incoming.caller, self.worker.generation
        self._known = known

    def _wait_for_more(self, size: int) -> None:
        """Bound the wait for, and the size of, a request that has not wholly arrived."""
        limits = self.worker.limits
        if self._in_head:
            self._head_bytes += size
            if self._head_bytes > limits.header_bytes:
                self._refuse_head()
            if not self.due_ms:
                self.due_ms = self.worker.now_ms() + limits.header_ms
            return
        self._body_bytes += size
        if self._admitted is None and not self._look_before_body():
            return
        if self._body_bytes > limits.body_bytes + limits.header_bytes:
            self._refuse_body()
        elif len(self._headers) > self._head_names + MAX_TRAILERS:
            self._refuse_head()

    def _look_before_body(self) -> bool:
        """Decide from the head alone: who calls, how much will come. Return whether to read on (S2)."""
        limits = self.worker.limits
        incoming = self._admitted = self._incoming()
        length = int(incoming.headers.get("content-length", b"0"))
        if length > limits.body_bytes:
            self._refuse_body()
            return False
        close = self.current is None
        incoming.refused = self.worker.admit(incoming, self, close=close)
        if incoming.refused is None and not 0 < length <= SMALL_BODY_BYTES:
            incoming.refused = self.worker.refuse_body(incoming, close=close)
        if incoming.refused is not None and self.current is None:
            self._turn_away(incoming.refused)
            return False
        if "expect" in incoming.headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.due_ms = self.worker.now_ms() + limits.body_ms + length / LEAST_BYTES_PER_MS
        return True

    def _turn_away(self, answer: bytes) -> None:
        """Answer before the body has come, and close. What the client is still sending is read and thrown away for a moment:
        if it met a closed connection, the answer would be lost with it."""
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.closing, self.due_ms = True, self.worker.now_ms() + LINGER_MS
        else:
            self.close()

    def _refuse_head(self) -> None:
        self._refuse(431, "the request's headers are larger than the limit", "headers_too_large")

    def _refuse_body(self) -> None:
        limit = self.worker.limits.body_bytes // (1024 * 1024)
        self._refuse(413, f"the body is larger than the limit of {limit} MiB", "body_too_large")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer a request that cannot be read further, and close."""
        if self.closing:
            return
        if self.current is None:
            self.transport.write(self.worker.refusal(status, message, code, close=True))
            self.close()
        else:
            self.abort()  # its answer would come before that of the request under way


def edge_of(worker: Dispatcher) -> asyncio.Protocol:
    """Return an Edge as what it is to an event loop."""
    return cast(asyncio.Protocol, Edge(worker))

"""Sending: one attempt on its way: gets a connection, waits for the books, reads the reply and tells its exchange.

It is the Sink of its connection. Callbacks only: no task, no await.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pointsman.core.health import patience_ms
from pointsman.core.options import Step
from pointsman.core.outcome import Kind, Outcome
from pointsman.dialects.allowance import read_allowances
from pointsman.dialects.base import WireError
from pointsman.dialects.relay_reply import read_reply, silence_of
from pointsman.dialects.relay_stream import RelayStream
from pointsman.gateway import silence
from pointsman.gateway.attempt import Attempt, Pipe
from pointsman.gateway.chunks import SIZE_LINES
from pointsman.gateway.kept import Recording
from pointsman.gateway.ladder import keeps_answers
from pointsman.gateway.traced import with_trace
from pointsman.gateway.upstream import Connection, RawHeaders
from pointsman.gateway.world import Endpoint

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange

SILENCES = (Kind.SILENT, Kind.CONTENT_FILTER)  # of an answer that is whole, and may be given to the client


class Sending(Attempt):
    """Carry one attempt of an exchange. Times are milliseconds of the monotonic clock; without content by `due_ms` it is
    given up."""

    connection: Connection | None = None
    over = False  # it has ended: what still comes is of no interest
    committed = False  # its content goes to the client
    data = b""  # an encoded request that waits for its Admitted record
    kept: Recording | None = None  # the stream so far, for the ladder
    _connecting: asyncio.Task[None] | None = None
    _held_bytes = 0

    def __init__(self, exchange: Exchange, step: Step, endpoint: Endpoint, started_ms: float) -> None:
        self.exchange = exchange
        self.step = step
        self.endpoint = endpoint
        self.started_ms = started_ms
        self.pipe = None
        self.streams = exchange.streams
        options = exchange.options
        wait_ms = step.ttft_ms if self.streams else step.whole_ms
        if options.adaptive and self.streams and len(exchange.rows) + 1 < len(options.steps):
            wait_ms = patience_ms(exchange.snapshot.states[step.position], wait_ms)
        self.due_ms = started_ms + wait_ms
        if endpoint.load is not None:
            exchange.shell.live.begun(exchange.world, self)

    def connect(self) -> None:
        """Open a connection, then send."""
        self._connecting = self.endpoint.origin.connect(self._connected)

    def _connected(self, result: Connection | Outcome) -> None:
        self._connecting = None
        self.connected_ms = self.exchange.shell.now_ms()
        if isinstance(result, Outcome):
            self.exchange.attempt_ended(self, result)
        else:
            self.call(result)

    def call(self, connection: Connection) -> None:
        """Send on a connection, as soon as the request is booked."""
        exchange, endpoint = self.exchange, self.endpoint
        try:
            if endpoint.relays and self.step.edit is None and not exchange.committed:
                incoming = exchange.incoming
                data = endpoint.relay(incoming.body, exchange.head, exchange.request.id, incoming.headers)
            else:
                data = exchange.encoded(self)
        except WireError as error:
            endpoint.origin.give_back(connection)
            exchange.attempt_ended(self, Outcome(Kind.UNSUPPORTED, 0, str(error)))
            return
        if endpoint.traced:
            data = with_trace(exchange, self, data)
        if self.streams:
            self.pipe = exchange.pipe_of(self)
            self._held: list[bytes] = []
            cache, tape = exchange.cache, exchange.tape
            if cache is not None or exchange.incoming.claim is not None or tape is not None or keeps_answers(exchange):
                clock = exchange.shell.now_ms if cache is not None and cache.paced else None
                self.kept = None if exchange.committed else Recording(clock)
                if tape is not None and self.kept is not None:
                    tape.recording = self.kept
        self.connection = connection
        if exchange.booked_in:
            self.sent = True
            connection.call(self, data)
        else:
            connection.sink = self  # ours, and told of its loss
            self.data = data

    # --- Sink: what the connection tells us
    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self.connection = None
        exchange = self.exchange
        self.answered_ms = exchange.shell.now_ms()
        self.status = status
        clock = exchange.shell.live.clock
        if status != 200 or self.streams:
            exchange.attempt_ended(self, self.classify(status, headers, body, clock))
            return
        try:
            if self.endpoint.relays:
                facts = read_reply(body)
                failure, usage, served = facts.failure, facts.usage, facts.served_model
            else:
                failure, usage, served, body = self.translate_reply(body)
            if failure is None:
                exchange.answer(self, body, usage, served)
                return
            if failure.kind in SILENCES:
                outcome = replace(failure, usage=usage, served_model=served)
                if not silence.spared(exchange, self, outcome, body):
                    exchange.answer(self, body, usage, served)
                return
            if failure.kind is Kind.SERVER_ERROR:  # an error under status 200: its body says which (fault 24)
                failure = self.classify(200, headers, body, clock)
        except WireError as error:
            failure = self.classify(200, headers, body, clock)
            if failure.kind is Kind.BROKEN:
                failure = Outcome(Kind.BROKEN, 200, str(error))
        exchange.attempt_ended(self, failure)

    def on_stream(self, data: bytes, chunk: bytes) -> None:
        pipe = self.pipe
        if self.over or pipe is None:
            return  # the answer is complete: this is behind it
        out = pipe.feed(data)
        if self.kept is not None:
            self.kept.add(out)
        exchange = self.exchange
        if self.committed:
            delivery = exchange.delivery
            exchange.progress = True
            if out is data and chunk and not delivery.plain:
                delivery.send(chunk)  # the client reads the same coding: what came is what would be made here
                if self.kept is None and self.connection is not None and isinstance(pipe, RelayStream):
                    self.connection.tap = pipe.tap(SIZE_LINES, delivery.send, exchange)
                return  # what leaves as it came is content: no end, no failure
            delivery.write(out)
        elif pipe.content:
            exchange.commit(self, out)
        elif pipe.failure is None:
            self._held.append(out)
            self._held_bytes += len(out)
            if self._held_bytes > exchange.world.limits.stream_buffer_bytes:
                self.give_up(Outcome(Kind.BROKEN, 200, "too much came before the first content"))
                return
        if pipe.failure is not None:
            self.give_up(pipe.failure)
        elif pipe.done:
            self._complete(pipe)

    def on_stream_end(self) -> None:
        self.connection = None
        pipe, exchange = self.pipe, self.exchange
        if self.over or pipe is None:
            return
        out, outcome = pipe.close()
        if self.kept is not None:
            self.kept.add(out)
        if self.committed:
            exchange.delivery.write(out)
        elif pipe.content:
            exchange.commit(self, out)
        else:
            self._held.append(out)
        if outcome.kind is Kind.OK:
            self._complete(pipe)
        else:
            exchange.attempt_ended(self, outcome)

    def on_limits(self, headers: dict[str, str]) -> None:
        exchange, live = self.exchange, self.exchange.shell.live
        if self.endpoint.provider.rate_limit_headers:
            told = read_allowances(headers, live.clock.wall_ms() / 1000)
            live.allowed(exchange.world, self.step.deployment, told, exchange.request.features)

    def on_lost(self, outcome: Outcome) -> None:
        self.connection = None
        if not self.over:
            self.exchange.attempt_ended(self, outcome)

    # --- ends
    def _complete(self, pipe: Pipe) -> None:
        """End well: the terminal marker is there, so nothing that still comes can change the answer."""
        if self.connection is not None:
            self.connection.end_soon(self)
            self.connection = None
        if not self.committed:
            outcome = None if pipe.content else silence_of(pipe.finishes)
            if outcome is not None:
                outcome = replace(outcome, usage=pipe.usage, served_model=pipe.served_model)
                if silence.spared(self.exchange, self, outcome):
                    return
            self.exchange.commit(self, b"")
        self.exchange.complete(self, pipe)

    def taken(self, out: bytes) -> bytes:
        """Return what was held before the first content (roles, pings: faults 41-43), and `out`."""
        held, self._held = self._held, []
        return b"".join((*held, out)) if held else out

    def give_up(self, outcome: Outcome) -> None:
        """End with an outcome of our own; the provider is told by the end of the connection."""
        self.stop()
        self.exchange.attempt_ended(self, outcome)

    def stop(self) -> None:
        """Cancel whatever it waits for."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.cancel()

"""Drain: reads the rest of an answer whose client has gone, where the provider bills it anyway, to learn what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import NO_USAGE
from pointsman.dialects.base import WireError
from pointsman.dialects.relay_reply import read_reply

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.sending import Sending
    from pointsman.gateway.upstream import Connection, RawHeaders

GONE = Outcome(Kind.CLIENT_GONE, 0, "the client closed the connection")


class Drain:
    """Take the place of a Sending as the Sink of its connection. Bounded by limits.client_drain_ms, which the sweep sees; the
    probe of a half-open breaker also by its own time."""

    def __init__(self, exchange: Exchange, attempt: Sending, connection: Connection) -> None:
        self.streams = attempt.streams
        self.due_ms = exchange.shell.now_ms() + exchange.world.limits.client_drain_ms
        if attempt.probe:
            self.due_ms = min(self.due_ms, attempt.due_ms)  # then another one may start
        self._exchange = exchange
        self._attempt = attempt
        connection.sink, connection.tap = self, None
        connection.resume()  # the client may have been slow to read

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        attempt = self._attempt
        attempt.connection, attempt.status = None, status
        attempt.answered_ms = self._exchange.shell.now_ms()
        usage = NO_USAGE
        if status == 200 and not self.streams:
            try:
                usage = read_reply(body).usage if attempt.endpoint.relays else attempt.translate_reply(body)[1]
            except WireError:
                usage = NO_USAGE  # booked by our own estimate
        self._end(Outcome(Kind.CLIENT_GONE, status, GONE.message, None, usage))

    def on_stream(self, data: bytes, chunk: bytes) -> None:
        pipe = self._attempt.pipe
        assert pipe is not None
        pipe.feed(data)
        if pipe.done or pipe.failure is not None:
            self._attempt.stop()
            self.on_stream_end()

    def on_stream_end(self) -> None:
        pipe = self._attempt.pipe
        assert pipe is not None
        self._attempt.connection = None
        usage = pipe.usage if pipe.done else NO_USAGE
        self._end(Outcome(Kind.CLIENT_GONE, 200, GONE.message, None, usage, pipe.served_model))

    def on_limits(self, headers: dict[str, str]) -> None:
        self._attempt.on_limits(headers)

    def on_lost(self, outcome: Outcome) -> None:
        self._attempt.connection = None
        self._end(GONE)

    def _end(self, outcome: Outcome) -> None:
        if not self._exchange.settled:
            self._exchange.left(outcome)

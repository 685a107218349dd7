"""Embedding: the vector of a question from a deployment, asked for by a request before it goes to its own provider. Bounded.

It has a short time of its own, and its failure is a miss. What it used is booked with the request as an attempt in front of the
others, come what may of it. Callbacks only: no task, no await.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from pointsman.core.embedding import unit
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.openai.embeddings import decode_embedding
from pointsman.gateway.attempt import Attempt
from pointsman.gateway.drain import GONE
from pointsman.gateway.upstream import Connection, RawHeaders
from pointsman.gateway.world import Endpoint

if TYPE_CHECKING:
    from pointsman.gateway.cache import Part
    from pointsman.gateway.exchange import Exchange

MOST_WAIT_S = 0.3
FAILURES = 5  # in a row: nobody is kept waiting for REST_MS
REST_MS = 10_000.0

Then = Callable[["Exchange", "Part", "array[float] | None"], None]


class Embedder:
    """Ask deployments for vectors, for one worker."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}  # deployment -> failures in a row, and until when it rests

    def begin(self, exchange: Exchange, part: Part, name: str, then: Then) -> bool:
        """Have a request wait for the vector of its question, which is given to `then`, None if it does not come; False: the
        deployment rests, or is gone."""
        endpoint, now_ms = exchange.world.endpoint_of(name), exchange.shell.now_ms()
        if endpoint is None or now_ms < self._failed.get(name, (0, 0.0))[1]:
            return False
        part.embedding = Embedding(exchange, part, endpoint, self._done(name, then))
        exchange.decided_ms, exchange.due_ms = exchange.decided_ms or now_ms, exchange.request.deadline_ms
        exchange.shell.active.add(exchange)
        part.embedding.begin()
        return True

    def _done(self, name: str, then: Then) -> Then:
        def done(exchange: Exchange, part: Part, vector: array[float] | None) -> None:
            if vector is not None:
                self._failed.pop(name, None)
            else:
                count = self._failed.get(name, (0, 0.0))[0] + 1
                until_ms = exchange.shell.now_ms() + REST_MS if count >= FAILURES else 0.0
                self._failed[name] = (0 if until_ms else count, until_ms)
            then(exchange, part, vector)

        return done


class Embedding(Attempt):
    """Carry one such call; the Sink of its connection."""

    over = False
    connection: Connection | None = None
    _connecting: asyncio.Task[None] | None = None
    _again = False  # on a connection of its own, because a pooled one was stale

    def __init__(self, exchange: Exchange, part: Part, endpoint: Endpoint, done: Then) -> None:
        assert part.asked is not None
        self.endpoint, self.started_ms = endpoint, exchange.shell.now_ms()
        self.pipe = None
        self._exchange, self._part, self._done, self._text = exchange, part, done, part.asked.text

    def begin(self) -> None:
        """Call as soon as the request is booked, which the end of this turn brings."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(MOST_WAIT_S, self._late)
        loop.call_soon(self._start)

    def stop(self) -> None:
        """End because the request does."""
        if not self.over:
            self._end(GONE)

    def _start(self) -> None:
        if self.over or not self._exchange.booked_in:
            return
        connection = None if self._again else self.endpoint.origin.take(self._exchange.shell.now_ms())
        if connection is None:
            self._connecting = self.endpoint.origin.connect(self._connected)
        else:
            self._call(connection)

    def _connected(self, result: Connection | Outcome) -> None:
        self._connecting = None
        if isinstance(result, Outcome):
            if not self.over:
                self._fail(result)
        elif self.over:
            self.endpoint.origin.give_back(result)
        else:
            self.connected_ms = self._exchange.shell.now_ms()
            self._call(result)

    def _call(self, connection: Connection) -> None:
        self.connection, self.sent = connection, True
        connection.call(self, self.endpoint.embedding(self._text, self._exchange.request.id))

    # --- Sink: what the connection tells us
    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self.connection = None
        if self.over:
            return
        self.status, self.answered_ms = status, self._exchange.shell.now_ms()
        if status != 200:
            self._fail(self.classify(status, headers, body, self._exchange.shell.live.clock))
            return
        try:
            vector, usage, served = decode_embedding(body)
        except WireError as error:
            self._fail(Outcome(Kind.BROKEN, 200, str(error)))
            return
        self._end(Outcome(Kind.OK, 200, "", None, usage, served))
        self._done(self._exchange, self._part, unit(vector))

    def on_lost(self, outcome: Outcome) -> None:
        self.connection = None
        if self.over:
            return
        if outcome.kind is Kind.STALE and not self._again:
            self._again, self.sent = True, False
            self._start()
        else:
            self._fail(outcome)

    def on_stream(self, data: bytes, chunk: bytes) -> None:
        """Nothing streams here."""

    def on_stream_end(self) -> None:
        """Nothing streams here."""

    def on_limits(self, headers: dict[str, str]) -> None:
        """What is left of the quota there concerns no candidate."""

    # --- ends
    def _late(self) -> None:
        if not self.over:
            self._fail(Outcome(Kind.TIMEOUT, 0, "no vector within the limit"))

    def _fail(self, outcome: Outcome) -> None:
        self._end(outcome)
        self._done(self._exchange, self._part, None)

    def _end(self, outcome: Outcome) -> None:
        """Book what was sent."""
        self.over = True
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self.connection is not None:
            self.connection.cancel()
        exchange, now_ms = self._exchange, self._exchange.shell.now_ms()
        exchange.upstream_ms += now_ms - self.started_ms
        if not self.sent:
            return
        detail, tokens = exchange.snapshot.detail, self.endpoint.ruler.output_tokens(len(self._text.encode()))
        if outcome.kind is Kind.OK and outcome.usage.source == "unknown":
            outcome = Outcome(Kind.OK, 200, "", None, Usage(tokens, 0, source="estimated"), outcome.served_model)
        billed = self.billed(outcome, tokens)
        minute = -1 if detail is None else detail.minute
        row = self.row(billed, now_ms, exchange.incoming.ready_ms, None, minute)
        self._part.aside = (*self._part.aside, row)
        if exchange.routed is not None and row.charge_nano > 0:
            live, named = exchange.shell.live, {exchange.options.label, exchange.head.model}
            live.spending.add(named, row.charge_nano, live.clock.wall_ms())

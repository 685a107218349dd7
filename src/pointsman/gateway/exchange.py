"""Exchange: the driver of one Run: sends attempts, relays the answer, settles. Callbacks only: no task, no await.

Its life: `begin` (the Admitted record is written) -> `_apply` an effect -> `_send` -> the connection calls the Sink methods ->
`_attempt_ended` -> the next effect ... -> `_settle`, exactly once, synchronously, whatever ended it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from pointsman.core.chat import ChatRequest
from pointsman.core.decide import Decision, Plan
from pointsman.core.entry import AttemptRow, Settled
from pointsman.core.outcome import BILLABLE, CLASSES, Blame, Kind, Outcome
from pointsman.core.pricing import NOTHING, charge
from pointsman.core.request import Request
from pointsman.core.run import Effect, Run, Send, Stop
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.relay_reply import RelayStream, read_reply
from pointsman.dialects.relay_request import Head
from pointsman.dialects.translate import TranslateStream
from pointsman.gateway import answers
from pointsman.gateway.books import total_of
from pointsman.gateway.edge import Edge, Incoming
from pointsman.gateway.upstream import Connection
from pointsman.gateway.world import CALLER_DIALECT, Endpoint, World

if TYPE_CHECKING:
    from pointsman.gateway.books import Books
    from pointsman.gateway.live import Live

_OK = Outcome(Kind.OK, 200)
LARGE_BYTES = 32 * 1024  # the loop may send more than this within its turn, before what was put off is written


class Shell(Protocol):
    """What an exchange needs of the worker it runs in."""

    live: Live
    books: Books
    active: set[Exchange]

    def now_ms(self) -> float: ...


class Exchange:
    """Carry one admitted request from decision to settlement. Times are milliseconds of the monotonic clock."""

    committed = False  # content has reached the client: nothing is tried again
    settled = False
    first_ms = 0.0  # first content towards the client
    due_ms = 0.0  # when the present wait ends
    progress = False  # content came since the last sweep
    upstream_ms = 0.0  # spent waiting for providers
    pipe: RelayStream | TranslateStream | None = None
    run: Run
    send: Send
    endpoint: Endpoint
    _chat: ChatRequest | None = None
    _connection: Connection | None = None
    _connecting: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _held_bytes = 0
    _paused = False
    _open = False  # an attempt is under way
    _started_ms = 0.0  # of that attempt, like the next three
    _connected_ms = 0.0
    _answered_ms = 0.0
    _status = 0

    def __init__(self, shell: Shell, world: World, edge: Edge, incoming: Incoming, head: Head) -> None:
        self.shell = shell
        self.world = world
        self.edge = edge
        self.incoming = incoming
        self.head = head
        self.streams = head.stream is True
        self.rows: list[AttemptRow] = []

    def begin(self, request: Request, plan: Plan, decision: Decision, decided_ms: float) -> None:
        """Start the Run of a Plan that has steps."""
        self.request, self.plan, self.decision, self.decided_ms = request, plan, decision, decided_ms
        self.run = Run(plan)
        self.shell.active.add(self)
        self.send = self.run.begin(decided_ms)
        self._send(decided_ms)

    def nobody(self, request: Request, plan: Plan, decision: Decision, outcome: Outcome) -> None:
        """End at once: no deployment could be tried. The request is booked like any other, with no attempt."""
        now_ms = self.shell.now_ms()
        self.request, self.plan, self.decision, self.decided_ms = request, plan, decision, now_ms
        self._fail(outcome, now_ms)

    # --- effects
    def _apply(self, effect: Effect, now_ms: float) -> None:
        if isinstance(effect, Stop):
            self._fail(effect.final, now_ms)
            return
        self.send = effect
        if effect.delay_ms > 0.0:
            self.due_ms = self.plan.deadline_ms
            self._timer = asyncio.get_running_loop().call_later(effect.delay_ms / 1000.0, self._send_later)
        else:
            self._send(now_ms)

    def _send_later(self) -> None:
        self._timer = None
        self._send(self.shell.now_ms())

    def _send(self, now_ms: float) -> None:
        send = self.send
        deployment = send.step.deployment
        self.endpoint = endpoint = self.world.endpoints[deployment]
        self._open = True
        self._started_ms = now_ms
        self._connected_ms = self._answered_ms = 0.0
        self._status = 0
        self.due_ms = now_ms + send.ttft_ms
        self.shell.live.sending(deployment, self.due_ms)
        connection = None if send.fresh else endpoint.origin.take(now_ms)
        if connection is not None:
            self._call(connection)
        else:
            self._connecting = endpoint.origin.connect(self._connected)

    def _connected(self, result: Connection | Outcome) -> None:
        self._connecting = None
        self._connected_ms = self.shell.now_ms()
        if isinstance(result, Outcome):
            self._attempt_ended(result)
        else:
            self._call(result)

    def _call(self, connection: Connection) -> None:
        endpoint, incoming = self.endpoint, self.incoming
        try:
            if endpoint.relays:
                data = endpoint.relay(incoming.body, self.head, self.request.id, incoming.headers)
            else:
                if self._chat is None:
                    self._chat = CALLER_DIALECT.decode_request(incoming.body)
                data = endpoint.translate(self._chat, self.request.id)
        except WireError as error:
            endpoint.origin.give_back(connection)
            self._attempt_ended(Outcome(Kind.UNSUPPORTED, 0, str(error)))
            return
        if self.streams:
            show = self.head.include_usage
            if endpoint.relays:
                self.pipe = RelayStream(show_usage=show)
            else:
                self.pipe = TranslateStream(endpoint.dialect, CALLER_DIALECT, show_usage=show)
            self._held: list[bytes] = []
            self._held_bytes = 0
        if len(data) > LARGE_BYTES:
            self.shell.books.flush()
        self._connection = connection
        connection.call(self, data)

    # --- Sink: what the connection tells us
    def on_reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._connection = None
        self._answered_ms = self.shell.now_ms()
        self._status = status
        if status == 200 and not self.streams:
            self._unary(headers, body)
            return
        outcome = self._classify(status, headers, body)
        if outcome.kind is Kind.OK:
            outcome = Outcome(Kind.BROKEN, status, "a stream was asked for and something else came")
        self._attempt_ended(outcome)

    def _classify(self, status: int, headers: dict[str, str], body: bytes) -> Outcome:
        wall_s = self.shell.live.clock.wall_ms() / 1000
        return self.endpoint.dialect.classify(status, headers, body, wall_s)

    def _unary(self, headers: dict[str, str], body: bytes) -> None:
        endpoint = self.endpoint
        try:
            if endpoint.relays:
                facts = read_reply(body)
                failure, usage, served = facts.failure, facts.usage, facts.served_model
            else:
                reply = endpoint.dialect.decode_reply(body)
                failure = None if reply.choices else Outcome(Kind.EMPTY, 200, "the reply has no choices")
                usage, served = reply.usage or NO_USAGE, reply.model
                body = CALLER_DIALECT.encode_reply(reply)
        except WireError as error:
            failure = self._classify(200, headers, body)
            if failure.kind is Kind.OK:
                failure = Outcome(Kind.BROKEN, 200, str(error))
        if failure is not None:
            if failure.kind is Kind.SERVER_ERROR:  # an error under status 200: its body says which (fault 24)
                failure = self._classify(200, headers, body)
            self._attempt_ended(failure)
            return
        if usage.source == "unknown":
            usage = self._estimate(len(body))
        now_ms = self.first_ms = self._answered_ms
        self.run.committed = self.committed = True
        charge_nano = self._end_attempt(Outcome(Kind.OK, 200, "", None, usage, served), now_ms)
        edge, incoming = self.edge, self.incoming
        edge.write(answers.unary(self._headers(charge_nano, now_ms), body, close=incoming.close))
        self._settle(_OK, 200, now_ms)
        edge.finish()

    def on_stream(self, data: bytes) -> None:
        pipe = self.pipe
        assert pipe is not None
        out = pipe.feed(data)
        if self.committed:
            self.progress = True
            if out:
                self.edge.transport.write(b"%x\r\n%b\r\n" % (len(out), out))
            if pipe.failure is not None:
                self._cut(pipe.failure)
        elif pipe.failure is not None:
            self._cut(pipe.failure)
        elif pipe.content:
            self._commit(out)
        else:
            self._hold(out)

    def _hold(self, out: bytes) -> None:
        """Keep what comes before the first content: it does not commit (faults 41-43)."""
        self._held.append(out)
        self._held_bytes += len(out)
        if self._held_bytes > self.world.limits.stream_buffer_bytes:
            self._cut(Outcome(Kind.BROKEN, 200, "too much came before the first content"))

    def on_stream_end(self) -> None:
        self._connection = None
        pipe = self.pipe
        assert pipe is not None
        outcome = pipe.close()
        if outcome.kind is not Kind.OK:
            self._attempt_ended(outcome)
            return
        if not self.committed:
            self._commit(b"")
        now_ms = self.shell.now_ms()
        usage = pipe.usage if pipe.usage.source != "unknown" else self._estimate(pipe.estimated_output_bytes)
        self._end_attempt(Outcome(Kind.OK, 200, "", None, usage, pipe.served_model), now_ms)
        self.edge.write(answers.LAST_CHUNK)
        self._settle(_OK, 200, now_ms)
        self.edge.finish()

    def on_lost(self, outcome: Outcome) -> None:
        self._connection = None
        if self.pipe is not None and self.pipe.done:
            self.on_stream_end()  # the answer was complete; only the framing behind it was not
        else:
            self._attempt_ended(outcome)

    # --- stream: commit and cut
    def _commit(self, out: bytes) -> None:
        """Send the head and what was held: from here on nothing is tried again (I8)."""
        now_ms = self.shell.now_ms()
        self.run.committed = self.committed = True
        self.first_ms = self._answered_ms = now_ms
        self._status = 200
        self.due_ms = now_ms + self.plan.idle_ms
        self._held.append(out)
        data = b"".join(self._held)
        self._held = []
        head = answers.stream_head(self._headers(None, now_ms), close=self.incoming.close)
        self.edge.write(head + answers.chunk(data) if data else head)

    def _cut(self, outcome: Outcome) -> None:
        """End an attempt whose connection is still open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        self._attempt_ended(outcome)

    # --- ends
    def _attempt_ended(self, outcome: Outcome) -> None:
        """Book the attempt and do what the Run says next."""
        now_ms = self.shell.now_ms()
        self._end_attempt(self._with_usage(outcome), now_ms)
        live = self.shell.live
        self._apply(self.run.ended(outcome, now_ms, live.usable, live.draw(64)), now_ms)

    def _with_usage(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what the broken stream is known, or else estimated, to have used."""
        pipe = self.pipe
        if pipe is None or outcome.kind not in BILLABLE:
            return outcome
        usage = pipe.usage
        if usage.source == "unknown":
            usage = self._estimate(pipe.estimated_output_bytes)
        return structs.replace(outcome, usage=usage, served_model=pipe.served_model)

    def _end_attempt(self, outcome: Outcome, now_ms: float) -> int:
        """Book the attempt under way and fold it into health. Return its charge in nano-dollars, -1 when unpriced.

        An end that providers do not bill costs nothing; a billable one without usage is unpriced: unknown is not zero (I5).
        """
        self._open = False
        deployment, usage = self.endpoint.deployment, outcome.usage
        started_ms, price = self._started_ms, deployment.price
        span_ms = now_ms - started_ms
        self.upstream_ms += span_ms
        first_ms = self._answered_ms - started_ms if self._answered_ms else 0.0
        billable = outcome.kind in BILLABLE and (usage.source != "unknown" or self._answered_ms)
        cost = charge(usage, price, self.request.service_tier) if billable else NOTHING
        nano = -1 if cost.nano is None else cost.nano
        self.rows.append(
            AttemptRow(
                deployment.name,
                deployment.provider,
                deployment.wire.model,
                outcome.kind,
                outcome.status or self._status,
                int((started_ms - self.incoming.ready_ms) * 1000.0),
                int((self._connected_ms - started_ms) * 1000.0) if self._connected_ms else 0,
                int(first_ms * 1000.0),
                int(span_ms * 1000.0),
                usage,
                nano,
                cost.state,
                price.version if price is not None else "",
                outcome.served_model,
                outcome.message,
            )
        )
        tps = None
        if self.streams and span_ms - first_ms > 20.0 and outcome.kind is Kind.OK:
            tps = usage.output_tokens * 1000.0 / (span_ms - first_ms)
        self.shell.live.ended(self.send.step.deployment, outcome, now_ms, first_ms or span_ms, tps)
        self.pipe = None
        return nano

    def _fail(self, outcome: Outcome, now_ms: float) -> None:
        """Tell the client that there is no answer, or that the one begun ends here; settle."""
        kind = CLASSES[outcome.kind]
        message = outcome.message or kind.code.replace("_", " ")
        origin = kind.blame.value if kind.blame is not Blame.NOBODY else "router"
        body = answers.error_body(message, kind.type, kind.code, origin=origin, request_id=self.request.id)
        edge = self.edge
        if self.committed:
            edge.write(answers.chunk(b"data: %b\n\n" % body) + answers.LAST_CHUNK)
            self._settle(outcome, 200, now_ms)
            edge.finish()
            return
        extra = self._headers(None, now_ms)
        if kind.status in (429, 503):
            wait_ms = outcome.retry_after_ms if outcome.retry_after_ms is not None else 1_000
            extra += b"retry-after: %d\r\n" % max(1, -(-wait_ms // 1000))
        if len(self.rows) > 1 or outcome.kind is Kind.DEADLINE:
            extra += b"x-should-retry: false\r\n"
        edge.write(answers.response(kind.status, body, extra, close=self.incoming.close))
        self._settle(outcome, kind.status, now_ms)
        edge.finish()

    def _settle(self, outcome: Outcome, status: int, now_ms: float) -> None:
        """Book the request, once."""
        if self.settled:
            return
        self.settled = True
        shell, rows, ready_ms = self.shell, self.rows, self.incoming.ready_ms
        shell.active.discard(self)
        total, request = total_of(rows), self.request
        total_ms = now_ms - ready_ms
        overhead_ms = total_ms - self.upstream_ms
        settled = Settled(
            request.id,
            shell.live.clock.wall_ms(),
            outcome.kind,
            status,
            tuple(rows),
            -1 if total.nano is None else total.nano,
            total.state,
            int((request.received_ms - ready_ms) * 1000.0),
            int((self.decided_ms - request.received_ms) * 1000.0),
            int((self.first_ms - ready_ms) * 1000.0) if self.first_ms else 0,
            int(total_ms * 1000.0),
            int(overhead_ms * 1000.0) if overhead_ms > 0.0 else 0,
        )
        shell.books.settle(request.route, settled)

    def _stop_waiting(self) -> None:
        """Cancel whatever the exchange waits for."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()

    # --- Work: what the edge tells us
    def client_gone(self) -> None:
        if self.settled:
            return
        self._stop_waiting()
        outcome, now_ms = (
            Outcome(Kind.CLIENT_GONE, self._status, "the client closed the connection"),
            self.shell.now_ms(),
        )
        if self._open:
            self._end_attempt(self._with_usage(outcome), now_ms)
        self._settle(outcome, 499, now_ms)

    def client_paused(self) -> None:
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def client_resumed(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def shut_down(self) -> None:
        """End at the close of the drain: a begun stream gets its error event, nothing is labelled complete."""
        self._give_up(Outcome(Kind.CANCELLED, 0, "the router is shutting down"))

    # --- time
    def overdue(self, now_ms: float) -> None:
        """Act when a limit has passed: called by the worker's sweep."""
        if now_ms >= self.plan.deadline_ms:
            self._give_up(Outcome(Kind.DEADLINE, 0, "the request's deadline has passed"))
        elif self.committed:
            if self.progress or self._paused:
                self.progress = False
                self.due_ms = now_ms + self.plan.idle_ms
            elif now_ms >= self.due_ms:
                self._give_up(Outcome(Kind.STALLED, 200, "the provider stopped sending"))
        elif now_ms >= self.due_ms and self._timer is None:
            self._give_up(Outcome(Kind.TIMEOUT, 0, "no content within the limit"))

    def _give_up(self, outcome: Outcome) -> None:
        self._stop_waiting()
        if self._open:
            self._attempt_ended(outcome)
        else:  # between attempts: nothing to book but the request
            self._fail(outcome, self.shell.now_ms())

    # --- small
    def _estimate(self, output_bytes: int) -> Usage:
        """Return usage by our own estimate, when the provider reported none."""
        return Usage(self.request.features.input_tokens, max(0, -(-output_bytes // 4)), source="estimated")

    def _headers(self, charge_nano: int | None, now_ms: float) -> bytes:
        """Return the response headers that are ours, as far as they are known now."""
        waited_ms = self.upstream_ms if not self._open else self.upstream_ms + now_ms - self._started_ms
        ours = self.request.id
        given = self.incoming.headers.get("x-request-id")
        ids = b"x-request-id: %b\r\n" % ours.encode()
        if given is not None:
            ids = b"x-request-id: %b\r\nx-pointsman-id: %b\r\n" % (given, ours.encode())
        route, deployment = self.request.route, self.send.step.deployment if self.rows or self._open else -1
        return b"%b%bx-pointsman-attempts: %d\r\nx-pointsman-reason: %b\r\nx-pointsman-overhead-ms: %.2f\r\n%b" % (
            ids,
            self.world.static_headers(route, deployment),
            len(self.rows) + self._open,
            self.decision.reason.encode(),
            max(0.0, now_ms - self.incoming.ready_ms - waited_ms),
            b""
            if charge_nano is None or charge_nano < 0
            else b"x-pointsman-cost-usd: %d.%09d\r\n" % divmod(charge_nano, 1_000_000_000),
        )

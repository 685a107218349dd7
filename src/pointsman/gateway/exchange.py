"""Exchange: the driver of one Run: sends attempts, relays the answer, settles. Callbacks only: no task, no await.

Its life: `begin` -> `_send` -> `booked` (the Admitted record is written) -> the connection calls the Sink methods ->
`_attempt_ended` -> the next effect of the Run ... -> `_settle`, exactly once, synchronously, whatever ended it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from pointsman.core.chat import ChatRequest
from pointsman.core.entry import AttemptRow
from pointsman.core.options import Options, Step
from pointsman.core.outcome import ANSWERED, Kind, Outcome
from pointsman.core.request import Request
from pointsman.core.routing import Routed
from pointsman.core.run import Effect, Run, Send, Stop
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.edit import edited
from pointsman.dialects.relay_reply import read_reply
from pointsman.dialects.relay_request import Head
from pointsman.dialects.relay_stream import RelayStream
from pointsman.gateway import answers
from pointsman.gateway.afterwards import keep, note
from pointsman.gateway.attempt import Attempt, Pipe, known_usage
from pointsman.gateway.delivery import Delivery
from pointsman.gateway.edge import Edge, Incoming
from pointsman.gateway.kept import Recording
from pointsman.gateway.ladder import keeps_answers, last_answer
from pointsman.gateway.refusals import failure_body, unbooked
from pointsman.gateway.settlement import decided_of, nobody_of, own_headers, settled_of
from pointsman.gateway.shell import Shell
from pointsman.gateway.upstream import SIZE_LINES, Connection, RawHeaders
from pointsman.gateway.world import CALLER_DIALECT
from pointsman.stores.journal import JournalError

Case = tuple[Options, Request, Snapshot]  # all that `decide` takes


class Exchange:
    """Carry one admitted request from decision to settlement. Times are milliseconds of the monotonic clock."""

    settled = False
    committed = False  # content has left towards the client
    routed: Routed | None = None  # set when the route asked for more than its candidates
    held: tuple[set[str], int] | None = None  # routes and nano-dollars reserved of their limits of the day
    decided_ms = 0.0
    first_ms = 0.0  # first content towards the client
    due_ms = 0.0  # when the present wait ends
    progress = False  # content came since the last sweep
    upstream_ms = 0.0  # spent waiting for providers
    delivery: Delivery  # of a stream
    attempt: Attempt | None = None  # under way
    step: Step | None = None  # of the last attempt
    _run: Run | None = None  # made when the first attempt fails
    _chat: ChatRequest | None = None
    _data = b""  # an encoded request that waits for its Admitted record
    _connection: Connection | None = None
    _connecting: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None  # of a send that waits
    paused = False  # the client does not read
    _booked = False
    _kept: Recording | None = None  # the stream so far, for the ladder

    def __init__(self, shell: Shell, edge: Edge, incoming: Incoming, head: Head, case: Case) -> None:
        self.shell = shell
        self.edge = edge
        self.incoming = incoming
        self.head = head
        self.world = shell.live.world
        self.options, self.request, self.snapshot = case
        self.streams = head.stream is True
        self.rows: list[AttemptRow] = []
        if self.streams:
            self.delivery = Delivery(edge, incoming)

    def begin(self, position: int, now_ms: float) -> None:
        """Send to the candidate at `position`, the one that is first in the decision."""
        self.decided_ms = now_ms
        self.shell.active.add(self)
        self._send(self.options.steps[position], now_ms)

    def nobody(self, now_ms: float) -> None:
        """End at once: no deployment can be tried. The request is booked like any other, with no attempt."""
        self.decided_ms = now_ms
        self._fail(nobody_of(self), now_ms)

    # --- Sender: what the books tell us
    def booked(self) -> None:
        """Send what waited for the Admitted record."""
        self._booked = True
        connection = self._connection
        if connection is not None and connection.sink is self:
            data, self._data = self._data, b""
            connection.call(self, data)

    def unbooked(self, error: JournalError) -> None:
        """Refuse: what cannot be booked is not sent."""
        if self._ends():
            self._stop_waiting()
            self.edge.answer(answers.refusal(unbooked(error), request_id=self.request.id))

    # --- effects
    def _apply(self, effect: Effect, outcome: Outcome, now_ms: float) -> None:
        if isinstance(effect, Stop):
            self._fail(effect.final, now_ms)
        elif effect.delay_ms > 0.0:
            self.due_ms = self.request.deadline_ms
            later = asyncio.get_running_loop().call_later
            self.timer = later(effect.delay_ms / 1000.0, self._send_later, effect, outcome)
        else:
            self._send(effect.step, now_ms, fresh=effect.fresh)

    def _send_later(self, effect: Send, outcome: Outcome) -> None:
        self.timer, now_ms = None, self.shell.now_ms()
        if self.shell.live.usable(self.world, effect.step.deployment):  # it may have changed while we waited
            self._send(effect.step, now_ms, fresh=effect.fresh)
        else:
            self._fail(outcome, now_ms)

    def _send(self, step: Step, now_ms: float, *, fresh: bool = False) -> None:
        endpoint = self.world.endpoints[step.deployment]
        self.step = step
        attempt = self.attempt = Attempt(step, endpoint, now_ms)
        self.due_ms = now_ms + step.ttft_ms
        if self.snapshot.states[step.position].ejections or self.rows:
            attempt.probe = self.shell.live.sending(self.world, step.deployment, self.due_ms)
        connection = None if fresh else endpoint.origin.take(now_ms)
        if connection is None:
            self._connecting = endpoint.origin.connect(self._connected)
        else:
            self._call(connection, attempt)

    def _connected(self, result: Connection | Outcome) -> None:
        self._connecting = None
        attempt = self.attempt
        assert attempt is not None
        attempt.connected_ms = self.shell.now_ms()
        if isinstance(result, Outcome):
            self._attempt_ended(result)
        else:
            self._call(result, attempt)

    def _call(self, connection: Connection, attempt: Attempt) -> None:
        endpoint, incoming, edit = attempt.endpoint, self.incoming, attempt.step.edit
        try:
            if edit is not None:
                data = endpoint.edited(edited(incoming.body, edit), self.request.id, incoming.headers)
            elif endpoint.relays:
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
            attempt.open_pipe(show_usage=self.head.include_usage)
            self.delivery.drop()
            self._kept = Recording() if self.options.last and keeps_answers(self) else None
        self._connection = connection
        if self._booked:
            connection.call(self, data)
        else:
            connection.sink = self  # ours, and told of its loss
            self._data = data

    # --- Sink: what the connection tells us
    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self._connection = None
        attempt = self.attempt
        assert attempt is not None
        attempt.answered_ms = self.shell.now_ms()
        attempt.status = status
        if status != 200 or self.streams:
            self._attempt_ended(attempt.classify(status, headers, body, self.shell.live.clock))
            return
        try:
            if attempt.endpoint.relays:
                facts = read_reply(body)
                failure, usage, served = facts.failure, facts.usage, facts.served_model
            else:
                failure, usage, served, body = attempt.translate_reply(body)
            if failure is None:
                self._answer(attempt, body, usage, served)
                return
            if failure.kind is Kind.SERVER_ERROR:  # an error under status 200: its body says which (fault 24)
                failure = attempt.classify(200, headers, body, self.shell.live.clock)
        except WireError as error:
            failure = attempt.classify(200, headers, body, self.shell.live.clock)
            if failure.kind is Kind.BROKEN:
                failure = Outcome(Kind.BROKEN, 200, str(error))
        self._attempt_ended(failure)

    def _answer(self, attempt: Attempt, body: bytes, usage: Usage, served: str) -> None:
        """Give the client a whole reply."""
        usage = known_usage(usage, self.request.features.input_tokens, len(body))
        now_ms = self.first_ms = attempt.answered_ms
        if self.options.last and keeps_answers(self):
            keep(self, body)
        self._end_attempt(attempt, Outcome(Kind.OK, 200, "", None, usage, served), now_ms)
        answer = answers.unary(own_headers(self, now_ms, whole=True), body, close=self.incoming.close)
        self._settle(ANSWERED, 200, now_ms, answer)

    def on_stream(self, data: bytes, chunk: bytes) -> None:
        attempt, delivery = self.attempt, self.delivery
        if attempt is None:
            return  # the answer is complete: this is behind it
        pipe = attempt.pipe
        assert pipe is not None
        out = pipe.feed(data)
        if self._kept is not None:
            self._kept.add(out)
        if delivery.committed:
            self.progress = True
            if out is data and chunk and not delivery.plain:
                delivery.send(chunk)  # the client reads the same coding: what came is what would be made here
                if self._kept is None and self._connection is not None and isinstance(pipe, RelayStream):
                    self._connection.tap = pipe.tap(SIZE_LINES, delivery.send, self)
                return  # what leaves as it came is content: no end, no failure
            delivery.write(out)
        elif pipe.content:
            self._commit(out)
        elif pipe.failure is None:
            delivery.hold(out)
            if delivery.held_bytes > self.world.limits.stream_buffer_bytes:
                self._cut(Outcome(Kind.BROKEN, 200, "too much came before the first content"))
                return
        if pipe.failure is not None:
            self._cut(pipe.failure)
        elif pipe.done:
            self._complete(pipe)

    def _complete(self, pipe: Pipe) -> None:
        """End well: the terminal marker is there, so nothing that still comes can change the answer."""
        if self._connection is not None:
            self._connection.end_soon(self)
            self._connection = None
        if not self.committed:
            self._commit(b"")
        if self._kept is not None:
            keep(self, self._kept.whole())
        attempt, now_ms = self.attempt, self.shell.now_ms()
        assert attempt is not None
        usage = known_usage(pipe.usage, self.request.features.input_tokens, pipe.text_bytes)
        self._end_attempt(attempt, Outcome(Kind.OK, 200, "", None, usage, pipe.served_model), now_ms)
        self._settle(ANSWERED, 200, now_ms, self.delivery.last())

    def on_stream_end(self) -> None:
        if self.settled:
            return
        self._connection = None
        pipe = self._pipe()
        out, outcome = pipe.close()
        if self._kept is not None:
            self._kept.add(out)
        if self.delivery.committed:
            self.delivery.write(out)
        elif outcome.kind is Kind.OK or pipe.content:
            self._commit(out)
        if outcome.kind is Kind.OK:
            self._complete(pipe)
        else:
            self._attempt_ended(outcome)

    def on_lost(self, outcome: Outcome) -> None:
        self._connection = None
        if not self.settled:
            self._attempt_ended(outcome)

    # --- stream: commit and cut
    def _pipe(self) -> Pipe:
        pipe = None if self.attempt is None else self.attempt.pipe
        assert pipe is not None
        return pipe

    def _commit(self, out: bytes) -> None:
        """Let the stream begin: from here on nothing is tried again (I8)."""
        attempt = self.attempt
        assert attempt is not None
        now_ms = self.shell.now_ms()
        self.first_ms = attempt.answered_ms = now_ms
        attempt.status = 200
        self.due_ms, self.committed = now_ms + self.options.idle_ms, True
        self.delivery.commit(own_headers(self, now_ms), out)

    def _cut(self, outcome: Outcome) -> None:
        """End an attempt whose connection is still open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        self._attempt_ended(outcome)

    # --- ends
    def _attempt_ended(self, outcome: Outcome) -> None:
        """Book the attempt and do what the Run says next."""
        attempt = self.attempt
        assert attempt is not None
        now_ms = self.shell.now_ms()
        self._end_attempt(attempt, attempt.billed(outcome, self.request.features.input_tokens), now_ms)
        run = self._run
        if run is None:
            # The same decision as `first` made, now whole: what follows the first is needed only here.
            plan, _ = decided_of(self)
            run = self._run = Run(plan)
            run.begin(self.decided_ms)
        run.committed = self.committed
        live = self.shell.live
        self._apply(run.ended(outcome, now_ms, partial(live.usable, self.world), live.draw(64)), outcome, now_ms)

    def _end_attempt(self, attempt: Attempt, outcome: Outcome, now_ms: float) -> None:
        """Book the attempt and fold it into health."""
        self.attempt = None
        detail = self.snapshot.detail
        minute = -1 if detail is None else detail.minute
        row = attempt.row(outcome, now_ms, self.incoming.ready_ms, self.request.service_tier, minute)
        self.rows.append(row)
        if self.routed is not None:
            note(self, self.routed, row, now_ms)
        self.upstream_ms += now_ms - attempt.started_ms
        answered_ms, tps = attempt.answered_ms, None
        if self.streams and now_ms - answered_ms > 20.0:
            tps = outcome.usage.output_tokens * 1000.0 / (now_ms - answered_ms)
        ttft_ms = (answered_ms or now_ms) - attempt.started_ms
        self.shell.live.ended(self.world, attempt, outcome, now_ms, (ttft_ms, tps))

    def _fail(self, outcome: Outcome, now_ms: float) -> None:
        """Tell the client that there is no answer, or that the one begun ends here; settle."""
        if self.committed:
            event = b"data: %b\n\n" % failure_body(outcome, self.request.id)
            self._settle(outcome, 200, now_ms, self.delivery.last(event))
            return
        last = last_answer(self, outcome, now_ms)
        self.first_ms = now_ms if last.outcome.kind is Kind.DEGRADED else 0.0
        self._settle(last.outcome, last.status, now_ms, last.answer, last.rung)

    def _settle(self, outcome: Outcome, status: int, now_ms: float, answer: bytes, degraded: str = "") -> None:
        """Book the request, once; `answer` leaves when that is written."""
        if self._ends():
            self.shell.books.settle(settled_of(self, outcome, status, now_ms, degraded), self.edge, answer)

    def _ends(self) -> bool:
        """End once; return whether this is it."""
        if self.settled:
            return False
        self.settled = True
        self.shell.active.discard(self)
        if self.held is not None:
            self.shell.live.spending.hold(self.held[0], -self.held[1])
        return True

    def _stop_waiting(self) -> None:
        """Cancel whatever the exchange waits for."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()

    # --- Work: what the edge tells us
    def client_gone(self) -> None:
        if self.settled:
            return
        self._stop_waiting()
        attempt, now_ms = self.attempt, self.shell.now_ms()
        outcome = Outcome(Kind.CLIENT_GONE, 0, "the client closed the connection")
        if attempt is not None:
            self._end_attempt(attempt, attempt.billed(outcome, self.request.features.input_tokens), now_ms)
        self._settle(outcome, 499, now_ms, b"")

    def client_paused(self) -> None:
        self.paused = True
        if self._connection is not None:
            self._connection.pause()

    def client_resumed(self) -> None:
        self.paused = False
        if self._connection is not None:
            self._connection.resume()

    def shut_down(self) -> None:
        """End at the close of the drain: a begun stream gets its error event, nothing is labelled complete."""
        self.give_up(Outcome(Kind.CANCELLED, 0, "the router is shutting down"))

    def give_up(self, outcome: Outcome) -> None:
        """End the wait with an outcome of our own, such as a limit that has passed."""
        self._stop_waiting()
        if self.attempt is not None:
            self._attempt_ended(outcome)
        else:  # between attempts
            self._fail(outcome, self.shell.now_ms())

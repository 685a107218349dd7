"""Exchange: the driver of one Run: sends attempts, gives the answer of one to the client, settles. Callbacks only: no task.

Its life: `begin` -> `_send` -> `booked` (the Admitted record is written) -> a Sending tells what came of its attempt
(`answer`, `commit` and `complete`, or `attempt_ended`) -> the next effect of the Run ... -> `settle`, exactly once,
synchronously, whatever ended it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from pointsman.core.chat import ChatRequest
from pointsman.core.entry import AttemptRow, Hit
from pointsman.core.options import Options, Step
from pointsman.core.outcome import ANSWERED, Kind, Outcome
from pointsman.core.request import Request
from pointsman.core.routing import Routed
from pointsman.core.run import Effect, Run, Send, Stop
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.dialects.continued import Continued, summed
from pointsman.dialects.edit import edited
from pointsman.dialects.relay_request import Head
from pointsman.dialects.relay_stream import Watched
from pointsman.gateway import answers, continuation, hedge, silence
from pointsman.gateway.afterwards import keep, note
from pointsman.gateway.attempt import Pipe, estimated_usage
from pointsman.gateway.bodies import Tape
from pointsman.gateway.cache import Part
from pointsman.gateway.counts import Account
from pointsman.gateway.delivery import Delivery
from pointsman.gateway.drain import GONE, Drain
from pointsman.gateway.edge import Edge, Incoming
from pointsman.gateway.ladder import keeps_answers, last_answer
from pointsman.gateway.once import kept_of
from pointsman.gateway.refusals import failure_body, unbooked
from pointsman.gateway.reservation import Reservation
from pointsman.gateway.ruler import ONE_IN, text_bytes_of
from pointsman.gateway.sending import Sending
from pointsman.gateway.settlement import decided_of, nobody_of, own_headers, settled_of
from pointsman.gateway.shell import Shell
from pointsman.gateway.silence import Silence
from pointsman.gateway.world import CALLER_DIALECT
from pointsman.stores.journal import JournalError

Case = tuple[Options, Request, Snapshot]  # all that `decide` takes


class Exchange(Watched):
    """Carry one admitted request from decision to settlement. Times are milliseconds of the monotonic clock."""

    settled = False
    committed = False  # content has left towards the client
    booked_in = False  # the Admitted record is written
    routed: Routed | None = None  # set when the route asked for more than its candidates
    held: tuple[set[str], int] | None = None  # routes and nano-dollars reserved of their limits of the day
    at_ms = 0  # when it was let in, in Unix milliseconds
    decided_ms = 0.0
    first_ms = 0.0  # first content towards the client
    due_ms = 0.0  # when the present wait ends
    stall_ms = 0.0  # when a stream that has begun is given up
    hedge_ms = 0.0  # when a second attempt may join the first; 0.0: never
    late = False  # it waited after it was decided, so what was known of a candidate then may not hold
    upstream_ms = 0.0  # spent waiting for providers
    delivery: Delivery  # of a stream
    attempt: Sending | None = None  # under way
    rival: Sending | None = None  # the hedge: under way beside it
    drain: Drain | None = None  # what is read after the client has gone
    story: Continued | None = None  # the stream so far, when another provider may take it up
    cache: Part | None = None  # its part in the cache of answers, on a route that keeps them
    hit: Hit | None = None  # the kept answer that it was given
    silence: Silence | None = None  # an answer that says nothing, kept back
    step: Step | None = None  # of the last attempt
    account: Account | None = None  # where it is counted as under way
    reservation: Reservation | None = None  # of its caller's quotas
    tape: Tape | None = None  # on a route that stores bodies
    trace = ""  # the caller's W3C context, where tracing is on
    _told = ""  # the header lines of a stream that has begun
    _run: Run | None = None  # made when the first attempt fails
    _chat: ChatRequest | None = None
    timer: asyncio.TimerHandle | None = None  # of a send that waits
    paused = False  # the client does not read

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
        if self.options.hedge is not None:
            hedge.plan(self, now_ms)

    def nobody(self, now_ms: float, why: Outcome | None = None) -> None:
        """End at once: no deployment can be tried. The request is booked like any other, with no attempt."""
        self.decided_ms = now_ms
        self._fail(why or nobody_of(self), now_ms)

    # --- Sender: what the books tell us
    def booked(self) -> None:
        """Send what waited for the Admitted record."""
        self.booked_in = True
        if self.hit is not None and self.settled and self.reservation is not None:
            self._settle_quotas(self.reservation)
        attempt = self.attempt
        if attempt is not None and attempt.data:
            data, connection = attempt.data, attempt.connection
            attempt.data = b""
            if connection is not None:  # it was not lost meanwhile
                attempt.sent = True
                connection.call(attempt, data)

    def unbooked(self, error: JournalError) -> None:
        """Refuse: what cannot be booked is not sent."""
        if self._ends():
            if self.attempt is not None:
                self.shell.live.given_back(self.world, self.attempt)
            self._stop_waiting()
            self.edge.answer(answers.refusal(unbooked(error), request_id=self.request.id))
        elif self.hit is not None and self.reservation is not None:
            self._settle_quotas(self.reservation)

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
        self.step = step
        attempt = self.attempt = Sending(self, step, self.world.endpoints[step.deployment], now_ms)
        self.due_ms = now_ms if self.committed else attempt.due_ms
        if self.snapshot.states[step.position].ejections or self.rows or self.late:
            attempt.probe = self.shell.live.sending(self.world, step.deployment, attempt.due_ms)
        connection = None if fresh else attempt.endpoint.origin.take(now_ms)
        if connection is None:
            attempt.connect()
        else:
            attempt.call(connection)

    def encoded(self, attempt: Sending) -> bytes:
        """Return the HTTP request of an attempt that is not simply relayed. Raise WireError when its wire cannot say it."""
        endpoint, incoming, edit = attempt.endpoint, self.incoming, attempt.step.edit
        if self.committed or edit is not None:
            body = incoming.body if edit is None else edited(incoming.body, edit)
            if self.story is not None and self.committed:
                body = continuation.body_of(self.story, body, endpoint)
            return endpoint.edited(body, self.request.id, incoming.headers)
        if self._chat is None:
            self._chat = CALLER_DIALECT.decode_request(incoming.body)
        return endpoint.translate(self._chat, self.request.id)

    def pipe_of(self, attempt: Sending) -> Pipe:
        """Return what reads the stream of an attempt."""
        show_usage = self.head.include_usage
        if self.options.route.continuation and (self.committed or continuation.possible(self)):
            pipe = Continued(attempt.endpoint.dialect, CALLER_DIALECT, self.story, show_usage=show_usage)
            if self.committed:
                pipe.resumed_by(attempt.endpoint.deployment.name)
            return pipe
        return attempt.pipe_for(show_usage=show_usage)

    # --- what a Sending tells us
    def answer(self, attempt: Sending, body: bytes, usage: Usage, served: str) -> None:
        """Give the client a whole reply."""
        if self.rival is not None:
            hedge.won(self, attempt)
        if usage.source == "unknown":
            usage = estimated_usage(attempt.endpoint.ruler, self.request.features.input_tokens, text_bytes_of(body))
        elif self.at_ms % ONE_IN == 0:
            attempt.endpoint.ruler.learn(self.request.features.input_tokens, 0, usage)
        now_ms = self.first_ms = attempt.answered_ms
        if self.options.last and keeps_answers(self):
            keep(self, body)
        self.end_attempt(attempt, Outcome(Kind.OK, 200, "", None, usage, served), now_ms)
        headers = own_headers(self, now_ms, whole=True)
        if self.incoming.claim is not None:
            kept_of(self, headers, body)
        if self.cache is not None:
            self.shell.cache.answered(self, attempt, body)
        self.settle(ANSWERED, 200, now_ms, answers.unary(headers, body, close=self.incoming.close))

    def commit(self, attempt: Sending, out: bytes) -> None:
        """Let the stream begin: from here on nothing is tried again (I8), but a declared continuation."""
        if self.rival is not None:
            hedge.won(self, attempt)
        now_ms = attempt.answered_ms = self.shell.now_ms()
        attempt.status, attempt.committed = 200, True
        if attempt.kept is not None:
            attempt.kept.begin()
        self.stall_ms = now_ms + self.options.idle_ms
        self.due_ms, self.progress = self.stall_ms, True
        if isinstance(attempt.pipe, Continued):
            self.story = attempt.pipe
        if self.paused and attempt.connection is not None:
            attempt.connection.pause()
        if self.committed:
            self.delivery.write(attempt.taken(out))
            return
        self.first_ms, self.committed = now_ms, True
        self._told = own_headers(self, now_ms)
        if self.story is not None:
            self._told += "x-pointsman-continuation: allowed\r\n"
        self.delivery.commit(self._told, attempt.taken(out))

    def complete(self, attempt: Sending, pipe: Pipe) -> None:
        """End well: the terminal marker of the stream is there."""
        now_ms = self.shell.now_ms()
        if attempt.kept is not None:
            whole = attempt.kept.whole()
            kept_of(self, self._told, whole)
            if self.options.last and keeps_answers(self):
                keep(self, whole)
        usage, ruler, guessed_tokens = pipe.usage, attempt.endpoint.ruler, self.request.features.input_tokens
        if usage.source == "unknown":
            usage = estimated_usage(ruler, guessed_tokens, pipe.text_bytes)
        elif self.at_ms % ONE_IN == 0 and self.story is None:
            ruler.learn(guessed_tokens, pipe.text_bytes, usage)
        self.end_attempt(attempt, Outcome(Kind.OK, 200, "", None, usage, pipe.served_model), now_ms)
        if self.cache is not None and attempt.kept is not None:
            self.shell.cache.answered(self, attempt, whole, attempt.kept.pace())
        self.settle(ANSWERED, 200, now_ms, self.delivery.last())

    def attempt_ended(self, attempt: Sending, outcome: Outcome) -> None:
        """Book an attempt that failed, and do what the Run says next."""
        now_ms = self.shell.now_ms()
        billed = attempt.billed(outcome, self.request.features.input_tokens)
        self.end_attempt(attempt, billed, now_ms)
        if self.rival is not None and hedge.goes_on(self, attempt, outcome):
            return
        if self.silence is not None and self.silence.attempt is not attempt and outcome.kind is not Kind.STALE:
            self._fail(outcome, now_ms)  # once elsewhere is enough
            return
        run, live = self.run(), self.shell.live
        run.spent_nano += max(0, self.rows[-1].charge_nano)
        usable = partial(live.usable, self.world)
        if self.committed and self.story is not None and continuation.allows(self.story, outcome):
            self.story.used = summed(self.story.used, billed.usage)
            usable = partial(continuation.usable, self.world, usable)
        else:
            run.committed = self.committed
        self._apply(run.ended(attempt.step, outcome, now_ms, usable, live.draw(64)), outcome, now_ms)

    def run(self) -> Run:
        """Return the Run. It is made of the same decision as `first` was, now whole: only failures and hedges need it."""
        run = self._run
        if run is None:
            plan, _ = decided_of(self)
            run = self._run = Run(plan)
            run.begin(self.decided_ms)
        return run

    def end_attempt(self, attempt: Sending, outcome: Outcome, now_ms: float) -> None:
        """Book the attempt and fold it into health."""
        attempt.over = True
        if attempt is self.attempt:
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

    # --- ends
    def _fail(self, outcome: Outcome, now_ms: float) -> None:
        """Tell the client that there is no answer, or that the one begun ends here; settle."""
        if self.committed:
            event = b"data: %b\n\n" % failure_body(outcome, self.request.id)
            self.settle(outcome, 200, now_ms, self.delivery.last(event))
            return
        if self.silence is not None:
            silence.pass_on(self, self.silence, now_ms)
            return
        last = last_answer(self, outcome, now_ms)
        self.first_ms = now_ms if last.outcome.kind is Kind.DEGRADED else 0.0
        self.settle(last.outcome, last.status, now_ms, last.answer, last.rung)

    def settle(self, outcome: Outcome, status: int, now_ms: float, answer: bytes, degraded: str = "") -> None:
        """Book the request, once; `answer` leaves when that is written."""
        if self._ends():
            if self.tape is not None:
                self.tape.settled(self, outcome, answer)
            self.shell.books.settle(settled_of(self, outcome, status, now_ms, degraded), self.edge, answer)

    def _ends(self) -> bool:
        """End once; return whether this is it."""
        if self.settled:
            return False
        self.settled = True
        if self.incoming.claim is not None:
            self.incoming.claim.release()
        self.shell.active.discard(self)
        if self.cache is not None:
            self.shell.cache.ended(self)
        if self.account is not None:
            self.account.leave()
        if self.reservation is not None and (self.booked_in or self.hit is None):
            self._settle_quotas(self.reservation)  # else when it is known whether the request is booked
        if self.held is not None:
            self.shell.live.spending.hold(self.held[0], -self.held[1])
        return True

    def _settle_quotas(self, reservation: Reservation) -> None:
        """Count what was used; nothing, if the request is not booked."""
        rows = self.rows if self.cache is None else self.cache.all_rows(self.rows)
        reservation.settle(rows, sent=self.booked_in)

    def _stop_waiting(self) -> None:
        """Cancel whatever the exchange waits for."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for attempt in (self.attempt, self.rival):
            if attempt is not None:
                attempt.stop()

    # --- Work: what the edge tells us
    def client_gone(self) -> None:
        if self.settled:
            return
        attempt = self.attempt
        if attempt is not None and self.rival is None and attempt.bills_on and attempt.connection is not None:
            self.drain = Drain(self, attempt, attempt.connection)
            self.due_ms = self.drain.due_ms
        else:
            self.left(GONE)

    def left(self, outcome: Outcome) -> None:
        """End for good without anyone to tell."""
        self._stop_waiting()
        now_ms, tokens = self.shell.now_ms(), self.request.features.input_tokens
        for attempt in (self.rival, self.attempt):
            if attempt is not None:
                self.end_attempt(attempt, attempt.billed(outcome, tokens), now_ms)
        self.settle(outcome, 499, now_ms, b"")

    def client_paused(self) -> None:
        self.paused = True
        if self.attempt is not None and self.attempt.connection is not None:
            self.attempt.connection.pause()

    def client_resumed(self) -> None:
        self.paused = False
        if self.attempt is not None and self.attempt.connection is not None:
            self.attempt.connection.resume()

    def shut_down(self) -> None:
        """End at the close of the drain: a begun stream gets its error event, nothing is labelled complete."""
        self.give_up(Outcome(Kind.CANCELLED, 0, "the router is shutting down"))

    def give_up(self, outcome: Outcome) -> None:
        """End the wait with an outcome of our own, such as a limit that has passed."""
        if self.drain is not None:
            self.left(GONE)
            return
        if self.rival is not None:
            hedge.lost(self, self.rival, outcome)
        if self.attempt is not None:
            self.attempt.give_up(outcome)
        else:  # between attempts
            self._stop_waiting()
            self._fail(outcome, self.shell.now_ms())

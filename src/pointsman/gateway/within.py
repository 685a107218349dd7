"""Within: the way of a request through its caller's quotas, which comes after the decision and before the books.

Where the store answers later (Redis), the request waits as a Waiting, within the store's bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.policy import Key
from pointsman.core.quotas import Ask, Counter, Verdict
from pointsman.gateway.answers import Refused
from pointsman.gateway.reservation import Reservation
from pointsman.stores.counters.base import CountersError

if TYPE_CHECKING:
    from pointsman.gateway.edge import Edge, Incoming, Work
    from pointsman.gateway.endpoints import Chosen
    from pointsman.gateway.worker import Worker


class Door(NamedTuple):
    """Hold what the chat endpoint does next: carry a request out, choose anew on another route, refuse it."""

    carry: Callable[[Worker, Edge, Incoming, Chosen, Reservation | None], Work | None]
    again: Callable[[Worker, Edge, Incoming, str], Chosen | None]
    refuse: Callable[[Worker, Edge, Refused], Work | None]


def within(worker: Worker, edge: Edge, incoming: Incoming, chosen: Chosen, door: Door) -> Work | None:
    """Carry a request out if its quotas allow it: now, when the store has answered, or when it was its turn in a line."""
    quotas = worker.live.quotas
    if not quotas.at_once or quotas.lines.count:
        return _try(Waiting(worker, edge, incoming, chosen, door))
    # As `_try` does, in fewer steps: the store answers within the call, and nearly always yes.
    asks, others = quotas.asks(incoming.caller, chosen, degraded=False)  # type: ignore[arg-type]  # chat has seen to it
    if not asks and not others:
        return door.carry(worker, edge, incoming, chosen, None)
    if quotas.ended:
        quotas.settle()
    store = quotas.store
    try:
        verdict = None if store is None else store.reserve(asks, _never)
    except CountersError:
        verdict = None
    if verdict is not None and verdict.refusing < 0:
        if verdict.low:
            quotas.look(asks, verdict.taken)
        return door.carry(worker, edge, incoming, chosen, Reservation(quotas, asks, others, verdict))
    waiting = Waiting(worker, edge, incoming, chosen, door)
    waiting.asks, waiting.others = asks, others
    return _try(waiting) if verdict is None else _go_on(waiting, verdict)


def _never(verdict: Verdict) -> None:
    """Take the answer of a store that answers within the call: it never comes this way."""


class Waiting:
    """Hold a request whose quotas are being asked for. It is the edge's Work until then."""

    gone = False
    degraded = ""  # the quota that sent it to another route
    until_ms = 0.0  # how long it may wait in a line; 0.0: it does not
    turn: Counter | None = None  # it is the first of the line for this one, and is being asked for

    def __init__(self, worker: Worker, edge: Edge, incoming: Incoming, chosen: Chosen, door: Door) -> None:
        self.worker, self.edge, self.incoming, self.chosen, self.door = worker, edge, incoming, chosen, door
        self.world = worker.live.world
        self.asks: Sequence[Ask] = ()
        self.others: tuple[Counter, ...] = ()

    def answered(self, verdict: Verdict) -> None:
        """Go on when the store has answered after all."""
        if self.gone:
            if verdict.refusing < 0:
                Reservation(self.worker.live.quotas, self.asks, self.others, verdict).settle((), sent=False)
            self._over()
        else:
            self._resumed(_go_on(self, verdict))

    def its_turn(self, counter: Counter) -> None:
        """Ask again, as the first of a line: what was decided before is decided anew."""
        self.turn, self.incoming.waited = counter, True
        worker, edge, incoming, door = self.worker, self.edge, self.incoming, self.door
        chosen, work = door.again(worker, edge, incoming, self.chosen[1]), None
        if chosen is not None:
            self.chosen, self.world = chosen, worker.live.world
            work = _try(self) if chosen[-1] >= 0 else door.carry(worker, edge, incoming, chosen, None)
        self._resumed(work)

    def _resumed(self, work: Work | None) -> None:
        if self.edge.current is self.incoming:  # not answered within the call
            self.edge.work = work
        if work is not self:
            self._over(kept=work is not None)

    def _over(self, *, kept: bool = False) -> None:
        """Let go of what it held but for what an exchange has taken over: its claim, and its place in a line."""
        if not kept and self.incoming.claim is not None:
            self.incoming.claim.release()
        if self.turn is not None:
            counter, self.turn = self.turn, None
            self.worker.live.quotas.lines.turned(counter)

    # --- Work: what the edge tells us
    def client_gone(self) -> None:
        self.gone = True
        if self.until_ms and self.turn is None and self.incoming.claim is not None:
            self.incoming.claim.release()

    def client_paused(self) -> None:
        """Nothing is written while it waits."""

    def client_resumed(self) -> None:
        """Nothing was held back."""


def _try(waiting: Waiting) -> Work | None:
    worker, key = waiting.worker, waiting.incoming.caller
    assert isinstance(key, Key)
    quotas, door = worker.live.quotas, waiting.door
    waiting.asks, waiting.others = quotas.asks(key, waiting.chosen, degraded=bool(waiting.degraded))
    if not waiting.asks and not waiting.others:
        return door.carry(worker, waiting.edge, waiting.incoming, waiting.chosen, None)
    if quotas.lines.count and waiting.turn is None and quotas.lines.behind(waiting, waiting.asks):
        return waiting
    try:
        verdict = quotas.reserve(waiting.asks, waiting.answered)
    except CountersError as error:
        message = f"the limits cannot be looked up, so the request is not sent: {error.args[-1]}"
        return door.refuse(worker, waiting.edge, Refused(503, message, "limits_unavailable", retry_after_s=1))
    return waiting if verdict is None else _go_on(waiting, verdict)


def _go_on(waiting: Waiting, verdict: Verdict) -> Work | None:
    worker, edge, incoming, door = waiting.worker, waiting.edge, waiting.incoming, waiting.door
    quotas = worker.live.quotas
    if verdict.refusing < 0:
        if verdict.low:
            quotas.look(waiting.asks, verdict.taken)
        reservation = Reservation(quotas, waiting.asks, waiting.others, verdict)
        if waiting.degraded:
            reservation.tag = f"quota:{waiting.degraded}"
            reservation.headers += f"x-pointsman-quota: {waiting.degraded}\r\n"
        if worker.live.world is not waiting.world:  # another config came while we waited: a request sees one version
            chosen = door.again(worker, edge, incoming, waiting.chosen[1])
            if chosen is None:
                reservation.settle((), sent=False)
                return None
            waiting.chosen = chosen
        return door.carry(worker, edge, incoming, waiting.chosen, reservation)
    counter = waiting.asks[verdict.refusing][0]
    quota = counter.quota
    if quota.wait_ms and quotas.lines.joins(waiting, counter, verdict.wait_us):
        quotas.note(quota, "waited")
        return waiting
    if not quota.degrade or waiting.degraded:
        return door.refuse(worker, edge, quotas.refused(waiting.asks, verdict))
    quotas.note(quota, "degraded")
    chosen = door.again(worker, edge, incoming, quota.degrade)
    if chosen is None:
        return None
    waiting.chosen, waiting.degraded = chosen, quota.name
    if chosen[-1] < 0:  # nobody can be tried there either: it is booked so
        return door.carry(worker, edge, incoming, chosen, None)
    return _try(waiting)

"""Flights: requests that are alike and under way at the same time get one answer. One asks a provider, the others wait.

An error is nobody's but its own: after one, two of those that wait go on, after their errors four. Between the workers of a
machine it is settled by a locked file who asks; the others look for the answer among the files that all share.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pointsman.dialects.forms import Form
from pointsman.gateway.afterwards import hold
from pointsman.gateway.replay import give
from pointsman.stores.cache_memory import Answer
from pointsman.stores.claims import HASH_BYTES, Claims

if TYPE_CHECKING:
    from pointsman.gateway.cache import Part
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.live import Clock

MOST_WAITING = 10_000  # requests that wait for one answer; more go on by themselves
LONGEST_SHARE = 0.5  # of the time a request has, that it waits for the answer of another
ASK_AGAIN_S = 0.05  # how often a worker looks for an answer that another one is to get
_NO_HASH = b"\0" * HASH_BYTES


class Flight:
    """Hold the requests that wait for one answer, and how many are under way to get it. `fd` keeps the claim of this worker."""

    def __init__(self, share: str, name: str) -> None:
        self.place = (share, name)
        self.under_way = 0
        self.fd = -1
        self.waiting: deque[Exchange] = deque()


class Flights:
    """Hold the flights of one worker. `find` looks for the answer to a request; `in_form` gives an answer the form it wants."""

    def __init__(
        self,
        claims: Claims,
        clock: Clock,
        find: Callable[[Part], Answer | None],
        in_form: Callable[[Answer, Form], Answer | None],
    ) -> None:
        self._claims, self._clock, self._find, self._in_form = claims, clock, find, in_form
        self._flights: dict[tuple[str, str], Flight] = {}

    def takes(self, part: Part, exchange: Exchange) -> bool:
        """Have a request wait for one that is alike; False: there is none, so it is the one that asks."""
        place = part.key.share, part.name
        flight = self._flights.get(place)
        if flight is None:
            flight = self._flights[place] = Flight(*place)
            if exchange.world.policy.listener.workers > 1 and not self._claimed(flight):
                self._join(flight, part, exchange)
                asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._look, flight)
                return True
        elif len(flight.waiting) < MOST_WAITING:
            self._join(flight, part, exchange)
            return True
        part.flight = flight
        flight.under_way += 1
        return False

    def landed(self, part: Part, answer: Answer) -> Callable[[], None] | None:
        """Give an answer to those who wait for it. Return what to call when the other workers can find it, if they wait."""
        flight, part.flight = part.flight, None
        if flight is None:
            return None
        self._flights.pop(flight.place, None)
        waiting, flight.waiting = flight.waiting, deque()
        asyncio.get_running_loop().call_soon(self._share, waiting, answer)
        return (lambda: self._release(flight)) if flight.fd >= 0 else None

    def failed(self, part: Part) -> None:
        """Let others go on: the request has ended without an answer to give them."""
        flight, part.flight = part.flight, None
        if flight is not None:
            flight.under_way -= 1
            asyncio.get_running_loop().call_soon(self._go_on_by, flight, 2)

    # --- inside
    def _join(self, flight: Flight, part: Part, exchange: Exchange) -> None:
        now_ms, deadline_ms = exchange.shell.now_ms(), exchange.request.deadline_ms
        part.joined_ms = exchange.decided_ms = now_ms
        exchange.due_ms = deadline_ms
        flight.waiting.append(exchange)
        exchange.shell.active.add(exchange)
        wait_s = (deadline_ms - now_ms) * LONGEST_SHARE / 1000.0
        exchange.timer = asyncio.get_running_loop().call_later(wait_s, self._go_on, exchange, None)

    def _share(self, waiting: deque[Exchange], answer: Answer) -> None:
        now_ms, answer = self._clock.wall_ms(), replace(answer, pace=())  # they have waited
        made: dict[str, Answer | None] = {}
        for exchange in waiting:
            part = _waiting(exchange)
            if part is None:
                continue
            if part.form not in made:
                made[part.form] = self._in_form(answer, part.form)
            given = made[part.form]
            if given is None:
                self._go_on(exchange, None)
            else:
                _stop_waiting(exchange, part)
                part.result, part.answer = "hit", given
                give(exchange, part, given, now_ms)

    def _go_on_by(self, flight: Flight, count: int) -> None:
        while count and flight.waiting:
            exchange = flight.waiting.popleft()
            if _waiting(exchange) is not None:
                self._go_on(exchange, flight)
                count -= 1
        if not flight.under_way and not flight.waiting:
            self._end(flight)

    def _go_on(self, exchange: Exchange, flight: Flight | None) -> None:
        """Have a request that waited ask by itself, for those who still wait if `flight` is theirs."""
        part = _waiting(exchange)
        if part is None:
            return
        decided_ms = exchange.decided_ms
        _stop_waiting(exchange, part)
        if flight is not None:
            part.flight = flight
            flight.under_way += 1
        if exchange.routed is not None:
            hold(exchange, part.position)
        exchange.begin(_usable(exchange, part.position), exchange.shell.now_ms())
        exchange.decided_ms = decided_ms

    # --- between workers
    def _look(self, flight: Flight) -> None:
        """Look whether another worker has got the answer, or has given up."""
        while flight.waiting and _waiting(flight.waiting[0]) is None:
            flight.waiting.popleft()
        first = _waiting(flight.waiting[0]) if flight.waiting else None
        if first is None:
            self._end(flight)
            return
        claimed = self._claimed(flight)
        answer = self._find(first)
        if answer is not None:
            self._end(flight)
            waiting, flight.waiting = flight.waiting, deque()
            self._share(waiting, answer)
        elif claimed:
            self._go_on_by(flight, 1)
        else:
            asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._look, flight)

    def _claimed(self, flight: Flight) -> bool:
        """Tell whether this worker is to ask: it is also when no file can say which one."""
        try:
            found = self._claims.claim("-".join(flight.place), _NO_HASH)
        except OSError:
            return True
        flight.fd = found.fd
        return found.state == "mine"

    def _end(self, flight: Flight) -> None:
        if self._flights.get(flight.place) is flight:
            del self._flights[flight.place]
        self._release(flight)

    def _release(self, flight: Flight) -> None:
        fd, flight.fd = flight.fd, -1
        if fd >= 0:
            self._claims.release("-".join(flight.place), fd)


def _waiting(exchange: Exchange) -> Part | None:
    """Return the part of an exchange that still waits for the answer of another."""
    part = exchange.cache
    return part if part is not None and part.joined_ms and not exchange.settled else None


def _usable(exchange: Exchange, position: int) -> int:
    """Return the candidate that one who waited asks first: the one that was drawn, or the next that may be tried now."""
    steps, usable = exchange.options.steps, exchange.shell.live.usable
    order = exchange.run().plan.order
    return next((one for one in order if usable(exchange.world, steps[one].deployment)), position)


def _stop_waiting(exchange: Exchange, part: Part) -> None:
    if exchange.timer is not None:
        exchange.timer.cancel()
        exchange.timer = None
    exchange.upstream_ms += exchange.shell.now_ms() - part.joined_ms
    part.joined_ms = 0.0

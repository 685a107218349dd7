"""Flights: requests that are alike and under way at the same time get one answer. One asks a provider, the others wait.

An error is nobody's but its own: after one, two of those that wait go on, after their errors four. Between the workers of a
machine it is settled by a locked file who asks; the others look for the answer among the files that all share. Between many
machines Redis says both: whether there is an answer, and who is getting it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pointsman.core.outcome import Kind, Outcome
from pointsman.dialects.forms import Form
from pointsman.gateway import answers
from pointsman.gateway.afterwards import hold
from pointsman.gateway.answers import Refused
from pointsman.gateway.gate import RETRIES
from pointsman.gateway.replay import give
from pointsman.stores.cache_memory import Answer
from pointsman.stores.claims import HASH_BYTES, Claims

if TYPE_CHECKING:
    from pointsman.gateway.cache import Part
    from pointsman.gateway.clock import Clock
    from pointsman.gateway.exchange import Exchange
    from pointsman.stores.cache_redis import Look, RedisAnswers

NOBODY_NOW = Outcome(Kind.OVERLOADED, 0, "no deployment can be tried any more that could when this request came", 1_000)
MOST_WAITING = 10_000  # requests that wait for one answer; more go on by themselves
LONGEST_SHARE = 0.5  # of the time a request has, that it waits for the answer of another
ASK_AGAIN_S = 0.05  # how often a worker looks for an answer that another one is to get
SAY_AGAIN_S = 1.0  # how often Redis is told that we are still getting an answer
NOT_CACHED = Refused(
    504, "no answer to this request is kept, and only a kept one was asked for", "not_cached", final=True
)
_NO_HASH = b"\0" * HASH_BYTES


class Flight:
    """Hold the requests that wait for one answer, and how many are under way to get it. `fd` keeps the claim of this worker on
    this machine, `claim` that in Redis."""

    claim = ""
    timer: asyncio.TimerHandle | None = None

    def __init__(self, share: str, name: str) -> None:
        self.place = (share, name)
        self.under_way = 0
        self.fd = -1
        self.waiting: deque[Exchange] = deque()


class Flights:
    """Hold the flights of one worker. `find` looks here for the answer to a request; `in_form` gives an answer the form it
    wants; `beyond` is where many machines keep answers, if they do, and what takes in one of those."""

    def __init__(
        self,
        claims: Claims,
        clock: Clock,
        find: Callable[[Part], Answer | None],
        in_form: Callable[[Answer, Form], Answer | None],
        beyond: tuple[RedisAnswers | None, Callable[[Part, Answer], None]],
    ) -> None:
        self._claims, self._clock, self._find, self._in_form = claims, clock, find, in_form
        self._shared, self._take_in = beyond
        self._flights: dict[tuple[str, str], Flight] = {}
        self.first: Callable[[Part, Exchange], bool] = (
            _nothing_first  # what a request does before it asks; True: it waits
        )

    def takes(self, part: Part, exchange: Exchange) -> bool:
        """Have a request wait for one that is alike; False: there is none, so it is the one that asks."""
        place = part.key.share, part.name
        flight = self._flights.get(place)
        if flight is None:
            flight = self._flights[place] = Flight(*place)
            if self._shared is not None:
                self._join(flight, part, exchange)
                self._ask(flight)
                return True
            if exchange.world.policy.listener.workers > 1 and not self._claimed(flight):
                self._join(flight, part, exchange)
                asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._look, flight)
                return True
        elif len(flight.waiting) < MOST_WAITING:
            self._join(flight, part, exchange)
            return True
        if not _asks(part):
            _goes_without(exchange, part)
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
        asyncio.get_running_loop().call_soon(self._share, waiting, answer, part)
        return (lambda: self._release(flight)) if flight.fd >= 0 or flight.claim else None

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

    def _share(self, waiting: deque[Exchange], answer: Answer, like: Part | None = None) -> None:
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
                if like is not None and like.result == "semantic":
                    part.result, part.similarity, part.entry = like.result, like.similarity, like.entry
                give(exchange, part, given, now_ms)

    def _go_on_by(self, flight: Flight, count: int) -> None:
        while count and flight.waiting:
            exchange = flight.waiting.popleft()
            count -= self._go_on(exchange, flight)
        if not flight.under_way and not flight.waiting:
            self._end(flight)

    def _go_on(self, exchange: Exchange, flight: Flight | None) -> bool:
        """Have a request that waited ask by itself, for those who still wait if `flight` is theirs; tell whether it does."""
        part = _waiting(exchange)
        if part is None:
            return False
        decided_ms = exchange.decided_ms
        _stop_waiting(exchange, part)
        if not _asks(part):
            _goes_without(exchange, part)
            return False
        if flight is not None:
            part.flight = flight
            flight.under_way += 1
        exchange.decided_ms = decided_ms
        if not self.first(part, exchange):
            self.set_off(exchange, part)
        return True

    def set_off(self, exchange: Exchange, part: Part) -> None:
        """Send a request that has waited to a provider."""
        decided_ms = exchange.decided_ms
        if exchange.incoming.headers.get(RETRIES, b"0") != b"0":
            exchange.shell.live.retried(exchange.world, exchange.options.steps[part.position].deployment)
        if exchange.routed is not None:
            hold(exchange, part.position)
        exchange.late = True
        position, now_ms = _usable(exchange, part.position), exchange.shell.now_ms()
        if position < 0:
            exchange.nobody(now_ms, NOBODY_NOW)
        else:
            exchange.begin(position, now_ms)
        exchange.decided_ms = decided_ms

    # --- between machines
    def _ask(self, flight: Flight) -> None:
        """Ask whether the answer is there, and if not whether we are to get it."""
        assert self._shared is not None
        found = self._shared.look(*flight.place, partial(self._told, flight))
        if found is not None:
            self._told(flight, found)

    def _told(self, flight: Flight, found: Look) -> None:
        flight.claim = found.claim
        if found.answer is not None:
            self._give_each(flight, found.answer)
        elif not found.mine and any(map(_waiting, flight.waiting)):
            asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask, flight)
            return
        elif found.claim:
            self._say_again(flight)
        self._go_on_by(flight, 1)

    def _give_each(self, flight: Flight, answer: Answer) -> None:
        """Give a kept answer to all who may have it; the others still wait."""
        waiting, flight.waiting = flight.waiting, deque()
        now_ms = self._clock.wall_ms()
        for exchange in waiting:
            part = _waiting(exchange)
            if part is None:
                continue
            self._take_in(part, answer)
            given = self._find(part)
            if given is None:
                flight.waiting.append(exchange)
            else:
                _stop_waiting(exchange, part)
                part.result, part.answer = "hit", given
                give(exchange, part, given, now_ms)

    def _say_again(self, flight: Flight) -> None:
        if self._shared is not None and flight.claim:
            flight.timer = asyncio.get_running_loop().call_later(SAY_AGAIN_S, self._say_again, flight)
            self._shared.go_on(*flight.place, flight.claim)

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
        fd, flight.fd, claim, flight.claim = flight.fd, -1, flight.claim, ""
        if flight.timer is not None:
            flight.timer.cancel()
        if claim and self._shared is not None:
            self._shared.land(*flight.place, claim)
        if fd >= 0:
            self._claims.release("-".join(flight.place), fd)


def _nothing_first(part: Part, exchange: Exchange) -> bool:
    return False


def _waiting(exchange: Exchange) -> Part | None:
    """Return the part of an exchange that still waits for the answer of another."""
    part = exchange.cache
    return part if part is not None and part.joined_ms and not exchange.settled else None


def _asks(part: Part) -> bool:
    """Tell whether a request may be sent to a provider at all."""
    return part.position >= 0 and part.wish.mode != "only-if-cached"


def _goes_without(exchange: Exchange, part: Part) -> None:
    """End a request that no kept answer was found for, and that is not sent to anybody."""
    now_ms = exchange.shell.now_ms()
    if part.wish.mode == "only-if-cached":
        refusal = answers.refusal(NOT_CACHED, request_id=exchange.request.id, close=exchange.incoming.close)
        exchange.settle(Outcome(Kind.UNMET, 0, NOT_CACHED.message), NOT_CACHED.status, now_ms, refusal)
    else:
        exchange.nobody(now_ms)


def _usable(exchange: Exchange, position: int) -> int:
    """Return the candidate that one who waited asks first: the one that was drawn, or the next that may be tried now; -1
    when there is none any more."""
    steps, usable = exchange.options.steps, exchange.shell.live.usable
    if usable(exchange.world, steps[position].deployment):
        return position
    order = exchange.run().plan.order
    return next((one for one in order if usable(exchange.world, steps[one].deployment)), -1)


def _stop_waiting(exchange: Exchange, part: Part) -> None:
    if exchange.timer is not None:
        exchange.timer.cancel()
        exchange.timer = None
    exchange.upstream_ms += exchange.shell.now_ms() - part.joined_ms
    part.joined_ms = 0.0

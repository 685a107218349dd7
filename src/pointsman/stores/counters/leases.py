"""Leases: room of busy counters that a worker takes in advance, so that most requests need not ask the shared store.

A lease is a reservation like any other, so that nothing is exceeded by it. It is sized by what was used in the turn before,
lives for one turn, and is then given back as far as it is unused. None is taken unless several as large for each worker of
each replica would fit: so leases are over well before the limit is reached, and near it each request asks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from pointsman.core.quotas import Ask, Counter, End, Taken, Verdict

BUSY = 4  # requests of a turn, from which on a lease is worth its two calls
BLOCKS = 20  # as large as a lease, for each worker, that must fit beside it
MOST_TRACKED = 1_000  # counters of a worker


class Lender(Protocol):
    """What leases are taken of and given back to."""

    def lease(self, ask: Ask, done: Callable[[Verdict | None], None]) -> None: ...
    def book(self, ends: Sequence[End]) -> None: ...


class _Track:
    """Hold what is asked of one counter, and the lease that it has: `rest` of it is left, and `left` beside it. `start` is
    where in time the rest of a rate begins."""

    __slots__ = (
        "asks",
        "counter",
        "demand",
        "held",
        "largest",
        "left",
        "reset_us",
        "rest",
        "start",
        "until_us",
        "use",
        "used",
    )

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.use = self.asks = self.demand = self.largest = 0
        self.rest = self.left = self.start = self.used = self.held = self.reset_us = self.until_us = 0

    def heard(self, one: Taken, now_us: int) -> None:
        self.left, self.used, self.held, self.reset_us = one.left, one.used, one.held, now_us + one.reset_us

    def noted(self, amount: int) -> None:
        self.use += amount
        self.asks += 1
        self.largest = max(self.largest, amount)

    def given_back(self) -> End:
        rest, self.rest = self.rest, 0
        self.left += rest
        return self.counter, rest, 0, self.start

    def wanted(self, replicas: int) -> int:
        """Return how much to take for the next turn, 0: nothing."""
        self.demand = max(self.use, self.demand // 2)
        amount = self.demand + self.demand // 4 + self.largest
        busy = self.asks >= BUSY and amount * BLOCKS * replicas <= self.left + self.rest
        self.use = self.asks = 0
        return amount if busy else 0


class Leases:
    """Take, use and give back the leases of one worker of so many. `life_ms` is that of a lease, and the length of a turn."""

    def __init__(self, lender: Lender, life_ms: int, replicas: int, now_us: Callable[[], int]) -> None:
        self._lender, self._now_us = lender, now_us
        self._life_us, self._replicas = life_ms * 1000, replicas
        self._tracks: dict[str, _Track] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sums: dict[str, tuple[Counter, int, int]] = {}  # settlements of windows that wait for the end of the turn
        self._ends: list[End] = []  # of rates

    def take(self, asks: Sequence[Ask]) -> Verdict | None:
        """Reserve of the leases; None when some counter has none that suffices."""
        now_us, found = self._now_us(), list[_Track]()
        for counter, amount, _ in asks:
            track = self._tracks.get(counter.name)
            if track is None or track.rest < amount or now_us > track.until_us or counter.limit != track.counter.limit:
                return None
            found.append(track)
        taken = []
        for track, (counter, amount, _) in zip(found, asks, strict=True):
            track.noted(amount)
            track.rest -= amount
            start, left, rate_us, limit = track.start, track.left + track.rest, counter.rate_us, counter.limit
            if rate_us:
                track.start += amount * rate_us // limit
                reset_us = (limit - left) * rate_us // limit
            else:
                reset_us = track.reset_us - now_us
            taken.append(Taken(left, reset_us, start, track.used, track.held))
        return Verdict(-1, 0, taken)

    def note(self, asks: Sequence[Ask], taken: Sequence[Taken]) -> None:
        """Note what the store has granted, to see which counters are busy."""
        now_us = self._now_us()
        for (counter, amount, _), one in zip(asks, taken, strict=True):
            track = self._tracks.get(counter.name)
            if track is None or track.counter.limit != counter.limit:
                if track is not None:
                    self._lender.book([track.given_back()])
                elif len(self._tracks) >= MOST_TRACKED:
                    continue
                track = self._tracks[counter.name] = _Track(counter)
            track.noted(amount)
            track.heard(one, now_us)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._life_us / 1e6, self._turn)

    def settle(self, ends: Sequence[End]) -> bool:
        """Keep the settlement of busy counters to the end of the turn; False: it is to be told now."""
        for counter, *_ in ends:
            track = self._tracks.get(counter.name)
            if track is None or not track.until_us:
                return False
        for end in ends:
            counter, reserved, actual, _ = end
            if not counter.rate_us:
                _, held, used = self._sums.get(counter.name, (counter, 0, 0))
                self._sums[counter.name] = (counter, held + reserved, used + actual)
            elif actual != reserved:
                self._ends.append(end)
        return True

    def give_back(self, asks: Sequence[Ask]) -> bool:
        """Give the leases of these counters back; False: there were none."""
        tracks = [self._tracks.get(counter.name) for counter, _, _ in asks]
        ends = [track.given_back() for track in tracks if track is not None and track.rest]
        if ends:
            self._lender.book([*self._kept(), *ends])
        return bool(ends)

    def end(self) -> None:
        """Give all back, and forget who was busy."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [*self._kept(), *(track.given_back() for track in self._tracks.values() if track.rest)]
        self._tracks.clear()
        if ends:
            self._lender.book(ends)

    # --- inside
    def _kept(self) -> list[End]:
        """Return the settlements that waited."""
        ends = [(counter, held, used, 0) for counter, held, used in self._sums.values()] + self._ends
        self._sums, self._ends = {}, []
        return ends

    def _turn(self) -> None:
        """Give back what was not used, tell what was, and take what the next turn may need."""
        self._timer = None
        ends, asked = self._kept(), list[tuple[_Track, int]]()
        for name, track in list(self._tracks.items()):
            idle, amount = not track.asks, track.wanted(self._replicas)
            if track.rest:
                ends.append(track.given_back())
            if amount:
                asked.append((track, amount))
            elif idle:
                del self._tracks[name]
            else:
                track.until_us, track.largest = 0, track.largest // 2
        if ends:
            self._lender.book(ends)
        for track, amount in asked:
            self._ask(track, amount)
        if self._tracks:
            self._timer = asyncio.get_running_loop().call_later(self._life_us / 1e6, self._turn)

    def _ask(self, track: _Track, amount: int) -> None:
        ask = (track.counter, amount, True)
        began_us = self._now_us()

        def done(verdict: Verdict | None) -> None:
            granted = verdict is not None and verdict.refusing < 0
            if self._tracks.get(track.counter.name) is not track or self._now_us() - began_us > self._life_us:
                if verdict is not None and granted:  # too late to be of use
                    self._lender.book([(track.counter, amount, 0, verdict.taken[0][2])])
                return
            if verdict is None or not granted:
                track.until_us = 0
                return
            one = Taken._make(verdict.taken[0])
            track.heard(one, self._now_us())
            track.rest, track.start, track.until_us = amount, one.start, began_us + 2 * self._life_us

        self._lender.lease(ask, done)

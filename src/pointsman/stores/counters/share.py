"""Share: what one replica counts by itself while the shared store cannot be asked: its part of what was left."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.core.quotas import Ask, Counter, End, Verdict, Windows
from pointsman.stores.counters.base import Clock
from pointsman.stores.counters.memory import MemoryCounters

MOST_KNOWN = 60_000


class Share:
    """Count alone, each counter with `1 / replicas` of what was left when the shared store was last heard of it, or of its
    limit when it was not. All replicas together so admit no more than what was left, and of rates one burst more."""

    def __init__(self, clock: Clock, windows: Windows, replicas: int) -> None:
        self._clock = clock
        self._windows = windows
        self._replicas = replicas
        self._memory = MemoryCounters(clock, windows)
        self._counters: dict[str, Counter] = {}
        self._left: dict[str, tuple[int, int]] = {}  # window and what was left in it

    def heard(self, counter: Counter, left: int) -> None:
        """Note what the shared store said is left of a window's counter."""
        if not counter.rate_us and (counter.name in self._left or len(self._left) < MOST_KNOWN):
            window = self._windows.at(counter.period, self._clock.wall_ms())[0]
            self._left[counter.name] = (window, left)

    def begin(self) -> None:
        """Begin to count alone, from what is known now."""
        self._memory = MemoryCounters(self._clock, self._windows)
        self._counters.clear()

    def reserve(self, asks: Sequence[Ask]) -> Verdict:
        """Reserve of our share. Raise CountersError when there are too many counters."""
        mine = [(self._mine(counter), amount, hard) for counter, amount, hard in asks]
        return self._memory.reserve(mine, _nobody)

    def settle(self, ends: Sequence[End]) -> None:
        """Settle what was reserved since we began; what was before is nobody's share any more."""
        mine = [
            (self._mine(counter), reserved, actual, start)
            for counter, reserved, actual, start in ends
            if counter.name in self._counters
        ]
        if mine:
            self._memory.settle(mine)

    def _mine(self, counter: Counter) -> Counter:
        found = self._counters.get(counter.name)
        if found is None:
            limit = counter.limit
            window, left = self._left.get(counter.name, (-1, limit))
            if window == self._windows.at(counter.period, self._clock.wall_ms())[0]:
                limit = max(0, min(limit, left))
            found = self._counters[counter.name] = counter.share(limit // self._replicas)
        return found


def _nobody(verdict: Verdict) -> None:
    """Memory answers at once."""

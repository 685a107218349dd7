"""Counters of one process, gone with it: `memory:`. Also what counts a replica's share when a shared store is lost."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from pointsman.core.quotas import Ask, Counter, End, Verdict, Windows
from pointsman.stores.counters.base import Clock, CountersError, Then
from pointsman.stores.counters.cells import WORDS, Cells

MOST_COUNTERS = 60_000
BLOCK = 256  # rows that are added at a time


class MemoryCounters(Cells):
    """Count in arrays that grow. Not shared between processes."""

    local = False

    def __init__(self, clock: Clock, windows: Windows) -> None:
        super().__init__(clock, windows)
        self.failures: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    def place(self, counter: Counter) -> int:
        slot = self._rows.setdefault(counter.name, len(self._rows))
        if slot >= MOST_COUNTERS:
            del self._rows[counter.name]
            raise CountersError(f"there are {MOST_COUNTERS} counters, as many as there may be")
        if slot >= self.slots:
            words = array("q", self.words if self.slots else ()) + array("q", [0] * (BLOCK * WORDS))
            held = array("q", self.held if self.slots else ()) + array("q", [0] * BLOCK)
            self.words, self.held, self.slots = memoryview(words), memoryview(held), self.slots + BLOCK
        counter.slot = slot
        return slot

    def reserve(self, asks: Sequence[Ask], then: Then) -> Verdict:
        for ask in asks:
            if ask.counter.slot < 0:
                self.place(ask.counter)
        return self.take(asks)

    def settle(self, ends: Sequence[End], *, local: bool = False) -> None:
        for end in ends:
            if end[0].slot < 0:  # the rows may have to grow first
                self.place(end[0])
        self.give_back(ends)

    def read(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        return self.states(counters)

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing is open."""

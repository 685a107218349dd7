"""Counters of one process, gone with it: `memory:`. Also what counts a replica's share when a shared store is lost."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from pointsman.core.quotas import Counter, Windows
from pointsman.stores.counters.base import Clock, CountersError
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
        self.words = self.held = memoryview(array("q"))

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

    reserve = Cells.take
    settle = Cells.give_back

    def flush(self) -> None:
        """Nothing was put off."""

    def read(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        return self.states(counters)

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing is open."""

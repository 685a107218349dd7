"""Cells: counters as rows of integers in memory, which a file may stand behind.

A row has four words: the counter's id, its mark (of a rate the time up to which it is taken, of a window its beginning),
what was used, and when the row may be forgotten. What is held stands apart, a column for each worker, who writes nothing but
its own: a worker that is killed loses its column and nothing else. Words are written in such an order that a process may end
between any two of them: nothing used is forgotten in the present window, nothing held stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.core.quotas import (
    NEVER_US,
    Ask,
    Counter,
    End,
    Standing,
    Verdict,
    Windows,
    rate_left,
    rate_settled,
    rate_start,
)
from pointsman.stores.counters.base import Clock, Then

WORDS = 4
ID, MARK, USED, FORGET = range(WORDS)
_new = tuple.__new__  # of a NamedTuple: a third of the time of calling it


class Cells:
    """Count in `words`, rows of four, and `held`, `slots` rows for each of so many columns, of which `column` is ours."""

    def __init__(self, clock: Clock, windows: Windows) -> None:
        self.clock = clock
        self.windows = windows
        self.words: memoryview
        self.held: memoryview
        self.slots = 0
        self.columns = 1
        self.column = 0

    def place(self, counter: Counter) -> int:
        """Return the counter's row, found or made."""
        raise NotImplementedError

    def take(self, asks: Sequence[Ask], then: Then | None = None) -> Verdict:
        """Reserve all, or none; to be called while nobody else writes. Each is written as it is found to fit, and taken back
        when a later one does not."""
        now_us, wall_ms = int(self.clock.monotonic() * 1_000_000.0), self.clock.wall_ns() // 1_000_000
        words, holds, present = self.words, self.held, self.windows.present
        slots, columns = self.slots, self.columns
        refusing, worst_us, low = -1, 0, False
        taken: list[Standing] = []
        for counter, amount, hard in asks:
            slot = counter.slot
            if slot < 0:
                slot = self.place(counter)
                words, holds, slots = self.words, self.held, self.slots
            row, limit, rate_us = slot * WORDS, counter.limit, counter.rate_us
            if rate_us:
                start = words[row + MARK]
                if not now_us < start <= now_us + 2 * rate_us:
                    start = now_us  # as rate_start says
                if limit:
                    mark = start + amount * rate_us // limit
                    ahead_us, wait_us = mark - now_us, mark - now_us - rate_us
                    left = -wait_us * limit // rate_us  # as rate_left says
                else:
                    mark, ahead_us, wait_us, left = start, start - now_us, 1, -1
                one = (left, ahead_us, start, 0, 0)
                if wait_us <= 0 or not hard:
                    if refusing < 0:
                        words[row + MARK] = mark
                        words[row + FORGET] = wall_ms + ahead_us // 1000
                    wait_us = 0
            else:
                begun = words[row + MARK]
                mark, until = present.get(counter.period, (0, 0))
                if begun > mark or not mark <= wall_ms < until:
                    mark, until = self.windows.not_before(begun, counter.period, wall_ms)
                used = words[row + USED] if begun == mark else 0
                held = holds[slot]
                if columns == 2:
                    held += holds[slots + slot]
                elif columns > 2:
                    held = sum(holds[slot::slots])
                left, wait_us = limit - used - held - amount, (until - wall_ms) * 1000
                one = (left, wait_us, mark, used, held)
                if left >= 0 or not hard:
                    if refusing < 0:
                        if begun != mark:
                            words[row + USED] = 0
                            words[row + MARK] = mark
                            words[row + FORGET] = until
                        holds[self.column * slots + slot] += amount
                    wait_us = 0
            low = low or left <= counter.near
            if wait_us:
                wait_us = NEVER_US if amount > limit else wait_us
                if refusing < 0:
                    self._take_back(asks, taken)
                if refusing < 0 or (worst_us != NEVER_US and (wait_us == NEVER_US or wait_us > worst_us)):
                    refusing, worst_us = len(taken), wait_us
            taken.append(one)
        return _new(Verdict, (refusing, worst_us, taken, False, low))

    def _take_back(self, asks: Sequence[Ask], taken: Sequence[Standing]) -> None:
        """Undo the first asks of a reservation, those that were written before one did not fit."""
        for (counter, amount, _), one in zip(asks, taken, strict=False):
            if counter.rate_us:
                self.words[counter.slot * WORDS + MARK] = one[2]
            else:
                self.held[self.column * self.slots + counter.slot] -= amount

    def give_back(self, ends: Sequence[End], *, local: bool = False) -> None:
        """Settle; to be called while nobody else writes. What was used counts in the window that is now."""
        wall_ms, words, present = self.clock.wall_ns() // 1_000_000, self.words, self.windows.present
        for end in ends:
            counter, reserved, actual, _ = end
            if counter.rate_us and actual == reserved:
                continue  # it was taken as it was used
            slot = counter.slot
            if slot < 0:
                slot = self.place(counter)
                words = self.words
            row = slot * WORDS
            if counter.rate_us:
                words[row + MARK] = rate_settled(words[row + MARK], self.clock.now_us(), end)
                continue
            begun = words[row + MARK]
            mark, until = present.get(counter.period, (0, 0))
            if begun > mark or not mark <= wall_ms < until:
                mark, until = self.windows.not_before(begun, counter.period, wall_ms)
            if begun != mark:
                words[row + USED] = 0
                words[row + MARK] = mark
                words[row + FORGET] = until
            words[row + USED] += actual
            mine = self.column * self.slots + slot
            left = self.held[mine] - reserved
            self.held[mine] = left if left > 0 else 0

    def states(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        """Return used, held, left and microseconds until all is free, of each."""
        now_us, wall_ms = self.clock.now_us(), self.clock.wall_ms()
        found = []
        for counter in counters:
            slot = counter.slot if counter.slot >= 0 else self.place(counter)
            mark = self.words[slot * WORDS + MARK]
            if counter.rate_us:
                start = rate_start(mark, now_us, counter.rate_us)
                left = rate_left(start, now_us, counter)
                found.append((counter.limit - left, 0, left, start - now_us))
                continue
            begin, until = self.windows.not_before(mark, counter.period, wall_ms)
            used, held = self.words[slot * WORDS + USED] if mark == begin else 0, sum(self.held[slot :: self.slots])
            found.append((used, held, counter.limit - used - held, (until - wall_ms) * 1000))
        return found

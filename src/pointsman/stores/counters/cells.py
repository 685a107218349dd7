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
    Taken,
    Verdict,
    Windows,
    rate_left,
    rate_settled,
    rate_start,
)
from pointsman.stores.counters.base import Clock

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

    def take(self, asks: Sequence[Ask]) -> Verdict:
        """Reserve all, or none; to be called while nobody else writes."""
        now_us, wall_ms = self.clock.now_us(), self.clock.wall_ms()
        words, present, refusing, worst_us, low = self.words, self.windows.present, -1, 0, False
        taken: list[Taken] = []
        marks: list[int] = []
        for at, (counter, amount, hard) in enumerate(asks):
            slot = counter.slot if counter.slot >= 0 else self.place(counter)
            row, limit, rate_us = slot * WORDS, counter.limit, counter.rate_us
            if rate_us:
                start = words[row + MARK]
                if not now_us < start <= now_us + 2 * rate_us:
                    start = now_us  # as rate_start says
                end = start + (amount * rate_us // limit if limit else 0)
                wait_us = end - now_us - rate_us if limit else 1
                left = (rate_us - (end - now_us)) * limit // rate_us if limit else -1  # as rate_left says
                mark, one = end, _new(Taken, (left, end - now_us, start, 0, 0))
            else:
                begun = words[row + MARK]
                mark, until = present.get(counter.period, (0, 0))
                if begun > mark or not mark <= wall_ms < until:
                    mark, until = self.windows.not_before(begun, counter.period, wall_ms)
                used = words[row + USED] if begun == mark else 0
                held = self.held[slot] if self.columns == 1 else sum(self.held[slot :: self.slots])
                wait_us = (until - wall_ms) * 1000
                left = limit - used - held - amount
                one = _new(Taken, (left, wait_us, mark, used, held))
                wait_us = wait_us if left < 0 else 0
            low = low or left <= counter.near
            taken.append(one)
            marks.append(mark)
            if hard and wait_us > 0:
                wait_us = NEVER_US if amount > limit else wait_us
                if refusing < 0 or (worst_us != NEVER_US and (wait_us == NEVER_US or wait_us > worst_us)):
                    refusing, worst_us = at, wait_us
        if refusing >= 0:
            return Verdict(refusing, worst_us, taken)
        holds, mine = self.held, self.column * self.slots
        for (counter, amount, _), mark, one in zip(asks, marks, taken, strict=True):
            slot = counter.slot
            row = slot * WORDS
            if counter.rate_us:
                words[row + MARK] = mark
                words[row + FORGET] = wall_ms + one[1] // 1000
                continue
            if words[row + MARK] != mark:
                words[row + USED] = 0
                words[row + MARK] = mark
                words[row + FORGET] = wall_ms + one[1] // 1000
            holds[mine + slot] += amount
        return _new(Verdict, (-1, 0, taken, False, low))

    def give_back(self, ends: Sequence[End]) -> None:
        """Settle; to be called while nobody else writes. What was used counts in the window that is now."""
        wall_ms, words, present = self.clock.wall_ms(), self.words, self.windows.present
        for end in ends:
            counter, reserved, actual, _ = end
            if counter.rate_us and actual == reserved:
                continue  # it was taken as it was used
            slot = counter.slot if counter.slot >= 0 else self.place(counter)
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

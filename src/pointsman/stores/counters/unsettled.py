"""Unsettled: settlements until the server has said that it has them; on another connection they are sent again.

Each has a number, and numbers rise, so that the server takes it once. One that the server could not take (a lock that was
not to be had, a replica that is not to be written: nothing of it was done) waits for the next tick and gets another number,
as later ones may have been taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pointsman.core.quotas import End

MOST = 100_000  # that wait; beyond, the oldest are given up
TRIES = 10  # of one that the server says it cannot take

Ends = Sequence[End]


class Unsettled:
    """Hold settlements in the order in which they leave. `given_up` is called for each that never will."""

    def __init__(self, given_up: Callable[[], None]) -> None:
        self._given_up = given_up
        self._waiting: deque[tuple[int, Ends, int]] = deque()  # number, what, and how often it was tried in vain
        self._sent = 0  # of these, from the left, on the present connection
        self._refused: list[tuple[Ends, int]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._refused)

    def add(self, ends: Ends, tries: int = 0) -> None:
        self._number += 1
        self._waiting.append((self._number, ends, tries))
        if len(self) > MOST:
            self._waiting.popleft()
            self._sent = max(0, self._sent - 1)
            self._given_up()

    def unsent(self) -> Iterator[tuple[int, Ends]]:
        """Yield, as sent, what the present connection has not seen."""
        while self._sent < len(self._waiting):
            number, ends, _ = self._waiting[self._sent]
            self._sent += 1
            yield number, ends

    def answered(self, number: int, *, taken: bool) -> None:
        """Note what the server said of a settlement; those before it have their answers too."""
        while self._waiting and self._waiting[0][0] <= number:
            this, ends, tries = self._waiting.popleft()
            self._sent = max(0, self._sent - 1)
            if this == number and not taken:
                if tries + 1 < TRIES:
                    self._refused.append((ends, tries + 1))
                else:
                    self._given_up()

    def again(self, *, all: bool = False) -> None:
        """Let those that were refused leave again; `all`: also those that have left, as this is another connection."""
        if all:
            self._sent = 0
        refused, self._refused = self._refused, []
        for ends, tries in refused:
            self.add(ends, tries)

"""The protocol of a counter store, and what all of them take their time from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pointsman.core.quotas import Ask, Counter, End, Verdict

Then = Callable[[Verdict], None]


class CountersError(OSError):
    """Say that the counters cannot be used: the file is full, locked for too long or not writable."""


class Clock:
    """Read time. Rates go by the monotonic clock, which is the same in all processes of a machine; calendar windows by the
    wall clock."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,  # seconds
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.monotonic = monotonic
        self.wall_ns = wall_ns

    def now_us(self) -> int:
        """Return microseconds of the monotonic clock."""
        return int(self.monotonic() * 1_000_000.0)

    def wall_ms(self) -> int:
        """Return Unix milliseconds."""
        return self.wall_ns() // 1_000_000


class Counters(Protocol):
    """Reserve before and settle after. All asks of a reservation are granted, or none is."""

    local: bool  # it has lost its shared store and counts this replica's share
    failures: dict[str, int]  # calls of the shared store that failed, by what went wrong

    def reserve(self, asks: Sequence[Ask], then: Then) -> Verdict | None:
        """Return the verdict, or None: it is then given to `then` within the store's bound. Raise CountersError when there
        is none to be had."""

    def settle(self, ends: Sequence[End], *, local: bool = False) -> None:
        """Book what was used and give back what was held; `local` as the verdict said. Never raises, never waits. Who asks
        here sees it at once, others after `flush`."""

    def flush(self) -> None:
        """Carry out what `settle` has put off, which it may to the end of a turn of the loop. Never raises."""

    def read(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        """Return used, held, left and microseconds until all is free again, as last known here."""

    def tick(self) -> None:
        """Do what is due once a second."""

    def close(self) -> None: ...

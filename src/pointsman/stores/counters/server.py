"""The protocol of a server that many machines share counters in: what `SharedCounters` asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

OWNER_MS = 10_000  # that an owner may be silent before what it holds is given back
KEPT_MS = 172_800_000  # that a counter outlives its window: requests under way may still hold of it


class Fault:
    """Hold what the server said instead of an answer."""

    def __init__(self, said: str) -> None:
        self.said = said


Figures = list[int]
Reply = Figures | Fault | None  # None: the connection was lost first
Done = Callable[[Reply], None]


class Server(Protocol):
    """Carry decisions out, each in one step and on the server's own clock. All calls are taken at once and in order, only
    while `is_up`; each `done` is called once, on the event loop. Made with a call for when it is up, which is given the
    server's time in microseconds, and one for when it no longer is."""

    why: str  # what it said when it was last not to be had, "" when nothing

    @property
    def is_up(self) -> bool: ...

    def open(self) -> None:
        """Begin to connect if there is no connection; bounded in time."""

    def close(self) -> None:
        """Give the connection up at once; `open` makes another."""

    async def finish(self) -> None:
        """Wait until all that was asked is answered, and close; bounded in time."""

    def reserve(self, latest_us: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        """Reserve of each counter, or of none. `figures` of each: period of the rate (0: a window), limit, begin and end of
        the window, end of the next, amount, whether it is hard. The reply: place of what refuses or -1 (-2: it is later than
        `latest_us`), wait, time, then the five of `Taken` for each."""

    def settle(self, number: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        """Settle, once for each `number`, which rises. `figures` as above, but at the end reserved, actual and start."""

    def beat(self, known: Mapping[str, int] | None, done: Done) -> None:
        """Say that we live, and give back what silent owners held; with `known`, by counter, also whatever else the server
        believes that we hold. The reply: the time."""

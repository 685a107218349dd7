"""Spending: what routes with a limit or a fact of the day have cost today (UTC), over all workers of this machine.

Each worker counts its own and writes that once a second; it reads the others' as often. So the sum is late by a second of
the others' traffic, and what a killed worker spent in its last second is forgotten. (Exact budgets come with the stores.)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

DAY_MS = 86_400_000
PREFIX = "spent-"


class Spent(msgspec.Struct):
    """Hold one worker's sums of a day, counted from 1970-01-01."""

    day: int = 0
    nano: dict[str, int] = {}


class Spending:
    """Sum charges by route, in nano-dollars. `tracked`: the routes that anybody asks about."""

    def __init__(self) -> None:
        self.tracked: frozenset[str] = frozenset()
        self._path: Path | None = None
        self._own = Spent()
        self._held: dict[str, int] = {}  # predicted for requests under way
        self._others: dict[str, int] = {}
        self._others_day = 0
        self._dirty = False

    def open(self, folder: Path, number: int) -> None:
        """Go on from what the worker of this number wrote last; share with the others in `folder`."""
        self._path = folder / f"{PREFIX}{number}.msgpack"
        self._own = _read(self._path)

    def add(self, routes: Iterable[str], nano: int, wall_ms: int) -> None:
        """Count a charge under each of `routes` that is tracked."""
        day = wall_ms // DAY_MS
        if day > self._own.day:  # not when the clock has gone back: what was spent stays spent (fault 86)
            self._own = Spent(day, {})
        for route in routes:
            if route in self.tracked:
                self._own.nano[route] = self._own.nano.get(route, 0) + nano
                self._dirty = True

    def hold(self, routes: Iterable[str], nano: int) -> None:
        """Reserve what a request under way is predicted to cost; a negative amount gives it back."""
        for route in routes:
            if route in self.tracked or nano < 0:
                self._held[route] = max(0, self._held.get(route, 0) + nano)

    def total(self, route: str, wall_ms: int) -> int:
        """Return what a route has cost today, with what its requests under way are predicted to."""
        day = wall_ms // DAY_MS
        own = self._own.nano.get(route, 0) if self._own.day >= day else 0
        return own + self._held.get(route, 0) + (self._others.get(route, 0) if self._others_day == day else 0)

    def exchange(self, wall_ms: int) -> None:
        """Write our sums and read the others'. To be called once a second; a file that cannot be used is left alone."""
        if not self.tracked or self._path is None:
            return
        if self._dirty:
            try:
                fresh = self._path.with_suffix(".new")
                fresh.write_bytes(msgspec.msgpack.encode(self._own))
                fresh.replace(self._path)
                self._dirty = False
            except OSError:
                pass  # tried again in a second
        day, others = wall_ms // DAY_MS, dict[str, int]()
        for path in self._path.parent.glob(f"{PREFIX}*.msgpack"):
            spent = _read(path) if path != self._path else Spent()
            for route, nano in spent.nano.items() if spent.day >= day else ():
                others[route] = others.get(route, 0) + nano
        self._others, self._others_day = others, day


def _read(path: Path) -> Spent:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Spent)
    except (OSError, msgspec.MsgspecError):
        return Spent()

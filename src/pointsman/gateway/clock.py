"""The clock of a worker: one object, so that a simulation can put another in its place."""

from __future__ import annotations

import time


class Clock:
    """Read time."""

    monotonic = staticmethod(time.monotonic)
    wall_ns = staticmethod(time.time_ns)

    def now_ms(self) -> float:
        """Return milliseconds of the monotonic clock."""
        return self.monotonic() * 1000.0

    def wall_ms(self) -> int:
        """Return Unix milliseconds."""
        return self.wall_ns() // 1_000_000

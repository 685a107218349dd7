"""One timer for all streams: callbacks in buckets of a millisecond, so that 2,000 paced streams cost one loop timer."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable


class Wheel:
    """Call back at a time of the loop's clock, to the next whole millisecond. Holds what is pending, nothing else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, list[Callable[[], None]]] = {}
        self._ticks: list[int] = []
        self._armed: tuple[int, asyncio.TimerHandle] | None = None

    def now_s(self) -> float:
        return self._loop.time()

    def at(self, due_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` at `due_s` or up to a millisecond later. There is no cancel: a callback must bear being stale."""
        tick = math.ceil(due_s * 1000)
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.append(callback)
            return
        self._buckets[tick] = [callback]
        heapq.heappush(self._ticks, tick)
        if self._armed is None or tick < self._armed[0]:
            self._arm()

    def close(self) -> None:
        """Forget everything that is pending."""
        self._buckets.clear()
        self._ticks.clear()
        if self._armed is not None:
            self._armed[1].cancel()
            self._armed = None

    def _arm(self) -> None:
        if self._armed is not None:
            self._armed[1].cancel()
            self._armed = None
        if self._ticks:
            tick = self._ticks[0]
            self._armed = tick, self._loop.call_at(tick / 1000, self._turn)

    def _turn(self) -> None:
        self._armed = None
        now_tick = math.floor(self._loop.time() * 1000 + 0.5)
        try:
            while self._ticks and self._ticks[0] <= now_tick:
                bucket = self._buckets[self._ticks[0]]
                while bucket:
                    bucket.pop()()
                del self._buckets[heapq.heappop(self._ticks)]
        finally:  # one callback that fails must not stop the others' time
            self._arm()

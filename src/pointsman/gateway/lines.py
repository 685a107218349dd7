"""Lines: requests that wait for room in a quota instead of being refused, first come, first served.

One line for each counter that somebody waits for, in this worker. Only the first of a line is asked for; the others come after
it, and so does who comes later, whatever room there is by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pointsman.core.quotas import NEVER_US

if TYPE_CHECKING:
    from pointsman.core.quotas import Ask, Counter, End
    from pointsman.gateway.clock import Clock
    from pointsman.gateway.within import Waiting


class Line:
    """Hold who waits for one counter. `timer` is set, or the first is being asked for, or nobody waits."""

    __slots__ = ("due_ms", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.due_ms = 0.0


class Lines:
    """Keep the lines of one worker; `count` requests stand in them, at most `most`. Times are monotonic milliseconds."""

    def __init__(self, clock: Clock) -> None:
        self.count = 0
        self.most = 0
        self._clock = clock
        self._closed = False
        self._lines: dict[Counter, Line] = {}

    def joins(self, waiting: Waiting, counter: Counter, wait_us: int) -> bool:
        """Let a request wait that its counter has no room for: at the head if it was its turn, else at the end. False when
        it has to be refused: there would be no room in its time, too many wait, or the router ends."""
        now_ms, wait_ms = self._clock.now_ms(), wait_us / 1000.0
        until_ms = waiting.until_ms or now_ms + counter.quota.wait_ms
        first = waiting.turn is counter
        if wait_us == NEVER_US or now_ms + wait_ms > until_ms or not (first or self._has_room(waiting)):
            return False
        waiting.until_ms, before, waiting.turn = until_ms, waiting.turn, None
        line = self._lines.setdefault(counter, Line())
        if first:
            line.waiting.appendleft(waiting)
        else:
            line.waiting.append(waiting)
        self.count += 1
        if line.waiting[0] is waiting:
            self._wake_at(counter, line, now_ms + wait_ms)
        if before is not None and not first:
            self.turned(before)  # it goes on in another line
        return True

    def behind(self, waiting: Waiting, asks: Iterable[Ask]) -> bool:
        """Let a request that has just come stand behind those that wait for one of its counters. False: there are none, or
        it may not wait, and then it is asked for at once."""
        for counter, _, hard in asks:
            line = self._lines.get(counter)
            if line is not None and hard and counter.quota.wait_ms and self._has_room(waiting):
                waiting.until_ms = self._clock.now_ms() + counter.quota.wait_ms
                line.waiting.append(waiting)
                self.count += 1
                return True
        return False

    def turned(self, counter: Counter) -> None:
        """Go on with the next of a line, as its first has come in, was refused or is gone."""
        line = self._lines.get(counter)
        if line is not None:
            self._go_on(counter, line, self._clock.now_ms())

    def freed(self, ends: Iterable[End]) -> None:
        """Ask for the first of the lines whose counters have got something back."""
        now_ms = self._clock.now_ms()
        for counter, reserved, used, _ in ends:
            line = self._lines.get(counter)
            if line is not None and used < reserved and line.timer is not None:
                self._wake_at(counter, line, now_ms)

    def close(self) -> None:
        """Let nobody wait any longer: who has no room now is refused."""
        if self._closed:
            return
        self._closed = True
        for counter, line in list(self._lines.items()):
            for waiting in line.waiting:
                waiting.until_ms = self._clock.now_ms()
            if line.timer is not None:
                self._wake_at(counter, line, self._clock.now_ms())

    def _has_room(self, waiting: Waiting) -> bool:
        return not self._closed and self.count < self.most and not waiting.worker.gate.pressure.short

    def _wake_at(self, counter: Counter, line: Line, due_ms: float) -> None:
        if line.timer is not None:
            if line.due_ms <= due_ms:
                return
            line.timer.cancel()
        line.due_ms = due_ms
        delay_s = max(0.0, due_ms - self._clock.now_ms()) / 1000.0
        line.timer = asyncio.get_running_loop().call_later(delay_s, self._wake, counter, line)

    def _wake(self, counter: Counter, line: Line) -> None:
        line.timer = None
        while line.waiting:
            first = line.waiting.popleft()
            self.count -= 1
            if not first.gone:
                first.its_turn(counter)
                return
        self._lines.pop(counter, None)

    def _go_on(self, counter: Counter, line: Line, due_ms: float) -> None:
        if line.waiting:
            self._wake_at(counter, line, due_ms)
        else:
            self._lines.pop(counter, None)

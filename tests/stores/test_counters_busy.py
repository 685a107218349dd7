"""How long a decision waits for a shared store: for a word of it, not for its turn; and not because our own loop was late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from counter_kit import counter, take

from pointsman.core.quotas import Verdict, Windows
from pointsman.stores.counters.base import Clock
from pointsman.stores.counters.server import Done
from pointsman.stores.counters.shared import SharedCounters

QUOTA = counter("requests", 100, "d")


class Slow:
    """A server that answers one reservation every `pause_s`, in their order; 0: never."""

    why, is_up = "", True

    def __init__(self) -> None:
        self.pause_s = 0.0
        self._waiting: list[Done] = []

    def connect(self, up: Callable[[int], None], down: Callable[[], None]) -> Slow:
        self._up = up
        return self

    def open(self) -> None:
        self._up(_now_us())

    def close(self) -> None: ...

    async def finish(self) -> None: ...

    def reserve(self, latest_us: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        self._waiting.append(done)
        if self.pause_s and len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(self.pause_s, self._answer)

    def settle(self, number: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        done([])

    def beat(self, known: Mapping[str, int] | None, done: Done) -> None:
        done([_now_us()])

    def _answer(self) -> None:
        self._waiting.pop(0)([-1, 0, _now_us(), 50, 1_000_000, 0, 0, 0])
        if self._waiting:
            asyncio.get_running_loop().call_later(self.pause_s, self._answer)


def _now_us() -> int:
    return time.time_ns() // 1000


async def asked(server: Slow, count: int) -> tuple[SharedCounters, list[Verdict], float]:
    """Ask so often at once; return the store, what it said, and the seconds until all was said."""
    store = SharedCounters(server.connect, 2, 0, Clock(), Windows())
    assert await store.ready(1)
    began_s = time.monotonic()
    verdicts = await asyncio.gather(*(take(store, (QUOTA, 1)) for _ in range(count)))
    store.close()
    return store, verdicts, time.monotonic() - began_s


async def test_f77_who_stands_in_a_line_that_moves_waits_on() -> None:
    server = Slow()
    server.pause_s = 0.015
    store, verdicts, took_s = await asked(server, 15)
    assert took_s > 0.15 and not any(one.local for one in verdicts) and store.failures == {}


async def test_f84_half_a_second_is_the_most() -> None:
    server = Slow()
    server.pause_s = 0.02
    store, verdicts, took_s = await asked(server, 60)
    assert sum(one.local for one in verdicts) >= 60 - 26 and 0.45 < took_s < 0.8
    assert set(store.failures) == {"timeout"} and store.local


async def test_f84_silence_is_waited_for_no_longer_than_50_ms() -> None:
    store, verdicts, took_s = await asked(Slow(), 10)
    assert all(one.local for one in verdicts) and 0.045 < took_s < 0.2 and store.local


async def test_f77_a_loop_that_was_late_itself_is_no_failure() -> None:
    server = Slow()
    server.pause_s = 0.001
    store = SharedCounters(server.connect, 2, 0, Clock(), Windows())
    assert await store.ready(1)
    coming = [asyncio.ensure_future(take(store, (QUOTA, 1))) for _ in range(8)]
    await asyncio.sleep(0)  # all have asked
    time.sleep(0.12)  # as a worker does that parses a hundred requests on a busy machine
    verdicts = await asyncio.gather(*coming)
    assert not any(one.local for one in verdicts) and store.failures == {}
    store.close()

"""Measure what quotas cost a request: reserve and settle of three counters, in memory, in the file, in Redis or PostgreSQL.

    python bench/quotas.py [redis://HOST:PORT] [postgresql://USER:PASSWORD@HOST:PORT/DATABASE]

Prints microseconds of CPU per request, the best of many batches, and for a server the time until the answer as well; then
the same with leases, and how many calls of the server a request cost.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pointsman.core.quotas import Ask, Counter, End, Quota, Verdict, Windows
from pointsman.gateway.reservation import headers_of
from pointsman.stores.counters.base import Clock, Counters
from pointsman.stores.counters.choose import Place, open_counters

BATCHES, ROUNDS = 60, 200
QUOTAS = (
    Quota(name="requests", scope="key", measure="requests", amount=10**7, period="m"),
    Quota(name="tokens", scope="team", measure="tokens", amount=10**7, period="m"),
    Quota(name="usd", scope="key", measure="usd", amount=10**15, period="d"),
)


def asks() -> list[Ask]:
    amounts = (1, 900, 2_500_000)
    return [(Counter(quota, "dev"), amount, True) for quota, amount in zip(QUOTAS, amounts, strict=True)]


def ends(asked: list[Ask], verdict: Verdict) -> list[End]:
    return [(one[0], one[1], one[1] // 2, t[2]) for one, t in zip(asked, verdict.taken, strict=True)]


def at_once(store: Counters) -> float:
    """Return microseconds per request of a store that answers at once."""
    asked = asks()
    times_s = []
    for _ in range(BATCHES):
        began_s = time.process_time()
        for _ in range(ROUNDS):
            verdict = store.reserve(asked, lambda verdict: None)
            assert verdict is not None
            headers_of(asked, verdict.taken)
            store.settle(ends(asked, verdict))
        times_s.append(time.process_time() - began_s)
    return min(times_s) / ROUNDS * 1e6


async def later(store: Counters) -> tuple[float, float]:
    """Return microseconds of CPU per request, 32 together, and of the round trip of one alone."""
    await store.ready(2)  # type: ignore[attr-defined]
    asked, loop = asks(), asyncio.get_running_loop()

    async def one() -> None:
        coming: asyncio.Future[Verdict] = loop.create_future()
        assert store.reserve(asked, coming.set_result) is None
        verdict = await coming
        headers_of(asked, verdict.taken)
        store.settle(ends(asked, verdict))

    cpu_s, trips_s = [], []
    for _ in range(BATCHES):
        began_s = time.process_time()
        await asyncio.gather(*(one() for _ in range(32)))
        cpu_s.append((time.process_time() - began_s) / 32)
        began_s = time.perf_counter()
        await one()
        trips_s.append(time.perf_counter() - began_s)
    return min(cpu_s) * 1e6, sorted(trips_s)[len(trips_s) // 2] * 1e6


class Calls:
    """Count the calls of a shared store's server."""

    def __init__(self, store: Counters) -> None:
        self.count = 0
        server = store._server  # type: ignore[attr-defined]
        self._reserve, self._settle = server.reserve, server.settle
        server.reserve, server.settle = self.reserve, self.settle

    def reserve(self, *given: Any) -> None:
        self.count += 1
        self._reserve(*given)

    def settle(self, *given: Any) -> None:
        self.count += 1
        self._settle(*given)


async def steady(store: Counters) -> tuple[float, float, float]:
    """Return microseconds of CPU per request, calls per request, and the median wait, at 1,000 requests a second."""
    await store.ready(2)  # type: ignore[attr-defined]
    asked, loop, calls = asks(), asyncio.get_running_loop(), Calls(store)
    waits_s, count = [], 3_000

    async def one() -> None:
        began_s = time.perf_counter()
        coming: asyncio.Future[Verdict] = loop.create_future()
        verdict = store.reserve(asked, coming.set_result) or await coming
        waits_s.append(time.perf_counter() - began_s)
        headers_of(asked, verdict.taken)
        store.settle(ends(asked, verdict))

    began_s = time.process_time()
    for _ in range(count // 5):
        await asyncio.gather(*(one() for _ in range(5)))
        await asyncio.sleep(0.005)
    cpu_s = time.process_time() - began_s
    return cpu_s / count * 1e6, calls.count / count, sorted(waits_s)[count // 2] * 1e6


def main() -> None:
    import uvloop

    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), 1, 4, 1, "bench")
        for url in ("memory:", "file:"):
            store = open_counters(url, place, Clock(), Windows())
            print(f"{at_once(store):8.1f} µs per request, {url}", flush=True)
            store.close()

        async def shared(url: str) -> None:
            store = open_counters(url, place, Clock(), Windows())
            cpu_us, trip_us = await later(store)
            print(f"{cpu_us:8.1f} µs per request, {url.split(':')[0]}:, and {trip_us:.0f} µs until the answer")
            store.close()

        async def leased(url: str, lease_ms: int) -> None:
            store = open_counters(url, place._replace(lease_ms=lease_ms), Clock(), Windows())
            cpu_us, calls, wait_us = await steady(store)
            name = f"{url.split(':')[0]}: at 1,000/s, leases of {lease_ms} ms"
            print(f"{cpu_us:8.1f} µs per request, {calls:.2f} calls, {wait_us:.0f} µs until the answer, {name}")
            store.close()

        for url in sys.argv[1:]:
            uvloop.run(shared(url))
            for lease_ms in (0, 100):
                uvloop.run(leased(url, lease_ms))


if __name__ == "__main__":
    main()

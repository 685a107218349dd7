"""Counter stores for the tests: each back end with a clock that the test sets, and what a quota is in short."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointsman.core.quotas import Counter, Quota, Taken, Verdict, Windows
from pointsman.stores.counters.base import Clock, Counters
from pointsman.stores.counters.choose import Place, open_counters

NOON_MS = 1_790_000_000_000  # 2026-09-21T14:13:20Z, far from the end of any window but the minute's and the second's


class Hands:
    """The hands of a clock that the test moves. Redis has its own clock, which nobody moves."""

    def __init__(self) -> None:
        self.now_ms = 5_000_000.0
        self.wall_ms = NOON_MS

    def clock(self) -> Clock:
        return Clock(lambda: self.now_ms / 1000.0, lambda: self.wall_ms * 1_000_000)

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self.wall_ms += ms


def quota(measure: str, amount: int, period: str, **more: Any) -> Quota:
    return Quota(name=f"{measure}/{period}", measure=measure, amount=amount, period=period, **more)  # type: ignore[arg-type]


def counter(measure: str, amount: int, period: str, subject: str = "", **more: Any) -> Counter:
    return Counter(quota(measure, amount, period, scope="key" if subject else "", **more), subject)


def opened(url: str, folder: Path, number: int = 1, workers: int = 4, **more: Any) -> Counters:
    """Open a store as the worker of this number."""
    owner = more.get("owner", f"w{number}")
    place = Place(folder, number, workers, more.get("replicas", 1), owner, more.get("lease_ms", 0))
    windows = more.get("windows") or Windows()
    return open_counters(url, place, more.get("clock") or Clock(), windows)


async def ready(store: Counters) -> Counters:
    """Wait until a shared store has been reached."""
    if hasattr(store, "ready"):
        assert await store.ready(5), "no counters"
    return store


async def take(store: Counters, *asked: tuple[Counter, int], hard: bool = True) -> Verdict:
    """Reserve, and wait for the verdict."""
    coming: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def then(verdict: Verdict) -> None:
        if not coming.done():
            coming.set_result(verdict)

    verdict = store.reserve([(one, amount, hard and one.hard) for one, amount in asked], then)
    verdict = verdict if verdict is not None else await asyncio.wait_for(coming, 5)
    return verdict._replace(taken=[Taken._make(one) for one in verdict.taken])


def settle(store: Counters, verdict: Verdict, asked: Sequence[tuple[Counter, int]], *actual: int) -> None:
    """Settle what `take` has reserved."""
    ends = [(one, amount, used, t[2]) for (one, amount), used, t in zip(asked, actual, verdict.taken, strict=True)]
    store.settle(ends, local=verdict.local)
    store.flush()


async def until_settled(store: Counters) -> None:
    """Wait until a shared store has taken the settlements over."""
    for _ in range(500):
        if not getattr(store, "_unsettled", None):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("settlements are still waiting")

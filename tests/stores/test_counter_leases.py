"""Leases of busy counters: taken by use, used without asking, given back soon, and never a reason to refuse or to exceed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from counter_kit import counter, opened, ready, settle, take, until_settled

from counter_servers import SHARED, Shared, started
from pointsman.core.quotas import Counter
from pointsman.stores.counters.base import Counters

LEASE_MS = 60


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    (tmp_path / "server").mkdir()
    postgres = request.getfixturevalue("postgres") if request.param == "postgresql:" else None
    yield from started(request.param, tmp_path / "server", postgres)


@pytest.fixture
async def store(place: Shared, tmp_path: Path) -> AsyncIterator[Counters]:
    found = opened(place.url, tmp_path, 1, 1, lease_ms=LEASE_MS)
    yield await ready(found)
    found.close()


async def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    until_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.005)


def held(place: Shared, name: str) -> int:
    return place.state(name)[1]


async def busy(store: Counters, *asked: tuple[Counter, int]) -> int:
    """Ask until it is granted at once, as often as the first answer came later; return how often it was granted."""
    count = 0
    until_s = time.monotonic() + 30
    while True:
        coming = asyncio.get_running_loop().create_future()
        verdict = store.reserve([(one, amount, True) for one, amount in asked], coming.set_result)
        at_once, verdict = verdict is not None, verdict or await coming
        assert verdict.refusing < 0 and not verdict.local and time.monotonic() < until_s
        settle(store, verdict, asked, *(amount for _, amount in asked))
        count += 1
        if at_once:
            return count
        await asyncio.sleep(0.002)


async def test_a_busy_counter_is_granted_at_once_and_told_as_it_stands(store: Counters, place: Shared) -> None:
    usd, tokens = counter("usd", 1_000_000, "mo"), counter("tokens", 3_600_000, "h")
    granted = await busy(store, (usd, 10), (tokens, 10))
    verdict = await take(store, (usd, 10), (tokens, 10))
    money, flow = verdict.taken
    assert money.left == 1_000_000 - 10 * (granted + 1) and money.reset_us > 0
    assert 0 <= 3_600_000 - flow.left <= 10 * (granted + 1) and flow.reset_us >= 0
    settle(store, verdict, [(usd, 10), (tokens, 10)], 3, 4)
    await until(lambda: place.state("all usd/mo") == (10 * granted + 3, 0))


async def test_an_idle_lease_is_given_back_within_a_second(store: Counters, place: Shared) -> None:
    usd = counter("usd", 1_000_000, "mo")
    await busy(store, (usd, 10))
    assert held(place, "all usd/mo") > 0
    await until(lambda: held(place, "all usd/mo") == 0, 1.0)


async def test_no_lease_of_ones_own_is_a_reason_to_refuse(store: Counters) -> None:
    usd = counter("usd", 100_000, "mo")
    granted = await busy(store, (usd, 10))
    left = 100_000 - 10 * granted
    assert (await take(store, (usd, left))).refusing == -1
    assert (await take(store, (usd, 1))).refusing == 0


async def test_near_the_limit_there_are_no_leases(store: Counters) -> None:
    usd, until_s = counter("usd", 150, "mo"), time.monotonic() + 6 * LEASE_MS / 1000
    while time.monotonic() < until_s:
        coming = asyncio.get_running_loop().create_future()
        assert store.reserve([(usd, 10, True)], coming.set_result) is None
        settle(store, await coming, [(usd, 10)], 0)


async def test_what_was_used_is_booked_to_the_last_cent(store: Counters, place: Shared) -> None:
    draw, usd, requests = random.Random(7), counter("usd", 10**12, "mo"), counter("requests", 10**9, "d")
    asked = [(usd, 1_000), (requests, 1)]
    spent, count = 0, 0

    async def one() -> None:
        nonlocal spent, count
        verdict = await take(store, *asked)
        assert verdict.refusing == -1
        await asyncio.sleep(draw.random() * 0.05)
        actual = draw.randrange(2_000)
        spent, count = spent + actual, count + 1
        settle(store, verdict, asked, actual, 1)

    for _ in range(30):
        await asyncio.gather(*(one() for _ in range(20)))
    await until(lambda: place.state("all usd/mo") == (spent, 0) and place.state("all requests/d") == (count, 0))


async def test_a_rate_lets_no_more_through_than_without_leases(store: Counters) -> None:
    requests = counter("requests", 3_600, "m")  # 60 a second
    began_s, granted, refused = time.monotonic(), 0, 0
    while time.monotonic() - began_s < (1.0 if refused else 20.0):  # to a first refusal, however slow the machine is
        verdicts = await asyncio.gather(*(take(store, (requests, 1)) for _ in range(50)))
        granted += sum(verdict.refusing < 0 and not verdict.local for verdict in verdicts)
        refused += sum(verdict.refusing >= 0 for verdict in verdicts)
        await asyncio.sleep(0)
    took_s = time.monotonic() - began_s
    assert refused and granted <= 3_600 + 60 * took_s + 1


async def test_a_worker_that_ends_gives_its_leases_back(place: Shared, tmp_path: Path) -> None:
    store = await ready(opened(place.url, tmp_path, 1, 1, lease_ms=1_000))
    usd = counter("usd", 1_000_000, "mo")
    granted = await busy(store, (usd, 10))
    assert held(place, "all usd/mo") > 0
    await store.finish()  # type: ignore[attr-defined]
    assert place.state("all usd/mo") == (10 * granted, 0)


async def test_a_worker_that_is_killed_is_done_with_its_leases_when_it_has_been_silent(
    place: Shared, tmp_path: Path
) -> None:
    store = await ready(opened(place.url, tmp_path, 1, 1, lease_ms=1_000, owner="gone"))
    usd = counter("usd", 1_000_000, "mo")
    await busy(store, (usd, 10))
    store.close()
    assert held(place, "all usd/mo") > 0
    place.silence("gone")
    other = await ready(opened(place.url, tmp_path, 2, 1))
    await until(lambda: held(place, "all usd/mo") == 0)
    other.close()


async def test_when_the_server_is_away_the_leases_are_over(place: Shared, store: Counters) -> None:
    usd = counter("usd", 1_000_000, "mo")
    granted = await busy(store, (usd, 10))
    place.freeze()
    try:
        until_s = time.monotonic() + 30
        while not store.local:
            verdict = await take(store, (usd, 10))
            settle(store, verdict, [(usd, 10)], 10)
            granted += 1
            assert time.monotonic() < until_s
            await asyncio.sleep(0.001)
    finally:
        place.thaw()
    while store.local:
        store.tick()
        await asyncio.sleep(0.02)
    await until_settled(store)
    await until(lambda: place.state("all usd/mo") == (10 * granted, 0))


async def test_what_was_decided_alone_may_end_when_the_server_is_back(place: Shared, store: Counters) -> None:
    usd = counter("usd", 1_000, "mo")
    place.freeze()
    try:
        alone = [await take(store, (usd, 1)) for _ in range(8)]
    finally:
        place.thaw()
    assert store.local and all(verdict.local for verdict in alone)
    while store.local:
        store.tick()
        await asyncio.sleep(0.02)
    for verdict in alone:
        settle(store, verdict, [(usd, 1)], 1)
    await until_settled(store)
    assert place.state("all usd/mo") == (8, 0)

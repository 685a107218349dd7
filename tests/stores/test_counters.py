"""What every counter store does, over all of them: reserve all or nothing, settle, give back; rates flow, windows pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from counter_kit import NOON_MS, Hands, counter, opened, ready, settle, take, until_settled
from gateway_redis import RedisServer

from pointsman.core.quotas import NEVER_US
from pointsman.stores.counters.base import Counters
from pointsman.stores.counters.file import FileCounters

BACK_ENDS = ["memory:", "file:", "redis:", "postgresql:"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(params=BACK_ENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, hands: Hands) -> AsyncIterator[Counters]:
    url: str = request.param
    if url == "redis:":
        server: RedisServer = request.getfixturevalue("server")
        server.ask("FLUSHALL")
        found = opened(server.url, tmp_path)
    elif url == "postgresql:":
        found = opened(request.getfixturevalue("postgres_url"), tmp_path)
    else:
        found = opened(url, tmp_path, clock=hands.clock())
    yield await ready(found)
    found.close()


async def test_f76_exactly_what_fits_is_admitted(store: Counters) -> None:
    usd, requests = counter("usd", 10_000, "d"), counter("requests", 10, "h")
    for measure, amount, most in ((usd, 300, 33), (requests, 1, 10)):
        found = [(await take(store, (measure, amount))).refusing for _ in range(100)]
        assert found == [-1] * most + [0] * (100 - most)


async def test_all_are_reserved_or_none(store: Counters) -> None:
    wide, narrow, rate = counter("usd", 1000, "d"), counter("usd", 5, "mo"), counter("tokens", 100, "h")
    verdict = await take(store, (wide, 4), (narrow, 4), (rate, 50))
    assert verdict.refusing == -1 and [one.left for one in verdict.taken] == [996, 1, 50]
    verdict = await take(store, (wide, 4), (narrow, 4), (rate, 50))
    assert verdict.refusing == 1 and verdict.wait_us > 0
    assert [one.left for one in (await take(store, (wide, 1), (rate, 1))).taken] == [995, 49]


async def test_a_refusal_says_what_is_used_and_held_and_when_it_opens(store: Counters) -> None:
    usd = counter("usd", 100, "d")
    first = await take(store, (usd, 40))
    settle(store, first, [(usd, 40)], 30)
    await take(store, (usd, 50))
    await until_settled(store)
    refused = await take(store, (usd, 30))
    (one,) = refused.taken
    assert (refused.refusing, one.used, one.held, one.left) == (0, 30, 50, -10)
    assert 0 < refused.wait_us <= 25 * 3_600_000_000
    (too_much,) = [await take(store, (usd, 101))]
    assert too_much.refusing == 0 and too_much.wait_us == NEVER_US


async def test_what_opens_last_is_what_refuses(store: Counters) -> None:
    day, month, tokens = counter("usd", 10, "d"), counter("usd", 10, "mo"), counter("tokens", 10, "s")
    assert (await take(store, (tokens, 10), (day, 10), (month, 10))).refusing == -1
    assert (await take(store, (tokens, 5), (day, 1), (month, 1))).refusing == 2


async def test_a_settlement_gives_the_difference_back(store: Counters) -> None:
    usd, tokens = counter("usd", 100, "d"), counter("tokens", 1000, "h")
    asked = [(usd, 90), (tokens, 900)]
    settle(store, await take(store, *asked), asked, 10, 100)
    await until_settled(store)
    verdict = await take(store, (usd, 90), (tokens, 900))
    assert verdict.refusing == -1 and [one.left for one in verdict.taken] == [0, 0]
    assert verdict.taken[0].used == 10


async def test_what_was_used_beyond_the_reservation_counts(store: Counters) -> None:
    usd, tokens = counter("usd", 100, "d"), counter("tokens", 1000, "h")
    asked = [(usd, 10), (tokens, 100)]
    settle(store, await take(store, *asked), asked, 95, 990)
    await until_settled(store)
    assert (await take(store, (usd, 6))).refusing == 0 and (await take(store, (usd, 5))).refusing == -1
    assert (await take(store, (tokens, 20))).refusing == 0 and (await take(store, (tokens, 9))).refusing == -1


async def test_a_soft_quota_counts_and_refuses_nobody(store: Counters) -> None:
    usd = counter("usd", 10, "d", over="notify")
    verdicts = [await take(store, (usd, 8)) for _ in range(3)]
    assert [(v.refusing, v.taken[0].left) for v in verdicts] == [(-1, 2), (-1, -6), (-1, -14)]


async def test_f93_after_all_has_ended_nothing_is_held(store: Counters) -> None:
    usd, day = counter("usd", 10**12, "d"), counter("requests", 10**6, "d")
    asked = [(usd, 777), (day, 1)]
    verdicts = [await take(store, *asked) for _ in range(200)]
    for number, verdict in enumerate(verdicts):
        settle(store, verdict, asked, number, 1)
    await until_settled(store)
    (money, count) = (await take(store, (usd, 0), (day, 0))).taken
    assert (money.used, money.held) == (sum(range(200)), 0) and (count.used, count.held) == (200, 0)


async def test_subjects_do_not_share(store: Counters) -> None:
    one, other = counter("requests", 1, "h", "one"), counter("requests", 1, "h", "other")
    assert (await take(store, (one, 1))).refusing == -1
    assert (await take(store, (other, 1))).refusing == -1
    assert (await take(store, (one, 1))).refusing == 0


async def test_who_is_granted_more_goes_on_from_what_was_used(store: Counters) -> None:
    assert (await take(store, (counter("usd", 10, "d"), 10))).refusing == -1
    verdict = await take(store, (counter("usd", 15, "d"), 5))
    assert verdict.refusing == -1 and verdict.taken[0].left == 0


async def test_what_failover_brings_to_a_counter_that_nobody_asked_for_is_counted(store: Counters) -> None:
    for number in range(256):
        await take(store, (counter("usd", 10, "d", f"k{number}"), 1))
    late = counter("usd", 100, "d", "late")
    store.settle([(late, 0, 7, 0)])
    await until_settled(store)
    assert (await take(store, (late, 0))).taken[0].used == 7


# --- time, which stands in the test's hand where it is not Redis'
@pytest.fixture(params=["memory:", "file:"])
def timed(request: pytest.FixtureRequest, tmp_path: Path, hands: Hands) -> Iterator[Counters]:
    found = opened(request.param, tmp_path, clock=hands.clock())
    yield found
    found.close()


async def test_a_rate_flows_and_says_exactly_when(timed: Counters, hands: Hands) -> None:
    requests = counter("requests", 60, "m")
    assert all([(await take(timed, (requests, 1))).refusing == -1 for _ in range(60)])
    refused = await take(timed, (requests, 1))
    assert refused.wait_us == 1_000_000
    hands.pass_ms(999)
    assert (await take(timed, (requests, 1))).refusing == 0
    hands.pass_ms(1)
    assert (await take(timed, (requests, 1))).refusing == -1
    hands.pass_ms(3_600_000)
    assert (await take(timed, (requests, 60))).refusing == -1  # no more than the burst is saved up
    assert (await take(timed, (requests, 1))).refusing == 0


async def test_what_a_rate_has_drained_is_not_given_back_again(timed: Counters, hands: Hands) -> None:
    tokens = counter("tokens", 60, "m")
    first = await take(timed, (tokens, 60))
    hands.pass_ms(50_000)
    assert (await take(timed, (tokens, 50))).refusing == -1
    settle(timed, first, [(tokens, 60)], 0)
    assert (await take(timed, (tokens, 11))).refusing == 0  # not 60 more
    assert (await take(timed, (tokens, 10))).refusing == -1


async def test_f87_a_window_passes_by_itself_and_holds_go_on(timed: Counters, hands: Hands) -> None:
    usd = counter("usd", 100, "m")
    hands.wall_ms = NOON_MS - NOON_MS % 60_000
    first, second = await take(timed, (usd, 60)), await take(timed, (usd, 40))
    settle(timed, first, [(usd, 60)], 60)
    hands.pass_ms(59_999)
    assert (await take(timed, (usd, 1))).refusing == 0
    hands.pass_ms(1)
    verdict = await take(timed, (usd, 60))
    assert verdict.refusing == -1 and (verdict.taken[0].used, verdict.taken[0].held) == (0, 40)
    settle(timed, second, [(usd, 40)], 30)  # it counts where it ends
    assert (await take(timed, (usd, 10))).taken[0].used == 30


async def test_f86_a_clock_that_goes_back_opens_no_window_again(timed: Counters, hands: Hands) -> None:
    usd, requests = counter("usd", 100, "h"), counter("requests", 60, "m")
    settle(timed, await take(timed, (usd, 100)), [(usd, 100)], 100)
    await take(timed, (requests, 60))
    hands.wall_ms -= 3_600_000
    refused = await take(timed, (usd, 1))
    assert refused.refusing == 0 and refused.taken[0].used == 100
    hands.wall_ms += 7_200_000
    assert (await take(timed, (usd, 100))).refusing == -1
    hands.now_ms = 10_000.0  # the machine was started again: its monotonic clock began anew
    assert (await take(timed, (requests, 60))).refusing == -1


# --- the file
def test_a_file_keeps_what_was_used_over_restarts(tmp_path: Path) -> None:
    import asyncio

    async def spend() -> int:
        store, usd = opened("file:", tmp_path), counter("usd", 100, "mo")
        verdict = await take(store, (usd, 50))
        settle(store, verdict, [(usd, 50)], 20)
        await take(store, (usd, 30))  # and is killed
        store.close()
        return verdict.taken[0].used

    assert [asyncio.run(spend()) for _ in range(3)] == [0, 20, 40]


async def test_workers_of_a_file_count_together(tmp_path: Path) -> None:
    stores = [opened("file:", tmp_path, number, 4) for number in range(1, 5)]
    counters = [counter("requests", 10, "d") for _ in stores]
    found = [(await take(stores[n % 4], (counters[n % 4], 1))).refusing for n in range(12)]
    assert found == [-1] * 10 + [0] * 2
    with pytest.raises(OSError, match="another process counts as this worker"):
        opened("file:", tmp_path, 1, 4)
    stores[0].close()  # as a killed worker: the three it held are given back when one starts
    again = opened("file:", tmp_path, 1, 4)
    assert (await take(stores[1], (counters[1], 3))).refusing == -1
    for store in (again, *stores[1:]):
        store.close()


async def test_a_full_table_is_said_and_made_room_in(
    tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.stores.counters.file.MOST_COUNTERS", 8)
    store = opened("file:", tmp_path, clock=hands.clock())
    for number in range(8):
        spent = counter("usd", 10, "mo" if number < 2 else "m", f"k{number}")
        settle(store, await take(store, (spent, 5)), [(spent, 5)], 5)
    with pytest.raises(OSError, match="full"):
        await take(store, (counter("usd", 10, "d", "one more"), 1))
    store.close()
    hands.pass_ms(120_000)
    store = opened("file:", tmp_path, clock=hands.clock())
    assert (await take(store, (counter("usd", 10, "d", "one more"), 1))).refusing == -1
    assert (await take(store, (counter("usd", 10, "mo", "k1"), 0))).taken[0].used == 5
    store.close()


async def test_a_lock_that_is_not_given_back_costs_a_bounded_wait(tmp_path: Path) -> None:
    import time

    store, other = opened("file:", tmp_path, 1), opened("file:", tmp_path, 2)
    assert isinstance(other, FileCounters)
    usd = counter("usd", 10, "d")
    verdict = await take(store, (usd, 5))
    other._lock()
    began_s = time.monotonic()
    with pytest.raises(OSError, match="locked"):
        await take(store, (usd, 1))
    settle(store, verdict, [(usd, 5)], 2)  # put off, not lost
    assert time.monotonic() - began_s < 0.5 and store.failures == {"timeout": 2}
    other._unlock()
    store.tick()
    assert (await take(store, (usd, 0))).taken[0][3:] == (2, 0)
    store.close(), other.close()

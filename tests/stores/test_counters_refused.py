"""Settlements that a shared store cannot take for a while: a replica that is not to be written, a lock that is not free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from counter_kit import counter, opened, ready, settle, take

from counter_servers import SHARED, InPostgres, InRedis, Shared, started
from pointsman.stores.counters.shared import SharedCounters
from pointsman.stores.counters.unsettled import MOST, TRIES, Unsettled
from servers import PostgresServer

QUOTA = counter("usd", 1_000, "mo")


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[Shared]:
    name = request.param
    yield from started(name, tmp_path_factory.mktemp("server"), postgres if name == "postgresql:" else None)


@contextmanager
def refusing(place: Shared) -> Iterator[None]:
    """Have a server refuse what changes something, until the end."""
    if isinstance(place, InRedis):
        place.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        yield
        place.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        return
    assert isinstance(place, InPostgres)
    held = "BEGIN; LOCK TABLE pointsman_cells_1; SELECT pg_sleep(1.6); COMMIT"  # longer than a lock is waited for
    holder = threading.Thread(target=place.run, args=(held,))
    holder.start()
    yield
    holder.join()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("place", SHARED, indirect=True)
async def test_f84_what_was_settled_while_the_server_could_not_be_written_is_there_afterwards(
    place: Shared, tmp_path: Path
) -> None:
    store = await ready(opened(place.url, tmp_path))
    assert isinstance(store, SharedCounters)
    verdicts = [await take(store, (QUOTA, 10)) for _ in range(3)]
    assert not any(one.local for one in verdicts) and place.state("all usd/mo") == (0, 30)
    with refusing(place):
        if isinstance(place, InPostgres):
            await until(lambda: place.locks() > 0)
        for verdict in verdicts:
            settle(store, verdict, [(QUOTA, 10)], 7)
        await until(lambda: store.failures.get("error", 0) > 0)
        store.tick()  # it is tried again, and refused again or held up
    for _ in range(100):
        store.tick()
        await asyncio.sleep(0.05)
        if not store.local and not store._unsettled:
            break
    assert place.state("all usd/mo") == (21, 0) and "unsettled" not in store.failures
    await store.finish()


def test_what_is_refused_leaves_again_under_a_higher_number_and_at_last_is_given_up() -> None:
    lost: list[None] = []
    unsettled = Unsettled(lambda: lost.append(None))
    first, second = [(QUOTA, 1, 1, 0)], [(QUOTA, 2, 2, 0)]
    unsettled.add(first)
    unsettled.add(second)
    assert list(unsettled.unsent()) == [(1, first), (2, second)] and list(unsettled.unsent()) == []
    unsettled.answered(1, taken=False)
    unsettled.answered(2, taken=True)
    assert len(unsettled) == 1 and list(unsettled.unsent()) == []  # not at once
    number = 2
    for _ in range(TRIES - 1):
        unsettled.again()
        [(number, ends)] = list(unsettled.unsent())
        assert ends is first and lost == []
        unsettled.answered(number, taken=False)
    assert (number, len(unsettled), len(lost)) == (2 + TRIES - 1, 0, 1)


def test_another_connection_is_told_again_what_the_one_before_did_not_answer() -> None:
    unsettled = Unsettled(lambda: None)
    for n in range(3):
        unsettled.add([(QUOTA, n, n, 0)])
    assert [number for number, _ in unsettled.unsent()] == [1, 2, 3]
    unsettled.answered(1, taken=True)
    unsettled.again(all=True)
    assert [number for number, _ in unsettled.unsent()] == [2, 3]


def test_the_oldest_are_given_up_when_too_many_wait() -> None:
    lost: list[None] = []
    unsettled = Unsettled(lambda: lost.append(None))
    for n in range(MOST + 3):
        unsettled.add([(QUOTA, n, n, 0)])
    assert len(unsettled) == MOST and len(lost) == 3 and next(unsettled.unsent())[0] == 4

"""What routes cost today, summed over workers through files: late by a look, never twice, never yesterday's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.routing import Stay
from pointsman.gateway.affinity import Affinity
from pointsman.gateway.spending import DAY_MS, Spending

NOON = 20_000 * DAY_MS + DAY_MS // 2


def worker(folder: Path, number: int) -> Spending:
    made = Spending()
    made.tracked = frozenset({"r", "s"})
    made.open(folder, number)
    return made


def test_workers_see_each_others_sums_after_a_look(tmp_path: Path) -> None:
    one, two = worker(tmp_path, 0), worker(tmp_path, 1)
    one.add({"r", "untracked"}, 5, NOON)
    two.add({"r", "s"}, 7, NOON)
    assert (one.total("r", NOON), two.total("r", NOON)) == (5, 7)
    for _ in range(3):  # looking again counts nothing twice
        one.exchange(NOON)
        two.exchange(NOON)
    one.exchange(NOON)
    assert one.total("r", NOON) == two.total("r", NOON) == 12
    assert one.total("s", NOON) == 7 and one.total("untracked", NOON) == 0


def test_a_day_ends_at_midnight_for_ones_own_and_others_sums(tmp_path: Path) -> None:
    one, two = worker(tmp_path, 0), worker(tmp_path, 1)
    one.add({"r"}, 5, NOON)
    two.add({"r"}, 7, NOON)
    one.exchange(NOON)
    two.exchange(NOON)
    one.exchange(NOON)
    tomorrow = NOON + DAY_MS
    assert one.total("r", NOON) == 12 and one.total("r", tomorrow) == 0
    one.exchange(tomorrow)
    assert one.total("r", tomorrow) == 0
    one.add({"r"}, 1, tomorrow)
    two.exchange(tomorrow)
    assert one.total("r", tomorrow) == 1 and two.total("r", tomorrow) == 0


def test_a_worker_that_starts_again_goes_on_and_yesterdays_file_is_not_todays(tmp_path: Path) -> None:
    one = worker(tmp_path, 0)
    one.add({"r"}, 5, NOON)
    one.exchange(NOON)
    assert worker(tmp_path, 0).total("r", NOON) == 5
    assert worker(tmp_path, 0).total("r", NOON + DAY_MS) == 0


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x82\xa3day", b"{}" * 50, b"\x93\x01\x02\x03"])
def test_a_damaged_file_counts_nothing_and_stops_nobody(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "spent-1.msgpack").write_bytes(damage)
    (tmp_path / "spent-0.msgpack").write_bytes(damage)
    one = worker(tmp_path, 0)
    one.add({"r"}, 5, NOON)
    one.exchange(NOON)
    assert one.total("r", NOON) == 5


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    one = worker(tmp_path / "later", 0)
    one.add({"r"}, 5, NOON)
    one.exchange(NOON)
    (tmp_path / "later").mkdir()
    one.exchange(NOON)
    assert worker(tmp_path / "later", 0).total("r", NOON) == 5


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 100), st.booleans()), max_size=40))
def test_after_a_look_of_all_every_worker_knows_the_day(
    tmp_path_factory: pytest.TempPathFactory, charges: list[tuple[int, int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("spent")
    workers = [worker(folder, number) for number in range(3)]
    day = 0
    for number, later, nano, looks in charges:
        day += later == 3
        workers[number].add({"r"}, nano, NOON + day * DAY_MS)
        if looks:
            workers[number].exchange(NOON + day * DAY_MS)
    now = NOON + day * DAY_MS
    for _ in range(2):
        for one in workers:
            one.exchange(now)
    expected, at = 0, 0
    for _, later, nano, _ in charges:
        at += later == 3
        expected += nano * (at == day)
    assert {one.total("r", now) for one in workers} == {expected}


# --- what else a worker remembers is bounded
def test_conversations_are_forgotten_when_there_are_too_many_or_it_is_late() -> None:
    affinity = Affinity(most=3)
    for n in range(5):
        affinity.keep(b"%d" % n, Stay(f"d{n}", 100.0, n))
    affinity.keep(b"2", Stay("again", 100.0, 9))
    affinity.keep(b"5", Stay("d5", 100.0, 5))
    assert len(affinity) == 3
    found = [affinity.find(b"%d" % n, 99.0) for n in range(6)]
    assert [stay and stay.deployment for stay in found] == [None, None, "again", None, "d4", "d5"]
    assert affinity.find(b"2", 100.0) is None and len(affinity) == 2

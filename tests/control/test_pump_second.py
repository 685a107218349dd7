"""The second process of the pump: what both book is what one would have booked."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest
from pump_seconds import (
    JOURNALS,
    REQUESTS,
    alone,
    books,
    close,
    files,
    opened,
    pump_of,
    second_of,
    together,
    until,
)
from pump_seconds import data as data
from pump_seconds import expected as expected
from pump_seconds import journals as journals
from pump_seconds import small as small

from pointsman.control import second
from pointsman.control.main import PumpThread
from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.control.second import MOST_LENT, WORTH_BYTES, Second, share

pytestmark = pytest.mark.usefixtures("small")
MIB = 1 << 20


class Watched:
    """A pump and its second process, and how many of them there were."""

    def __init__(self, data: Path) -> None:
        self.pump, self.writer = pump_of(data)
        self.other = second_of(self.pump, data)
        self.pids: set[int] = set()
        self.lent: frozenset[str] = frozenset()

    def note(self) -> None:
        self.pids.add(self.other.pid)
        self.lent |= self.pump.elsewhere.names
        assert self.pump.counts.processes == 1 + bool(self.other.pid)

    def run(self) -> int:
        """Book all there is; return how many second processes there were."""
        together(self.pump, self.other, self.note)
        self.writer.close()
        return len(self.pids - {0})


def test_i01_i02_both_book_what_one_books(data: Path, expected: object, capfd: pytest.CaptureFixture[str]) -> None:
    watched = Watched(data)
    assert watched.run() >= 1 and 0 < len(watched.lent) < JOURNALS
    counts = watched.pump.counts
    assert books(data) == expected and files(data) == []
    assert counts.rows == REQUESTS and counts.recovered == REQUESTS // 50 and counts.signals == REQUESTS // 12
    assert (counts.lag_bytes, counts.open_requests, counts.damaged_bytes, counts.processes) == (0, 0, 0, 1)
    said = capfd.readouterr().err
    assert "a second process books" in said and "and ended" in said


def test_journals_of_living_workers_go_back_and_on(tmp_path: Path, expected: object) -> None:
    held = opened(tmp_path)
    watched = Watched(tmp_path)
    together(watched.pump, watched.other, watched.note)
    assert watched.lent and watched.pump.counts.open_requests == REQUESTS // 50
    assert all((tmp_path / "journal" / f"i{n}.lock").exists() for n in range(JOURNALS))
    close(held)
    watched.run()
    assert books(tmp_path) == expected and files(tmp_path) == []


def test_f81_a_damaged_journal_is_counted_once_and_kept_aside(data: Path, tmp_path: Path) -> None:
    for path in sorted((data / "journal").glob("*.000001.pmj")):
        content = bytearray(path.read_bytes())
        content[150_000:150_010] = b"??????????"
        path.write_bytes(content)
    reference = Path(shutil.copytree(data, tmp_path / "reference"))
    one = alone(reference)
    watched = Watched(data)
    assert watched.run() >= 1
    assert watched.pump.counts.damaged_bytes == one.counts.damaged_bytes > 100 * JOURNALS
    assert files(data) == files(reference) == [f"i{n}.000001.pmj.damaged" for n in range(JOURNALS)]
    assert watched.pump.counts.rows == one.counts.rows


@pytest.mark.parametrize("how", ["no program", "no module"])
def test_what_cannot_be_started_is_not_waited_for(
    data: Path, expected: object, how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if how == "no program":
        monkeypatch.setattr(sys, "executable", str(data / "nothing"))
    else:
        monkeypatch.setattr(second, "MODULE", "pointsman.nothing")
    watched = Watched(data)
    assert watched.run() == (how == "no module")
    assert books(data) == expected
    assert capfd.readouterr().err.count("no second process books journals") == 1


def test_one_that_says_nothing_is_killed(data: Path, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "SILENT_S", 0.0)
    assert Watched(data).run() == 1
    assert books(data) == expected


def test_where_it_may_not_run_it_does_not(data: Path, expected: object) -> None:
    pump, writer = pump_of(data)
    other = second_of(pump, data, lambda: False)
    together(pump, other, lambda: pytest.fail("it runs") if other.pid else None)
    writer.close()
    assert books(data) == expected


def test_it_ends_when_it_may_not_run_any_more(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pump, writer = pump_of(data)
    other = second_of(pump, data, lambda: pump.counts.processes == 1)
    pump.step()
    other.look()
    assert other.pid and pump.elsewhere.names
    other.look()
    until(lambda: other.look() or not other.pid)
    writer.close()
    assert not pump.elsewhere.names and "and ended" in capfd.readouterr().err


def test_a_control_process_that_ends_takes_it_along(data: Path, expected: object) -> None:
    pump, writer = pump_of(data)
    thread = PumpThread(pump, data)
    thread.second = second_of(pump, data)
    seen: set[int] = set()
    step = pump.step

    def stepping() -> bool:
        busy = step()
        if thread.second is not None and thread.second.pid:
            seen.add(thread.second.pid)
            thread.stopping.set()
        return busy

    pump.step = stepping  # type: ignore[method-assign]
    thread.start()
    thread.join(60)
    writer.close()
    assert not thread.is_alive() and not thread.failed
    assert len(seen) == 1 and not any(Path(f"/proc/{pid}").exists() for pid in seen)
    assert books(data) == expected and files(data) == []


def test_the_thread_books_all_and_lets_go_of_the_lock(data: Path, expected: object) -> None:
    pump, writer = pump_of(data)
    thread = PumpThread(pump, data)
    thread.second = second_of(pump, data)
    thread.start()
    until(lambda: pump.counts.rows == REQUESTS and pump.counts.processes == 1)
    thread.stopping.set()
    thread.join(60)
    writer.close()
    assert books(data) == expected
    with (data / "pump.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_lent_is_left_alone(data: Path) -> None:
    pump, writer = pump_of(data)
    pump.step()
    pump.lend(frozenset({"i0", "i1"}))
    while pump.step():
        pass
    left = {name.split(".")[0] for name in files(data)}
    assert left == {"i0", "i1"} and pump.counts.rows < REQUESTS
    assert {name.split(".")[0] for name in writer.marks()} <= left
    only = Pump(data / "journal", writer, Policies(writer), only=frozenset({"i1"}))
    while only.move():
        pass
    assert {name.split(".")[0] for name in files(data)} == {"i0"}
    pump.lend(frozenset())
    while pump.step():
        pass
    writer.close()
    assert files(data) == [] and pump.counts.rows + only.counts.rows == REQUESTS


@pytest.mark.parametrize(
    ("unread", "lent"),
    [
        ({}, set()),
        ({"a": 500}, set()),
        ({"a": 500, "b": 10}, set()),
        ({"a": 16, "b": 16}, {"a"}),
        ({"a": 15, "b": 15}, set()),
        ({"a": 60, "b": 30, "c": 30}, {"b", "c"}),
        ({"a": 40, "b": 40, "c": 40, "d": 40, "e": 40, "f": 40}, {"a", "c", "e"}),
    ],
)
def test_about_half_is_lent_where_it_is_worth_it(
    unread: dict[str, int], lent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert share({name: size * MIB for name, size in unread.items()}) == lent


def test_so_many_are_lent_and_no_more() -> None:
    many = share({f"i{n}": WORTH_BYTES for n in range(1_000)})
    assert len(many) == MOST_LENT


def test_what_a_plug_in_prints_is_no_count(data: Path) -> None:
    pump, writer = pump_of(data)
    other = second_of(pump, data)
    other._heard = b"hello\n"

    class Printing:
        stdout = open(os.devnull, "rb")  # noqa: SIM115

    other._hear(Printing())  # type: ignore[arg-type]
    Printing.stdout.close()
    writer.close()
    assert pump.counts.rows == 0 and isinstance(other, Second)

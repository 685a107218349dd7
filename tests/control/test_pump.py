"""The pump: every admitted request becomes exactly one row, whatever dies in between."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import msgspec
import pytest
from pump_books import books as books
from pump_books import drop, ledger_of
from records import HOLD_NANO, SNAPSHOT, admitted, decision, feedback, policy, settled

from pointsman.control import pump as pump_module
from pointsman.control import segment as segment_module
from pointsman.control.pump import Pump
from pointsman.control.replay import Policies, decision_again
from pointsman.core.entry import Record, encode_records
from pointsman.core.health import State
from pointsman.stores.journal import HEADER, Journal, scan, segments
from pointsman.stores.ledger import Batch, LedgerError, Writer
from pointsman.stores.sqlite import FILE

SQLITE_ONLY = pytest.mark.parametrize("books", ["sqlite"], indirect=True)  # what is tested is in the journal


def opened(data: Path, incarnation: str = "i1", segment_bytes: int = 4_000) -> Journal:
    return Journal(data / "journal", incarnation, segment_bytes, 1 << 30)


def write(journal: Journal, *records: Record) -> None:
    for record in records:
        journal.append(encode_records([record]))


def known(writer: Writer) -> Policies:
    policies = Policies(writer)
    policies.keep(policy())
    return policies


def pumped(data: Path, writer: Writer | None = None) -> Pump:
    """Return a pump that has taken all there is."""
    writer = writer or ledger_of(data).writer()
    pump = Pump(data / "journal", writer, known(writer))
    while pump.step():
        pass
    return pump


def rows(data: Path) -> dict[str, str]:
    """Return the outcome of each request in the ledger."""
    found = ledger_of(data).ask("SELECT id, outcome FROM requests")
    assert len(found) == len(dict(found))
    return dict(found)


def judged(data: Path) -> list[str]:
    """Return the ids of the feedback in the ledger."""
    return [id for (id,) in ledger_of(data).ask("SELECT id FROM feedback ORDER BY id")]


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "journal").iterdir())


def test_pairs_become_rows_and_segments_go(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for n in range(100):
        write(journal, admitted(n), settled(n))
    journal.close()
    pump = pumped(tmp_path)
    assert rows(tmp_path) == {admitted(n).id: "ok" for n in range(100)}
    assert files(tmp_path) == [] and pump.counts.rows == 100 and pump.counts.recovered == 0
    assert ledger_of(tmp_path).writer().marks() == {}


def test_a_living_worker_keeps_its_last_segment_and_its_open_requests(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0))
    for n in range(1, 60):
        write(journal, admitted(n), settled(n))
    pump = pumped(tmp_path)
    assert len(rows(tmp_path)) == 59 and pump.counts.open_requests == 1 and pump.counts.lag_bytes == 0
    names = files(tmp_path)
    assert names[0] == "i1.000001.pmj" and len(names) == 3  # the oldest is needed, the newest is written to, the lock
    write(journal, settled(0))
    while pump.step():
        pass
    assert len(rows(tmp_path)) == 60 and len(files(tmp_path)) == 2
    journal.close()
    while pump.step():
        pass
    assert files(tmp_path) == []


def test_what_ended_in_a_segment_that_is_gone_is_not_open_again_after_a_restart(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0), admitted(1))
    for n in range(2, 30):
        write(journal, admitted(n), settled(n))
    write(journal, settled(1))
    for n in range(30, 60):
        write(journal, admitted(n), settled(n))
    assert pumped(tmp_path).counts.open_requests == 1
    assert len(files(tmp_path)) == 3  # that of the end of number 1 is gone
    assert pumped(tmp_path).counts.open_requests == 1
    write(journal, settled(0))
    pump = pumped(tmp_path)
    assert pump.counts.open_requests == 0 and len(files(tmp_path)) == 2
    journal.close()
    pump = pumped(tmp_path)
    assert pump.counts.rows == 0 and len(rows(tmp_path)) == 60 and files(tmp_path) == []


def test_f78_f79_what_a_dead_worker_left_open_is_recovered_once(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0), admitted(1), settled(0), admitted(2))
    pump = pumped(tmp_path)
    assert rows(tmp_path) == {admitted(0).id: "ok"}
    journal.close()
    while pump.step():
        pass
    assert rows(tmp_path) == {admitted(0).id: "ok", admitted(1).id: "recovered", admitted(2).id: "recovered"}
    assert pump.counts.recovered == 2 and pump.counts.rows == 3 and files(tmp_path) == []
    found = ledger_of(tmp_path).ask("SELECT charge_nano, charge_state, provider FROM requests WHERE recovered = 1")
    assert set(found) == {(HOLD_NANO, "estimated", "lab")}


def test_more_is_recovered_than_fits_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "RECOVER_ROWS", 7)
    journal = opened(tmp_path, segment_bytes=1 << 20)
    write(journal, *[admitted(n) for n in range(50)])
    journal.close()
    assert pumped(tmp_path).counts.recovered == 50


@SQLITE_ONLY  # a transaction of PostgreSQL is on disk when it is committed
def test_a_segment_goes_only_when_its_rows_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0), settled(0))
    journal.close()
    synced = []

    def fsync(fd: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, rows(tmp_path), len(files(tmp_path))))
        if len(synced) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    pump = pumped(tmp_path)
    assert pump.counts.errors == 1 and len(files(tmp_path)) == 2  # the lock is the other
    while pump.step():
        pass
    assert pump.counts.up and files(tmp_path) == [] and rows(tmp_path) == {admitted(0).id: "ok"}
    assert synced == [(f"{FILE}-wal", {admitted(0).id: "ok"}, 2)] * 2


class Dying:
    """A ledger that fails at the n-th call, before or after it has done its work."""

    def __init__(self, inner: Writer, at: int, after: bool) -> None:
        self.inner = inner
        self.left = at
        self.after = after

    def write(self, batch: Batch) -> int:
        return self._call(lambda: self.inner.write(batch))

    def marks(self):  # type: ignore[no-untyped-def]
        return self._call(self.inner.marks)

    def sync(self) -> None:
        self._call(self.inner.sync)

    def forget(self, names: list[str]) -> None:
        self._call(lambda: self.inner.forget(names))

    def changing(self):  # type: ignore[no-untyped-def]
        return self._call(self.inner.changing)

    def _call(self, work):  # type: ignore[no-untyped-def]
        self.left -= 1
        if self.left == 0 and not self.after:
            raise LedgerError("the disk is full")
        result = work()
        if self.left == 0:
            raise LedgerError("the connection broke")
        return result


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("same", [False, True], ids=["restarted", "same process"])
def test_i01_i02_a_failure_at_any_call_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, books: str, after: bool, same: bool
) -> None:
    monkeypatch.setattr(segment_module, "PIECE_BYTES", 1_500)
    chance = random.Random(5)
    source = tmp_path / "source"
    open_ids: list[int] = []
    journal = opened(source, segment_bytes=3_000)
    for n in range(40):
        write(journal, admitted(n))
        open_ids.append(n)
        if n % 3 == 0:
            write(journal, feedback(n))
        while open_ids and chance.random() < 0.6:
            n = open_ids.pop(chance.randrange(len(open_ids)))
            write(journal, settled(n))
    journal.close()
    opinions = [feedback(n).id for n in range(0, 40, 3)]
    expected = {admitted(n).id: "recovered" if n in open_ids else "ok" for n in range(40)}
    for at in range(1, 200, 1 if books == "sqlite" else 4):
        data = tmp_path / f"{at}"
        shutil.copytree(source, data)
        writer = ledger_of(data).writer()
        dying = Dying(writer, at, after)
        pump = Pump(data / "journal", dying, known(writer))
        while pump.step():
            pass
        if same:
            while pump.step() or dying.left == 0:
                dying.left -= 1
        else:
            pumped(data, writer)
        assert rows(data) == expected and judged(data) == opinions and files(data) == [], at
        drop(data)
        if dying.left > 0:
            assert at > 20  # every call of a whole run was made to fail once
            return
    raise AssertionError("never got through")


@SQLITE_ONLY
def test_f81_a_journal_cut_at_any_byte_gives_one_row_per_admission(tmp_path: Path) -> None:
    source = tmp_path / "source"
    journal = opened(source, segment_bytes=1 << 20)
    write(journal, admitted(0), admitted(1), settled(0), admitted(2), settled(2), settled(1))
    journal.close()
    [[path]] = segments(source / "journal").values()
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        data = tmp_path / "cut"
        (data / "journal").mkdir(parents=True)
        (data / "journal" / path.name).write_bytes(whole[:cut])
        pumped(data)
        admissions = sum(admitted(n).id.encode() in whole[:cut] for n in range(3))
        assert admissions - 1 <= len(rows(data)) <= admissions
        drop(data)


@SQLITE_ONLY
def test_f81_a_damaged_segment_is_counted_and_kept_aside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 20)
    for n in range(5):
        write(journal, admitted(n), settled(n))
    journal.close()
    [[path]] = segments(tmp_path / "journal").values()
    data = bytearray(path.read_bytes())
    data[len(HEADER) + 50] ^= 1  # the first admission
    path.write_bytes(data)
    pump = pumped(tmp_path)
    assert len(rows(tmp_path)) == 5 and pump.counts.damaged_bytes > 50
    assert files(tmp_path) == [path.name + ".damaged"]
    assert "kept aside" in capfd.readouterr().err
    assert pumped(tmp_path).counts.damaged_bytes == 0


@SQLITE_ONLY
def test_f81_damaged_segments_are_kept_in_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "MOST_KEPT_ASIDE", 3)
    (tmp_path / "journal").mkdir()
    for n in range(8):
        (tmp_path / "journal" / f"d{n}.000001.pmj").write_bytes(HEADER + b"rubbish")
    pumped(tmp_path)
    assert files(tmp_path) == [f"d{n}.000001.pmj.damaged" for n in (5, 6, 7)]


@SQLITE_ONLY
def test_f81_a_long_stretch_of_damage_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "PIECE_BYTES", 2_000)
    monkeypatch.setattr(segment_module, "FRAME_BYTES", 5_000)
    journal = opened(tmp_path, segment_bytes=1 << 20)
    write(journal, admitted(0), settled(0), admitted(1))
    [[path]] = segments(tmp_path / "journal").values()
    with path.open("ab") as file:
        file.write(b"\xa7\xd1\xff" * 20_000)
    write(journal, settled(1))
    pump = pumped(tmp_path)
    assert len(rows(tmp_path)) == 2 and pump.counts.damaged_bytes == 60_000
    journal.close()


def test_f81_a_duplicate_segment_changes_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 20)
    for n in range(5):
        write(journal, admitted(n), settled(n))
    journal.close()
    [[path]] = segments(tmp_path / "journal").values()
    shutil.copy(path, path.with_name("i0.000001.pmj"))
    shutil.copy(path, path.with_name("i1.000002.pmj"))
    assert pumped(tmp_path).counts.rows == 5 and len(rows(tmp_path)) == 5


def test_a_record_of_no_known_kind_is_damage(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 20)
    write(journal, admitted(0))
    journal.append(b"what is this")
    write(journal, settled(0))
    journal.close()
    pump = pumped(tmp_path)
    assert len(rows(tmp_path)) == 1 and pump.counts.damaged_bytes == 22


def test_a_ledger_that_fails_is_said_and_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0), settled(0))
    writer = ledger_of(tmp_path).writer()
    dying = Dying(writer, 2, after=False)
    pump = Pump(tmp_path / "journal", dying, known(writer))
    assert not any(pump.step() for _ in range(2)) or pump.counts.errors
    while pump.step():
        pass
    assert pump.counts.errors == 1 and len(rows(tmp_path)) == 1
    assert "the ledger is behind: the disk is full" in capfd.readouterr().err
    journal.close()


@SQLITE_ONLY
def test_half_made_files_of_a_crash_are_cleared_away(tmp_path: Path) -> None:
    import os

    folder = tmp_path / "journal"
    folder.mkdir()
    for name in ("i1.lock.new", "i1.000001.pmj.new"):
        (folder / name).touch()
        os.utime(folder / name, (1, 1))
    (folder / "i2.lock.new").touch()
    pumped(tmp_path)
    assert files(tmp_path) == ["i2.lock.new"]


def test_records_written_together_are_booked_together(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(encode_records([admitted(0), admitted(1), settled(0), admitted(2)]))
    journal.append(encode_records([settled(1)]))
    pump = pumped(tmp_path)
    assert set(rows(tmp_path)) == {admitted(0).id, admitted(1).id} and pump.counts.open_requests == 1
    journal.close()
    assert pumped(tmp_path).counts.rows == 1 and len(rows(tmp_path)) == 3


def test_i29_the_decision_is_made_again_from_what_was_recorded(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(
        journal,
        admitted(0),
        settled(0),
        admitted(1, snapshot=msgspec.structs.replace(SNAPSHOT, version="lost")),
        settled(1),
    )
    journal.close()
    pumped(tmp_path)
    with ledger_of(tmp_path).reader() as reader:
        first, second = reader.entry(admitted(0).id), reader.entry(admitted(1).id)
    assert first is not None and second is not None
    assert decision_again(first) == decision(reasons=()) and decision_again(second) is None
    other = msgspec.structs.replace(first, request=first.request | {"planned": "mini"})
    assert decision_again(other) is None  # the code that drew was another
    lost = msgspec.structs.replace(first, policy=None)
    assert decision_again(lost) is None
    assert (first.request["planned"], first.request["hold_nano"]) == ("large", HOLD_NANO)
    assert second.request["charge_nano"] == 120_000


def test_decisions_of_an_earlier_config_are_made_under_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, admitted(0))
    journal.close()
    writer = ledger_of(tmp_path).writer()
    known(writer)
    later = Policies(writer)
    later.keep(policy("v2"))
    pump = Pump(tmp_path / "journal", writer, later)
    while pump.step():
        pass
    assert rows(tmp_path) == {admitted(0).id: "recovered"} and pump.counts.recovered == 1
    with ledger_of(tmp_path).reader() as reader:
        [row] = reader.recent(1)
    assert row["planned"] == "large"


def test_s07_no_credential_is_stored_with_a_policy(tmp_path: Path) -> None:
    writer = ledger_of(tmp_path).writer()
    known(writer)
    blob = writer.policy("v1")
    assert blob is not None and b"canary" not in blob and b"lab" in blob


@SQLITE_ONLY
@pytest.mark.parametrize("states", [(), (1,), (1, 2, 3)])
def test_a_snapshot_that_does_not_fit_the_route_gives_no_decision(tmp_path: Path, states: tuple[int, ...]) -> None:
    writer = ledger_of(tmp_path).writer()
    broken = msgspec.structs.replace(SNAPSHOT, states=tuple(State(ejections=1) for _ in states))
    assert known(writer).decided(admitted(0, snapshot=broken, route="drafts")) is None
    assert known(writer).decided(admitted(0, route="gone")) is None


def test_feedback_is_booked_beside_a_request_that_has_not_ended_and_segments_go(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, feedback(7), admitted(0), *[feedback(n, request_id="gone") for n in range(100, 160)], feedback(0))
    pump = pumped(tmp_path)
    assert len(judged(tmp_path)) == 62 and rows(tmp_path) == {} and pump.counts.open_requests == 1
    pumped(tmp_path)  # from the marks: the admission is still needed, and all after it is read again
    assert len(judged(tmp_path)) == 62
    journal.close()
    pump = pumped(tmp_path)
    assert rows(tmp_path) == {admitted(0).id: "recovered"} and files(tmp_path) == [] and pump.counts.rows == 1
    with ledger_of(tmp_path).reader() as reader:
        entry = reader.entry(admitted(0).id)
        assert entry is not None and [row["id"] for row in entry.feedback] == [feedback(0).id]
        assert reader.feedback_counts(0).unmatched == 61


def test_feedback_that_comes_alone_is_not_left_lying(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, feedback(0))
    pumped(tmp_path)
    assert judged(tmp_path) == [feedback(0).id]
    journal.close()


@SQLITE_ONLY
def test_f81_feedback_of_a_cut_journal_is_whole_or_not_there(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 20)
    write(journal, feedback(0), feedback(1))
    journal.close()
    [[path]] = segments(tmp_path / "journal").values()
    whole = path.read_bytes()
    ends = [end for _, end, _ in scan(whole, 0, ended=True).frames]
    for cut in range(len(whole) + 1):
        data = tmp_path / "cut"
        (data / "journal").mkdir(parents=True)
        (data / "journal" / path.name).write_bytes(whole[:cut])
        pumped(data)
        assert judged(data) == [feedback(n).id for n in (0, 1) if ends[n] <= cut]
        drop(data)

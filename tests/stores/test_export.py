"""An export has every row of closed days once, whoever is killed, and whatever comes late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledgers import Ledger
from report_ledgers import BEGIN_MS, NOW_MS, Books

from pointsman.stores import export
from pointsman.stores.duck import Bounds
from pointsman.stores.export import Exporter, Range
from pointsman.stores.export_columns import MANIFEST, TABLES, Manifest, exported
from pointsman.stores.ledger import ATTEMPT_COLUMNS, FEEDBACK_COLUMNS, SHOWN_COLUMNS, LedgerError
from pointsman.stores.report import Question
from pointsman.stores.report_parquet import ParquetReader
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

DAY_MS = 86_400_000
BOUNDS = Bounds(memory_mib=256, threads=2)


def ran(ledger: Ledger, folder: Path, now_ms: int = NOW_MS, wished: Range | None = None) -> Manifest:
    with ledger.reader() as reader:
        return Exporter(reader, folder, BOUNDS).run(now_ms, wished)


def rows_in(folder: Path, table: str) -> list[tuple[object, ...]]:
    """Return all rows that a folder has, by way of any engine that reads Parquet: those of the files themselves."""
    import duckdb

    listed = ", ".join(TABLES[table])
    found = duckdb.sql(f"SELECT {listed} FROM read_parquet('{folder}/{table}/*/*.parquet', hive_partitioning = false)")
    return sorted(found.fetchall(), key=lambda row: json.dumps(row))


def test_every_row_of_a_ledger_is_in_its_export_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    books = Books(seed=21, count=1_500)
    ledger.writer().write(books.batch())
    found = ran(ledger, tmp_path / "out")
    of = {row["id"]: row for row in books.requests}
    expected = {
        "requests": [tuple(row[name] for name in ("seq", *SHOWN_COLUMNS)) for row in books.requests],
        "attempts": [
            tuple({**of[row["request_id"]], **row}[name] for name in TABLES["attempts"]) for row in books.attempts
        ],
        "feedback": [tuple(row[name] for name in ("seq", *FEEDBACK_COLUMNS)) for row in books.feedback],
    }
    assert set(ATTEMPT_COLUMNS) < set(TABLES["attempts"])
    for table, rows in expected.items():
        clean = [tuple(v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in row) for row in rows]
        assert rows_in(tmp_path / "out", table) == sorted(clean, key=lambda row: json.dumps(row)), table
        assert sum(part.rows for part in found.parts if part.table == table) == len(rows)
    assert sum(part.sums["charge_nano"] for part in found.parts if part.table == "requests") == sum(
        row["charge_nano"] or 0 for row in books.requests
    )
    assert all((tmp_path / "out" / part.path).stat().st_size == part.bytes for part in found.parts)
    assert all(Path(part.path).parent.name == f"day={part.day}" for part in found.parts)
    assert found.swept == {"requests": 1_500, "feedback": 375}


def test_a_second_run_does_nothing_and_a_late_row_comes_in_a_part_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    writer, books, out = ledger.writer(), Books(seed=22, count=400), tmp_path / "out"
    writer.write(books.batch(0, 390))
    first = ran(ledger, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert ran(ledger, out).parts == first.parts
    writer.write(books.batch(390))  # of the same days, booked after they were written
    second = ran(ledger, out)
    late = [part for part in second.parts if part not in first.parts]
    assert sum(part.rows for part in late if part.table == "requests") == 10
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert any("part-0002" in part.path for part in late)
    with ParquetReader(out, bounds=BOUNDS) as parquet, ledger.reader() as reader:
        question = Question(("requests", "measured_nano", "feedback_count"), ("day",))
        assert parquet.report(question) == reader.report(question)


def test_an_open_day_waits_until_it_is_closed(ledger: Ledger, tmp_path: Path) -> None:
    books, out = Books(seed=23, count=300), tmp_path / "out"
    ledger.writer().write(books.batch())
    noon_ms = BEGIN_MS + 3 * DAY_MS + DAY_MS // 2
    found = ran(ledger, out, noon_ms)
    assert sorted({part.day for part in found.parts if part.table == "requests"}) == [
        "2026-11-18",
        "2026-11-19",
        "2026-11-20",
    ]
    assert (
        found.swept["requests"]
        == min(row["seq"] for row in books.requests if row["at_ms"] >= BEGIN_MS + 3 * DAY_MS) - 1
    )
    assert ran(ledger, out, BEGIN_MS + 4 * DAY_MS + 60_000).parts == found.parts  # an hour is left for what is late
    assert len(ran(ledger, out).parts) > len(found.parts)
    with ParquetReader(out, bounds=BOUNDS) as parquet:
        assert parquet.report(Question(("requests",))).total == (300,)
        assert parquet.days() == ("2026-11-18", "2026-11-26")


def test_a_part_of_the_days_says_nothing_of_the_others(ledger: Ledger, tmp_path: Path) -> None:
    books, out = Books(seed=24, count=300), tmp_path / "out"
    ledger.writer().write(books.batch())
    wished = Range(BEGIN_MS + DAY_MS, BEGIN_MS + 3 * DAY_MS)
    found = ran(ledger, out, wished=wished)
    assert {part.day for part in found.parts} == {"2026-11-19", "2026-11-20"} and found.swept == {}
    ran(ledger, out)
    with ParquetReader(out, bounds=BOUNDS) as parquet:
        assert parquet.report(Question(("requests",))).total == (300,)


def test_many_rows_of_a_day_are_several_files(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_SEQS", 40)
    monkeypatch.setattr(export, "PART_ROWS", 50)
    books, out = Books(seed=25, count=1_200), tmp_path / "out"
    ledger.writer().write(books.batch())
    found = ran(ledger, out)
    assert max(part.rows for part in found.parts) < 150 and len(found.parts) > 30
    assert len({part.path for part in found.parts}) == len(found.parts)
    with ParquetReader(out, bounds=BOUNDS) as parquet, ledger.reader() as reader:
        question = Question(("requests", "measured_nano", "ttft_p99_us"), ("day",))
        assert parquet.report(question) == reader.report(question)


def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    books, out = Books(seed=26, count=600), tmp_path / "out"
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    writer.close()
    program = (
        "import sys, os, time, pathlib\n"
        "from pointsman.stores.sqlite import SqliteReader\n"
        "from pointsman.stores.duck import Bounds\n"
        "from pointsman.stores.export import Exporter\n"
        f"reader = SqliteReader(pathlib.Path({str(tmp_path / FILE)!r}))\n"
        "replaced, left = os.replace, int(sys.argv[1])\n"
        "def replace(*where):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    replaced(*where)\n"
        "os.replace = replace\n"
        f"Exporter(reader, pathlib.Path({str(out)!r}), Bounds(memory_mib=256, threads=1)).run({NOW_MS})\n"
    )
    killed = 0
    for moves in (0, 1, 2, 3, 5, 8):
        done = subprocess.run(
            [sys.executable, "-c", program, str(moves)],
            capture_output=True,
            timeout=60,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # where it leaves what it cannot remove
        )
        killed += done.returncode == -signal.SIGKILL
    assert killed >= 5
    with SqliteReader(tmp_path / FILE) as reader:
        found = Exporter(reader, out, BOUNDS).run(NOW_MS)
        assert len(rows_in(out, "requests")) == 600 and len(rows_in(out, "attempts")) == len(books.attempts)
        assert sum(part.rows for part in found.parts if part.table == "feedback") == 150
        assert not (out / ".half").exists()
        with ParquetReader(out, bounds=BOUNDS) as parquet:
            question = Question(("requests", "measured_nano", "feedback_count"), ("route", "day"))
            assert parquet.report(question) == reader.report(question)


def test_two_do_not_write_one_folder_at_a_time(ledger: Ledger, tmp_path: Path) -> None:
    ledger.writer().write(Books(seed=27, count=20).batch())
    with export._alone(tmp_path), pytest.raises(LedgerError, match="another process exports"):
        ran(ledger, tmp_path)


def test_a_folder_of_another_ledger_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    ledger.writer().write(Books(seed=29, count=20).batch())
    (tmp_path / MANIFEST).write_text('{"swept": {"requests": 21}}')
    with pytest.raises(LedgerError, match="of another ledger"):
        ran(ledger, tmp_path)


def test_a_manifest_that_is_none_of_ours_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no export"):
        exported(tmp_path)
    for text in ("{", '{"format": 2}'):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(LedgerError, match="manifest"):
            exported(tmp_path)


def test_rows_are_written_quickly(tmp_path: Path) -> None:
    """Single rows would come to some 600 a second; this many in that time are a hundred times more."""
    count = 6_000
    books = Books(seed=28, count=count)
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    writer.close()
    with SqliteReader(tmp_path / FILE) as reader:
        began_s = time.process_time()
        Exporter(reader, tmp_path / "out", BOUNDS).run(NOW_MS)
        assert time.process_time() - began_s < 6
    assert os.path.getsize(tmp_path / "out" / MANIFEST) < 100_000

"""Export: closed UTC days of a ledger as Parquet, each row once, in files that are whole or not there.

A day is closed CLOSED_MS after its end. Its files are written beside, counted and added up against the ledger, put into their
place, and count once the manifest names them: whoever is killed goes on with the day that it was at, and a second run does
nothing. What is booked late for a day that was written comes in a further part. Rows go through a file of CSV, as DuckDB takes
single rows slowly; the memory it takes does not depend on how many they are.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pointsman.stores.browsing import DAY_MS, HOUR_MS
from pointsman.stores.duck import Bounds, Duck, quoted
from pointsman.stores.export_columns import (
    CHECKED,
    MANIFEST,
    POLICIES,
    SOURCES,
    TABLES,
    Manifest,
    Part,
    manifest_at,
)
from pointsman.stores.ledger import LedgerError
from pointsman.stores.sql import Values
from pointsman.stores.versions import replace

CLOSED_MS = HOUR_MS
PAGE_SEQS = 10_000  # that one question to the ledger passes
PART_ROWS = 1_000_000  # of a file
LIMIT_S = 600.0  # for writing one file
_HALF = ".half"  # folder of what is not done
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOKED = {"requests": "requests", "attempts": "requests", "feedback": "feedback"}  # table -> whose `seq` it goes by


class Source(Protocol):
    """The ledger that is exported, as stores.ledger.Reader."""

    def ask(self, statement: str, values: Values) -> list[Any]:
        """Return the rows of a statement that reads. Raise LedgerError."""
        ...


class Range(msgspec.Struct, frozen=True):
    """Say which days are wished: from `first_ms`, before `end_ms`; 0 and now: all that are closed."""

    first_ms: int = 0
    end_ms: int = 1 << 62


class Exporter:
    """Bring a folder up to date with a ledger. `tell` is called with each part that is done. Raise LedgerError."""

    def __init__(
        self, source: Source, folder: Path, bounds: Bounds, tell: Callable[[Part], None] = lambda part: None
    ) -> None:
        self._source, self._folder, self._tell = source, folder, tell
        self._bounds = bounds
        self._manifest = Manifest()

    def run(self, now_ms: int, wished: Range | None = None) -> Manifest:
        """Write what is missing of the days that are closed; return what there is now."""
        closed_ms = (now_ms - CLOSED_MS) // DAY_MS * DAY_MS
        whole = wished is None
        span = Range(wished.first_ms if wished else 0, min(closed_ms, wished.end_ms if wished else closed_ms))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._folder), contextlib.closing(Duck([self._folder], self._bounds, LIMIT_S)) as duck:
            shutil.rmtree(self._folder / _HALF, ignore_errors=True)
            self._manifest = manifest_at(self._folder) or Manifest()
            for booked in ("requests", "feedback"):
                upto = self._number(f"SELECT COALESCE(MAX(seq), 0) FROM {booked}", {})  # noqa: S608
                if upto < self._manifest.swept.get(booked, 0):
                    raise LedgerError(f"{self._folder} is an export of another ledger: choose another folder")
                for day in self._days(booked, span):
                    self._day(duck, booked, day, upto)
                if whole:
                    self._sweep(booked, closed_ms, upto)
            self._policies()
            self._keep()
            shutil.rmtree(self._folder / _HALF, ignore_errors=True)
        return self._manifest

    def _days(self, booked: str, span: Range) -> list[str]:
        """Return the days that have rows which are not here."""
        values = {"after": self._manifest.swept.get(booked, 0), "first": span.first_ms, "end": span.end_ms}
        rows = self._source.ask(
            f"SELECT DISTINCT at_ms - at_ms % {DAY_MS} FROM {booked} WHERE seq > :after"  # noqa: S608  our own tables
            " AND at_ms >= :first AND at_ms < :end ORDER BY 1",
            values,
        )
        return [(_EPOCH + timedelta(milliseconds=int(row[0]))).date().isoformat() for row in rows]

    def _day(self, duck: Duck, booked: str, day: str, upto: int) -> None:
        """Write the rows of a day that are not here."""
        known = self._manifest.days.setdefault(booked, {})
        begins_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
        values = {"first": begins_ms, "end": begins_ms + DAY_MS, "after": known.get(day, 0), "upto": upto}
        made: list[Part] = []
        for table, by in _BOOKED.items():
            if by == booked:
                made += self._table(duck, table, day, values)
        for part in made:
            half, path = self._half(part.path), self._folder / part.path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _synced(half)
            os.replace(half, path)
        known[day] = upto
        self._manifest.parts += made
        self._keep()
        for part in made:
            self._tell(part)

    def _table(self, duck: Duck, table: str, day: str, values: dict[str, int]) -> list[Part]:
        """Write the rows of a table into files that are not in their place yet; compare what is in them with the ledger."""
        sums = "".join(f", COALESCE(SUM({name}), 0)" for name in CHECKED[table])
        [row] = self._source.ask(
            f"SELECT COUNT(*), COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0){sums} FROM {SOURCES[table]} r"  # noqa: S608
            " WHERE at_ms >= :first AND at_ms < :end AND +seq > :after AND +seq <= :upto",
            values,
        )
        count, first, last, *expected = map(int, row)
        before = sum(part.table == table and part.day == day for part in self._manifest.parts)
        made: list[Part] = []
        for rows in _pieces(self._pages(table, values, first, last), PART_ROWS):
            name = f"{table}/day={day}/part-{before + len(made) + 1:04d}.parquet"
            made.append(self._part(duck, table, day, name, rows))
        found = [sum(part.sums[name] for part in made) for name in CHECKED[table]]
        if (sum(part.rows for part in made), found) != (count, expected):
            raise LedgerError(f"{table} of {day} changed while they were read: run the export again")
        return made

    def _pages(self, table: str, values: dict[str, int], first: int, last: int) -> Iterator[list[Any]]:
        """Yield the rows of a day in the order of `seq`, in pieces that one question finds."""
        listed = ", ".join(TABLES[table])
        statement = (
            f"SELECT {listed} FROM {SOURCES[table]} r WHERE seq > :from AND seq <= :to"  # noqa: S608  our own tables
            " AND +at_ms >= :first AND +at_ms < :end ORDER BY seq"
        )
        for start in range(max(first - 1, values["after"]), last, PAGE_SEQS):
            yield self._source.ask(statement, values | {"from": start, "to": min(last, start + PAGE_SEQS)})

    def _part(self, duck: Duck, table: str, day: str, name: str, pages: Iterator[list[Any]]) -> Part:
        half = self._half(name)
        half.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        plain = half.with_suffix(".csv")
        with plain.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for page in pages:
                writer.writerows(map(_plain, page))
        columns = TABLES[table]
        typed = ", ".join(f"'{column}': '{kind}'" for column, kind in columns.items())
        # An empty text and NULL are alike in such a file; no text of the ledger is NULL.
        chosen = ", ".join(f"COALESCE({c}, '') AS {c}" if kind == "VARCHAR" else c for c, kind in columns.items())
        duck.run(
            f"COPY (SELECT {chosen} FROM read_csv('{quoted(plain)}', header = false, auto_detect = false, delim = ',',"  # noqa: S608
            f" quote = '\"', escape = '\"', nullstr = '', hive_partitioning = false, columns = {{{typed}}},"
            f" max_line_size = 16777216, new_line = '\\n')) TO '{quoted(half)}' (FORMAT parquet, COMPRESSION zstd)"
        )
        plain.unlink()
        sums = "".join(f", COALESCE(SUM({column}), 0)" for column in CHECKED[table])
        rows = f"read_parquet('{quoted(half)}', hive_partitioning = false)"
        [row] = duck.run(f"SELECT COUNT(*), MIN(seq), MAX(seq){sums} FROM {rows}")  # noqa: S608  our own file
        count, first, last, *added = map(int, row)
        return Part(
            table, day, name, count, first, last, half.stat().st_size, dict(zip(CHECKED[table], added, strict=True))
        )

    def _sweep(self, booked: str, closed_ms: int, upto: int) -> None:
        """Note up to which `seq` all rows are here: before the first one of a day that is not closed."""
        open_seq = self._number(f"SELECT COALESCE(MIN(seq), 0) FROM {booked} WHERE at_ms >= :end", {"end": closed_ms})  # noqa: S608
        self._manifest.swept[booked] = min(upto, open_seq - 1) if open_seq else upto

    def _policies(self) -> None:
        folder = self._folder / POLICIES
        folder.mkdir(exist_ok=True, mode=0o700)
        for version in [row[0] for row in self._source.ask("SELECT version FROM policies", {})]:
            if version.isalnum() and not (folder / version).exists():
                [row] = self._source.ask("SELECT blob FROM policies WHERE version = :version", {"version": version})
                replace(folder / version, bytes(row[0]))

    def _keep(self) -> None:
        replace(self._folder / MANIFEST, msgspec.json.format(msgspec.json.encode(self._manifest), indent=1))

    def _half(self, name: str) -> Path:
        return self._folder / _HALF / name

    def _number(self, statement: str, values: Values) -> int:
        return int(self._source.ask(statement, values)[0][0])


def _pieces(pages: Iterator[list[Any]], rows: int) -> Iterator[Iterator[list[Any]]]:
    """Part pages that have rows into runs of about so many rows; each run is to be used up before the next."""
    pages = (page for page in pages if page)
    for first in pages:

        def run(first: list[Any] = first) -> Iterator[list[Any]]:
            left = rows - len(first)
            yield first
            while left > 0:
                page = next(pages, None)
                if page is None:
                    return
                left -= len(page)
                yield page

        yield run()


def _plain(row: Any) -> list[Any]:
    """Return a row as CSV has it: NULL is empty (no text is NULL), and without the one character that few engines take."""
    return [value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value for value in row]


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of an export, or raise LedgerError."""
    fd = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(f"another process exports into {folder}") from None
        yield
    finally:
        os.close(fd)

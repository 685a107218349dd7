"""The ledger in SQLite: one writer, any number of read-only readers, WAL so that neither waits for the other."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from pointsman.core.invoice import Kept
from pointsman.stores import invoices_sql, ledger_browsing, ledger_decisions, ledger_signals, ledger_spans
from pointsman.stores import ledger_schema as sql
from pointsman.stores.invoices import Order
from pointsman.stores.ledger import (
    ATTEMPT_COLUMNS,
    REQUEST_COLUMNS,
    Batch,
    Column,
    LedgerBusy,
    LedgerError,
    LedgerMissing,
    Mark,
    columns_of,
)
from pointsman.stores.ledger_folding import alike, folded
from pointsman.stores.ledger_reading import SqlReader
from pointsman.stores.ledger_spans import spans_of
from pointsman.stores.report import PERCENTS
from pointsman.stores.report_sql import SQLITE
from pointsman.stores.sql import Db, Values

FILE = "ledger.sqlite"
AT_ONCE = 16  # rows of a statement, in batches of
MANY_ROWS = 256  # or more: to compile such a statement, where the last one will not do, takes 0.4 ms
CACHED = 64  # statements kept compiled, each of up to 80 KiB
WORTH_ROWS = 50  # from here on a statement for the batch alone costs less than it saves
_AT = REQUEST_COLUMNS.index("at_ms")
_NEW_IDS = "SELECT id FROM requests WHERE seq > ?"
_PLAIN = re.compile(r"[A-Za-z0-9_.:/-]*")
BUSY_S = 5.0  # how long to wait for another process's lock
STEPS_PER_CHECK = 10_000  # virtual machine steps between looks at the clock: well under a millisecond


class SqliteWriter:
    """Write the ledger of one data folder. Opened, and migrated if need be, by the constructor; used by one thread at a time.

    A transaction survives the death of the process at once, and power loss as of the last checkpoint or `sync` (synchronous
    NORMAL); what power loss takes away, the journal still holds, because marks are written in the same transaction.
    """

    def __init__(self, path: Path) -> None:
        with _told(path):
            self._db = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=CACHED
            )
            with _closed_on_error(self._db):
                _migrate(self._db, path)
                for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16384"):
                    self._db.execute("PRAGMA " + pragma).close()
        self._path = path

    def write(self, batch: Batch) -> int:
        """Store a batch in one transaction; return how many requests were new. Raise LedgerError, with nothing kept."""
        with _told(self._path), _transaction(self._db) as db:
            columns = batch.request_columns()
            new = _requests(db, batch, columns) if columns else 0
            if batch.attempts:
                sends = columns_of(batch.attempts, ATTEMPT_COLUMNS)
                _insert(db, "sends", ATTEMPT_COLUMNS, sends, list(map(alike, sends)))
            if batch.decisions:
                db.executemany(sql.INSERT_DECISION, batch.decisions)
            if batch.feedback:
                db.executemany(sql.INSERT_FEEDBACK, batch.feedback)
            if batch.askings:
                batch.signalled = ledger_signals.book(db, batch)
            marks = [(segment, mark.offset, mark.skipped) for segment, mark in batch.marks.items()]
            db.executemany(sql.REPLACE_MARK, marks)
        return new

    def marks(self) -> dict[str, Mark]:
        """Return how far each journal segment is booked."""
        with _told(self._path):
            return {row[0]: Mark(row[1], row[2]) for row in self._db.execute(sql.SELECT_MARKS)}

    def forget(self, segments: list[str]) -> None:
        """Drop the marks of segments that are no more."""
        with _told(self._path), _transaction(self._db) as db:
            db.executemany(sql.DELETE_MARK, [(segment,) for segment in segments])

    def sync(self) -> None:
        """Make what was written survive a loss of power. Raise LedgerError."""
        try:
            with open(
                f"{self._path}-wal", "rb"
            ) as log:  # which a checkpoint syncs too, before its pages go into the file
                os.fsync(log.fileno())
        except OSError as error:
            raise LedgerError(f"{self._path}-wal: {error.strerror}") from None

    def keep_policy(self, version: str, blob: bytes) -> None:
        """Store what decides in a config version; once."""
        with _told(self._path), _transaction(self._db) as db:
            db.execute(sql.INSERT_POLICY, (version, blob))

    def policy(self, version: str) -> bytes | None:
        """Return what `keep_policy` stored."""
        with _told(self._path):
            row = self._db.execute(sql.SELECT_POLICY, (version,)).fetchone()
        return bytes(row[0]) if row is not None else None

    def issue(self, order: Order) -> tuple[Kept, bool]:
        """Make a document and keep it, in one transaction; return it, and whether it is new."""
        with _told(self._path), _transaction(self._db) as db:
            return invoices_sql.add(db, order)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Db]:
        """Do what is done inside in one transaction, alone."""
        with _told(self._path), _transaction(self._db) as db:
            yield db

    def close(self) -> None:
        self._db.close()


class SqliteReader(SqlReader):
    """Read the ledger of a file, never writing. No question takes longer than `limit_s` seconds (fault 102)."""

    _engine = SQLITE

    def __init__(self, path: Path, limit_s: float = 60.0) -> None:
        if not path.is_file():
            raise LedgerMissing(f"there is no ledger at {path}")
        self._path = path
        self._limit_s = limit_s
        self._interrupted = False
        with _told(path):
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
            with _closed_on_error(self._db):
                if _check(self._db, path) < len(sql.MIGRATIONS):
                    raise LedgerError(
                        f"{path} is of an older version of pointsman: `pointsman serve` brings it up to date"
                    )
        self._db.row_factory = sqlite3.Row
        self._db.create_aggregate("percentiles", 1, _Percentiles)  # type: ignore[arg-type]  # finalize gives text

    def close(self) -> None:
        self._db.close()

    def interrupt(self) -> None:
        """End what is asked now, from another thread, and refuse what would be asked later."""
        self._interrupted = True

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        with _told(self._path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def _rows(self, statement: str, values: Values) -> Iterator[sqlite3.Row]:
        """Yield the rows as they are found; both finding and fetching them stand under the limit."""
        until_s = time.monotonic() + self._limit_s
        self._db.set_progress_handler(lambda: self._interrupted or time.monotonic() > until_s, STEPS_PER_CHECK)
        with _told(self._path):
            yield from self._db.execute(statement, values)


class _Percentiles:
    """Aggregate: PERCENTS of the positive values, nearest rank, as one text with commas; NULL when there are none."""

    def __init__(self) -> None:
        self._values = array("q")

    def step(self, value: int) -> None:
        if value > 0:
            self._values.append(value)

    def finalize(self) -> str | None:
        values = sorted(self._values)
        if not values:
            return None
        return ",".join(str(values[(len(values) * percent + 99) // 100 - 1]) for percent in PERCENTS)


def _requests(db: sqlite3.Connection, batch: Batch, columns: list[Column]) -> int:
    """Insert requests with what was recorded of them, and add those that are new to the sums of hours and days. Return how many
    were new."""
    newest = _number(db, ledger_browsing.NEWEST)
    same = list(map(alike, columns))
    new = _insert(db, "requests", REQUEST_COLUMNS, columns, same)
    if new == len(columns[0]):  # numbered one after the other, as nobody else writes
        db.executemany(ledger_decisions.ADD, ledger_decisions.blocks_of(batch.recorded, columns[_AT], newest + 1))
        for name, sums in folded(columns, same).items():
            db.executemany(ledger_browsing.ADDS[name], sums)
        spans = spans_of(columns, newest + 1)
        db.executemany(ledger_spans.ADD, spans)
        db.executemany(ledger_spans.PRUNE, {(field, value, ledger_spans.SPAN) for field, value, _ in spans})
    elif new:
        ids = frozenset([row[0] for row in db.execute(_NEW_IDS, (newest,))])
        db.executemany(sql.INSERT_DECISION, ledger_decisions.rows_of(batch, ids))
        for statement in (*ledger_browsing.FOLDS, *ledger_spans.SPREADS):
            db.execute(statement, (newest,))
    return new


def _insert(db: sqlite3.Connection, table: str, names: tuple[str, ...], columns: list[Column], same: list[bool]) -> int:
    """Insert rows, given as columns, that are not there yet; return how many were new. `same`: where all values are alike.

    To hand a value over costs the driver more than to store it. What is the same in every row of a batch stands in the
    statement instead; texts only if they are words that mean nothing to SQL. A statement has several rows where there are many,
    because to open the table and its indexes, and to find their ends, costs a quarter of what a row does.
    """
    rows = len(columns[0])
    worth = rows >= WORTH_ROWS
    texts = [_literal(column[0]) if worth and one else "" for column, one in zip(columns, same, strict=True)]
    texts[0] = ""  # the id
    bound = [column for column, text in zip(columns, texts, strict=True) if not text]
    flat: list[object] = [None] * (rows * len(bound))
    for place, column in enumerate(bound):
        flat[place :: len(bound)] = column
    one = f"({', '.join([text or '?' for text in texts])})"
    new, start, whole = 0, 0, rows - rows % AT_ONCE if rows >= MANY_ROWS else 0
    for count, until in ((AT_ONCE, whole), (1, rows)):
        if until > start:
            values, wide = ", ".join([one] * count), len(bound) * count
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608
            ends = range(start * len(bound), until * len(bound), wide)
            new += db.executemany(statement, [flat[at : at + wide] for at in ends]).rowcount
            start = until
    return new


def _literal(value: object) -> str:
    """Return a value as SQL; "" where it is better handed over."""
    if type(value) is str:
        return f"'{value}'" if _PLAIN.fullmatch(value) else ""
    # A larger number would become another one without a word; the driver refuses it.
    return "NULL" if value is None else str(value) if type(value) is int and abs(value) < 1 << 63 else ""


@contextlib.contextmanager
def _closed_on_error(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what is done inside, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring a file to the newest version, each step in one transaction, so that a kill half-way loses nothing."""
    version = _check(db, path, fresh=True)
    for number, script in enumerate(sql.MIGRATIONS[version:], version + 1):
        with _transaction(db):
            if _number(db, "PRAGMA user_version") >= number:
                continue  # another process was first
            for statement in script.split(";\n"):
                db.execute(statement)
            db.execute("PRAGMA application_id = " + str(sql.APPLICATION_ID))
            db.execute("PRAGMA user_version = " + str(number))


def _check(db: sqlite3.Connection, path: Path, *, fresh: bool = False) -> int:
    """Return the version of a file. Raise LedgerError when it is none of ours, or newer than this program."""
    version, newest = _number(db, "PRAGMA user_version"), len(sql.MIGRATIONS)
    if version > newest:
        raise LedgerError(
            f"{path} was written by a newer version of pointsman (format {version}; this one knows up to {newest}): "
            "use that version, or another --data folder"
        )
    mark = _number(db, "PRAGMA application_id")
    empty = not _number(db, "SELECT COUNT(*) FROM sqlite_master")
    if mark != sql.APPLICATION_ID and not (fresh and empty):
        raise LedgerMissing(f"{path} is empty") if empty else LedgerError(f"{path} is not a ledger of pointsman")
    return version


def _number(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0])


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the driver's errors into LedgerError that name the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if text == "integer overflow":
            raise LedgerError(f"{path}: a sum is larger than 2^63-1: ask for a shorter time or fewer groups") from None
        if text == "interrupted" or "locked" in text or "busy" in text:
            why = "the question takes too long" if text == "interrupted" else text
            raise LedgerBusy(f"{path}: {why}") from None
        raise LedgerError(f"{path}: {text}") from None
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}") from None

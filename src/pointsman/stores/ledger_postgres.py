"""The ledger in PostgreSQL: one database for any number of routers, each with its own journals.

Rows are kept by request id, so writing again changes nothing, whoever does it. Marks are of one data folder's journals: in the
table they have the name of the folder in front. Batches are written one after the other, whoever writes them, so that `seq`
is the order in which rows can be seen: whoever asks for what came after a `seq` misses nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pointsman.core.invoice import Kept
from pointsman.stores import invoices_sql, ledger_browsing, ledger_signals, ledger_spans
from pointsman.stores import ledger_schema as sql
from pointsman.stores.invoices import Order
from pointsman.stores.ledger import (
    ATTEMPT_COLUMNS,
    FEEDBACK_COLUMNS,
    REQUEST_COLUMNS,
    Batch,
    Column,
    LedgerAway,
    LedgerBusy,
    LedgerError,
    LedgerMissing,
    Mark,
    columns_of,
)
from pointsman.stores.ledger_decisions import rows_of
from pointsman.stores.ledger_reading import SqlReader
from pointsman.stores.postgres import Link, LinkAway, LinkBusy, LinkError, Rows, migrate, version_of
from pointsman.stores.report_sql import POSTGRES
from pointsman.stores.sql import Db, Values

if TYPE_CHECKING:
    import asyncpg

SCHEMA = "pointsman_ledger"
LOCK = 0x504D4C47  # "PMLG": who migrates or writes is alone
WRITE_S = 10.0  # for one batch
DECISION_COLUMNS = ("request_id", "format", "blob")
TABLES = {
    "requests": REQUEST_COLUMNS,
    "sends": ATTEMPT_COLUMNS,
    "decisions": DECISION_COLUMNS,
    "feedback": FEEDBACK_COLUMNS,
}
_TYPES = """SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = to_regnamespace(:schema) AND a.attnum > 0"""
_MARKS = "SELECT segment, needed, skipped FROM marks WHERE starts_with(segment, :folder)"


class PostgresWriter:
    """Write the ledger as one data folder, whose name is `folder`. Connects, and migrates if need be, when it is first used,
    and again after the connection was lost: until then every method raises LedgerAway."""

    def __init__(self, url: str, folder: str) -> None:
        self._link = Link(url, SCHEMA, limit_s=WRITE_S)
        self._folder = f"{folder}/"
        self._inserts: dict[str, str] = {}  # by table; empty: the tables were not looked at

    def write(self, batch: Batch) -> int:
        """Store a batch in one transaction; return how many requests were new. Raise LedgerError: nothing is kept, unless it
        is LedgerAway, after which that is not known."""
        decisions = batch.decisions + rows_of(batch)
        rows = {"sends": batch.attempts, "decisions": decisions, "feedback": batch.feedback}
        parts = {"requests": batch.request_columns()}
        parts |= {table: columns_of(some, TABLES[table]) for table, some in rows.items() if some}
        marks = [(self._folder + segment, mark.offset, mark.skipped) for segment, mark in batch.marks.items()]
        with _told(), self._ready() as link, link.transaction(LOCK):
            newest = link.execute(ledger_browsing.NEWEST)[0][0] if parts["requests"] else 0
            new = [self._insert(table, columns) if columns else 0 for table, columns in parts.items()]
            for statement in (*ledger_browsing.FOLDS, *ledger_spans.SPREADS) if new[0] else ():
                link.execute(statement, (newest,))
            if batch.askings:
                batch.signalled = ledger_signals.book(link, batch)
            if marks:
                link.executemany(sql.REPLACE_MARK, marks)
        return new[0]

    def marks(self) -> dict[str, Mark]:
        """Return how far each journal segment of the data folder is booked."""
        with _told(), self._ready() as link:
            found = link.execute(_MARKS, {"folder": self._folder})
        return {row[0].removeprefix(self._folder): Mark(row[1], row[2]) for row in found}

    def forget(self, segments: list[str]) -> None:
        """Drop the marks of segments that are no more."""
        if segments:
            with _told(), self._ready() as link:
                link.executemany(sql.DELETE_MARK, [(self._folder + segment,) for segment in segments])

    def sync(self) -> None:
        """Do nothing: a transaction that was committed survives it."""

    def keep_policy(self, version: str, blob: bytes) -> None:
        """Store what decides in a config version; once."""
        with _told(), self._ready() as link:
            link.execute(sql.INSERT_POLICY, (version, blob))

    def policy(self, version: str) -> bytes | None:
        """Return what `keep_policy` stored."""
        with _told(), self._ready() as link:
            row = link.execute(sql.SELECT_POLICY, (version,)).fetchone()
        return bytes(row[0]) if row is not None else None

    def issue(self, order: Order) -> tuple[Kept, bool]:
        """Make a document and keep it, in one transaction that is alone; return it, and whether it is new."""
        with _told(), self._ready() as link, link.transaction(LOCK):
            return invoices_sql.add(link, order)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Db]:
        """Do what is done inside in one transaction; routers that write are not kept waiting."""
        with _told(), self._ready() as link, link.transaction():
            yield link

    def close(self) -> None:
        self._link.close()

    @contextlib.contextmanager
    def _ready(self) -> Iterator[Link]:
        """Give the Link, once the tables are those of this version."""
        if not self._inserts:
            migrate(self._link, LOCK, sql.MIGRATIONS)
            found = self._link.execute(_TYPES, {"schema": SCHEMA})
            types = {(table, column): kind for table, column, kind in found}
            self._inserts = {table: _insert(table, columns, types) for table, columns in TABLES.items()}
        try:
            yield self._link
        except LinkAway:
            self._inserts = {}  # another version may have changed the tables until it is back
            raise

    def _insert(self, table: str, columns: list[Column]) -> int:
        """Insert rows with one statement: an array for each column. Return how many were new."""
        columns = [_clean(values) for values in columns]
        statement = self._inserts[table]

        async def insert(connection: asyncpg.Connection) -> str:
            return str(await connection.execute(statement, *columns))

        return int(self._link.run(insert).rpartition(" ")[2])  # "INSERT 0 17"


class PostgresReader(SqlReader):
    """Read the ledger, never writing. No question takes longer than `limit_s` seconds (fault 102)."""

    _engine = POSTGRES

    def __init__(self, url: str, limit_s: float = 60.0) -> None:
        self._link = Link(url, SCHEMA, limit_s=limit_s, read_only=True)
        with contextlib.ExitStack() as unless_ready:
            unless_ready.callback(self._link.close)
            with _told():
                version = version_of(self._link, len(sql.MIGRATIONS))
            if not version:
                raise LedgerMissing(f"there is no ledger at {self._link.name}")
            if version < len(sql.MIGRATIONS):
                raise LedgerError(
                    f"{self._link.name} is of an older version of pointsman: `pointsman serve` brings it up to date"
                )
            unless_ready.pop_all()

    def close(self) -> None:
        self._link.close()

    def interrupt(self) -> None:
        """End what is asked now, from another thread, and refuse what would be asked later."""
        self._link.interrupt()

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        with _told(), self._link.transaction(kind="REPEATABLE READ"):
            yield

    def _rows(self, statement: str, values: Values) -> Rows:
        with _told():
            return self._link.execute(statement, values)


def _insert(table: str, columns: tuple[str, ...], types: dict[tuple[str, str], str]) -> str:
    arrays = ", ".join(f"${n}::{types[table, column]}[]" for n, column in enumerate(columns, 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"  # noqa: S608


def _clean(values: Column) -> Column:
    """Return a column without the one character that PostgreSQL's text cannot hold: clients may send it."""
    if isinstance(values[0], str) and "\0" in "".join(values):
        return tuple(value.replace("\0", "\ufffd") for value in values)
    return values


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn a Link's errors into LedgerError."""
    try:
        yield
    except LinkAway as error:
        raise LedgerAway(str(error)) from None
    except LinkBusy as error:
        raise LedgerBusy(str(error)) from None
    except LinkError as error:
        raise LedgerError(str(error)) from None

"""The ledgers that every test of the conformance suite runs over: `ledger` is a fixture with each of them in turn."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.stores import ledger_schema
from pointsman.stores.ledger import Reader, Writer
from pointsman.stores.ledger_postgres import SCHEMA, PostgresReader, PostgresWriter
from pointsman.stores.postgres import Link
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter
from servers import PostgresServer


class Ledger:
    """A ledger of a back end: opened as often as a test likes, closed when it ends."""

    name = ""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()

    def writer(self, folder: str = "here") -> Writer:
        """Open it to write, as the data folder of this name."""
        made = self._writer(folder)
        self._opened.callback(made.close)
        return made

    def reader(self, limit_s: float = 60.0) -> Reader:
        return self._reader(limit_s)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement past the store; both databases take it."""
        raise NotImplementedError

    def set_version(self, version: int) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def slow(self) -> Iterator[float]:
        """Let no question be answered within the seconds that are given."""
        yield 0.0

    def close(self) -> None:
        self._opened.close()

    def _writer(self, folder: str) -> Writer:
        raise NotImplementedError

    def _reader(self, limit_s: float) -> Reader:
        raise NotImplementedError


class SqliteLedger(Ledger):
    name = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            return db.execute(statement).fetchall()

    def set_version(self, version: int) -> None:
        self.ask(f"PRAGMA user_version = {version}")

    def _writer(self, folder: str) -> Writer:
        return SqliteWriter(self.path)

    def _reader(self, limit_s: float) -> Reader:
        return SqliteReader(self.path, limit_s)


class PostgresLedger(Ledger):
    name = "postgres"

    def __init__(self, url: str, server: PostgresServer) -> None:
        super().__init__()
        self.url, self.server = url, server

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        link = Link(self.url, SCHEMA, limit_s=10)
        try:
            return [tuple(row) for row in link.execute(statement)]
        finally:
            link.close()

    @contextlib.contextmanager
    def slow(self) -> Iterator[float]:
        link = Link(self.url, SCHEMA, limit_s=10)
        with contextlib.closing(link), link.transaction():
            link.execute("LOCK TABLE requests")
            yield 0.5

    def set_version(self, version: int) -> None:
        self.ask(f"UPDATE version SET number = {version}")

    def _writer(self, folder: str) -> Writer:
        return PostgresWriter(self.url, folder)

    def _reader(self, limit_s: float) -> Reader:
        return PostgresReader(self.url, limit_s)


def _sqlite(request: pytest.FixtureRequest) -> Ledger:
    path: Path = request.getfixturevalue("tmp_path")
    return SqliteLedger(path / FILE)


def _postgres(request: pytest.FixtureRequest) -> Ledger:
    return PostgresLedger(request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres"))


LEDGERS: dict[str, Callable[[pytest.FixtureRequest], Ledger]] = {"sqlite": _sqlite, "postgres": _postgres}


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    made = LEDGERS[request.param](request)
    yield made
    made.close()


@contextlib.contextmanager
def migrations(patch: pytest.MonkeyPatch, scripts: tuple[str, ...]) -> Iterator[None]:
    """Be a version of the program that knows these migrations."""
    with patch.context() as inner:
        inner.setattr(ledger_schema, "MIGRATIONS", scripts)
        yield

"""The key store in SQLite: one file of its own beside the ledger, written by the command line and the control process.

Every change is one transaction that survives power loss (synchronous FULL): a revocation that was said to be done is done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pointsman.stores import callers_schema as sql
from pointsman.stores.callers import Unavailable
from pointsman.stores.callers_sql import SqlCallers

FILE = "callers.sqlite"
BUSY_S = 5.0  # how long to wait for another process's lock


class SqliteCallers(SqlCallers):
    """Keep the callers of one data folder. `pepper` None: only to look, at what needs no digest. Raise Unavailable when the
    file is not there (unless it may be made: `create`), is none of ours, or was made with another pepper."""

    def __init__(
        self,
        path: Path,
        pepper: bytes | None,
        *,
        create: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        super().__init__(str(path), pepper, clock, chance)
        self._path = path
        with self.told():
            if create:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            elif not path.is_file():
                raise Unavailable(f"there is no key store at {path}")
            with contextlib.ExitStack() as unless_ready:
                self.db: sqlite3.Connection = sqlite3.connect(
                    path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
                )
                unless_ready.callback(self.db.close)
                self._prepare(create)
                unless_ready.pop_all()

    def close(self) -> None:
        self.db.close()

    @contextlib.contextmanager
    def change(self, *, noted: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or nothing of it. `noted`: it is a change that others have to hear of."""
        with self.told():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                if noted:
                    self.db.execute(sql.RAISE_REVISION)
                self.db.execute("COMMIT")
            finally:
                if self.db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self.db.execute("ROLLBACK")

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn the driver's errors into Unavailable that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self._path}: {error}") from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See one moment of the store."""
        self.db.execute("BEGIN")
        try:
            yield self.db
        finally:
            self.db.execute("ROLLBACK")

    def _prepare(self, create: bool) -> None:
        version, newest = self.number("PRAGMA user_version"), len(sql.MIGRATIONS)
        if version > newest:
            raise Unavailable(f"{self._path} was written by a newer version of pointsman: use that version")
        empty = not self.number("SELECT COUNT(*) FROM sqlite_master")
        if not empty and self.number("PRAGMA application_id") != sql.APPLICATION_ID:
            raise Unavailable(f"{self._path} is not a key store of pointsman")
        if empty and not create:
            raise Unavailable(f"{self._path} is empty")
        if create or version < newest:
            self.db.execute("PRAGMA journal_mode = WAL").close()
        self.db.execute("PRAGMA synchronous = FULL").close()
        for number, script in enumerate(sql.MIGRATIONS[version:], version + 1):
            self._migrate(number, script)
        self.check_pepper()

    def _migrate(self, number: int, script: str) -> None:
        with self.change(noted=False) as db:
            if self.number("PRAGMA user_version") >= number:
                return  # another process was first
            for statement in sql.statements(script):
                db.execute(statement)
            db.execute("PRAGMA application_id = " + str(sql.APPLICATION_ID))
            db.execute("PRAGMA user_version = " + str(number))

"""The key store in SQLite: one file of its own beside the ledger, written by the command line and the control process.

Every change is one transaction that survives power loss (synchronous FULL): a revocation that was said to be done is done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from pointsman.core import keys as texts
from pointsman.stores import callers_schema as sql
from pointsman.stores.callers import NEVER_MS, AdminKey, Published, Unavailable, caller_of
from pointsman.stores.callers_acting import SqliteActing
from pointsman.stores.callers_schema import admin_key_of, key_of

FILE = "callers.sqlite"
BUSY_S = 5.0  # how long to wait for another process's lock


class SqliteCallers:
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
        self.now_ms, self.chance = clock, chance
        self._path, self._pepper = path, pepper
        with self.told():
            if create:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            elif not path.is_file():
                raise Unavailable(f"there is no key store at {path}")
            with contextlib.ExitStack() as unless_ready:
                self.db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
                unless_ready.callback(self.db.close)
                self._prepare(create)
                unless_ready.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def acting(self, actor: str, organisation: str = "") -> SqliteActing:
        """Return what `actor` may do, inside an organisation, or everywhere."""
        return SqliteActing(self, actor, organisation)

    def admin_key(self, digest: bytes) -> AdminKey | None:
        """Return the admin key with a digest, also one that is revoked or expired."""
        with self.told():
            row = self.db.execute(sql.ADMIN_BY_DIGEST, (digest,)).fetchone()
        return admin_key_of(row) if row else None

    def revision(self) -> int:
        """Return a number that rises with every change."""
        with self.told():
            return self.number(sql.REVISION)

    def published(self) -> Published:
        """Return what workers need: one moment of the store."""
        now_ms = self.now_ms()
        with self.told(), self._reading() as db:
            stored = [key_of(row) for row in db.execute(sql.LIVE_KEYS, (now_ms,))]
            found = db.execute(sql.SECRETS, (now_ms,)).fetchall()
            revision, closed = self.number(sql.REVISION), bool(self.number(sql.ANY_KEY))
            mark = bytes(db.execute(sql.MARK).fetchone()[0])
        places = {key.id: place for place, key in enumerate(stored)}
        ends = [key.expires_ms or NEVER_MS for key in stored]
        valid = [(bytes(mark), places[id], min(until, ends[places[id]])) for mark, id, until in found if id in places]
        keys = tuple(caller_of(key) for key in stored)
        return Published(revision=revision, closed=closed, mark=mark, keys=keys, secrets=tuple(valid))

    def used(self, days: Mapping[str, str]) -> None:
        """Note on which day (UTC) keys, by the name they are booked under, were last used."""
        with self.change(noted=False) as db:
            keys = {key.label: key.id for key in map(key_of, db.execute(sql.LIVE_KEYS, (self.now_ms(),)))}
            db.executemany(sql.USED, [{"id": keys[name], "day": day} for name, day in days.items() if name in keys])

    # --- what an Acting uses
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

    def number(self, statement: str, *values: object) -> int:
        return int(self.db.execute(statement, values).fetchone()[0])

    def digest(self, text: str) -> bytes:
        """Return the digest of a key's text. Raise Unavailable without a pepper."""
        if self._pepper is None:
            raise Unavailable(f"{self._path}: there is no pepper")
        return texts.peppered(self._pepper, text.encode())

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
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
        if self._pepper is not None:
            self._check_pepper(texts.mark_of(self._pepper))

    def _migrate(self, number: int, script: str) -> None:
        with self.change(noted=False) as db:
            if self.number("PRAGMA user_version") >= number:
                return  # another process was first
            for statement in sql.statements(script):
                db.execute(statement)
            db.execute("PRAGMA application_id = " + str(sql.APPLICATION_ID))
            db.execute("PRAGMA user_version = " + str(number))

    def _check_pepper(self, mark: bytes) -> None:
        row = self.db.execute(sql.MARK).fetchone()
        if row is None:
            self.db.execute(sql.SET_MARK, (mark,))
            row = self.db.execute(sql.MARK).fetchone()
        if bytes(row[0]) != mark:
            raise Unavailable(f"{self._path}: its keys were made with another pepper; bring that one back")

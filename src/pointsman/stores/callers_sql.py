"""What every key store in SQL does (see stores.callers.Store); how statements are run is a back end's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Self

from pointsman.core import keys as texts
from pointsman.stores import callers_schema as sql
from pointsman.stores.callers import NEVER_MS, AdminKey, Published, Unavailable, caller_of
from pointsman.stores.callers_acting import SqlActing
from pointsman.stores.callers_schema import admin_key_of, key_of
from pointsman.stores.sql import Db


class SqlCallers:
    """Keep callers in tables. `name`: where they are, without secrets; `pepper` None: only to look, at what needs no digest."""

    db: Db

    def __init__(
        self, name: str, pepper: bytes | None, clock: Callable[[], int], chance: Callable[[int], bytes]
    ) -> None:
        self.now_ms, self.chance = clock, chance
        self._name, self._pepper = name, pepper

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def change(self, *, noted: bool = True) -> AbstractContextManager[Db]:
        """Commit what is done inside, or nothing of it, alone among all who change it: a row of the audit log follows the one
        before. `noted`: it is a change that others have to hear of."""

    @abstractmethod
    def told(self) -> AbstractContextManager[None]:
        """Turn the driver's errors into Unavailable that names the store."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Db]:
        """See one moment of the store."""

    def acting(self, actor: str, organisation: str = "") -> SqlActing:
        """Return what `actor` may do, inside an organisation, or everywhere."""
        return SqlActing(self, actor, organisation)

    def admin_key(self, digest: bytes) -> AdminKey | None:
        """Return the admin key with a digest, also one that is revoked or expired."""
        with self.told():
            row = self.db.execute(sql.ADMIN_BY_DIGEST, (digest,)).fetchone()
        return admin_key_of(row) if row else None

    def organisation(self, name: str) -> str:
        """Return the id of the organisation with a name; "" when there is none."""
        with self.told():
            given = {"kind": "organisation", "parent": "", "name": name, "within": ""}
            row = self.db.execute(sql.GROUP_NAMED, given).fetchone()
        return str(row[0]) if row else ""

    def revision(self) -> int:
        """Return a number that rises with every change."""
        with self.told():
            return self.number(sql.REVISION)

    def published(self) -> Published:
        """Return what workers need: one moment of the store."""
        now_ms = self.now_ms()
        with self.told(), self.reading() as db:
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
    def number(self, statement: str, *values: object) -> int:
        return int(self.db.execute(statement, values).fetchone()[0])

    def digest(self, text: str) -> bytes:
        """Return the digest of a key's text. Raise Unavailable without a pepper."""
        if self._pepper is None:
            raise Unavailable(f"{self._name}: there is no pepper")
        return texts.peppered(self._pepper, text.encode())

    def check_pepper(self) -> None:
        """Take the pepper for that of the store, if it has none yet. Raise Unavailable when it has another."""
        if self._pepper is None:
            return
        mark = texts.mark_of(self._pepper)
        row = self.db.execute(sql.MARK).fetchone()
        if row is None:
            self.db.execute(sql.SET_MARK, (mark,))
            row = self.db.execute(sql.MARK).fetchone()
        if bytes(row[0]) != mark:
            raise Unavailable(f"{self._name}: its keys were made with another pepper; bring that one back")

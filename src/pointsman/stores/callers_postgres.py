"""The key store in PostgreSQL: one for any number of routers, each of which publishes it for its own workers.

Changes are made one after the other, whoever makes them, so that each row of the audit log follows the one before.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator

from pointsman.stores import callers_schema as sql
from pointsman.stores.callers import Unavailable
from pointsman.stores.callers_sql import SqlCallers
from pointsman.stores.postgres import Link, LinkError, migrate
from pointsman.stores.sql import Db

SCHEMA = "pointsman_callers"
LOCK = 0x504D4341  # "PMCA": who migrates or changes is alone
LIMIT_S = 5.0


class PostgresCallers(SqlCallers):
    """Keep callers in a database; tables are made if there are none. Raise Unavailable when it cannot be reached, is newer,
    or was made with another pepper."""

    def __init__(
        self,
        url: str,
        pepper: bytes | None,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._link = Link(url, SCHEMA, limit_s=LIMIT_S, own=sql.POSTGRES_OWN)
        super().__init__(self._link.name, pepper, clock, chance)
        self.db = self._link
        with contextlib.ExitStack() as unless_ready, self.told():
            unless_ready.callback(self.close)
            migrate(self._link, LOCK, sql.POSTGRES_MIGRATIONS)
            self.check_pepper()
            unless_ready.pop_all()

    def close(self) -> None:
        self._link.close()

    def has_pepper(self) -> bool:
        """Tell whether a pepper belongs to the store: another is then of no use."""
        with self.told():
            return bool(self.db.execute(sql.MARK).fetchone())

    @contextlib.contextmanager
    def change(self, *, noted: bool = True) -> Iterator[Db]:
        with self.told(), self._link.transaction(LOCK):
            yield self.db
            if noted:
                self.db.execute(sql.RAISE_REVISION)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Db]:
        with self._link.transaction(kind="REPEATABLE READ"):
            yield self.db

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        try:
            yield
        except LinkError as error:
            raise Unavailable(str(error)) from None

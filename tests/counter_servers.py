"""The servers that counters may be shared in, for the tests: one face for a Redis and a PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gateway_redis import RedisServer

from servers import PostgresServer

SHARED = ["redis:", "postgresql:"]


class Shared(Protocol):
    url: str

    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def restart(self) -> None:
        """Kill it, and start it again; a Redis has then forgotten everything."""

    def silence(self, *owners: str) -> None:
        """Have these owners been silent for too long."""

    def state(self, counter: str) -> tuple[int, int]:
        """Return what of a counter was used and is held."""


class InRedis(RedisServer):
    def restart(self) -> None:
        self.stop()
        self.start()

    def silence(self, *owners: str) -> None:
        self.ask("ZADD", "pointsman:1:owners", *[word for owner in owners for word in ("1", owner)])

    def state(self, counter: str) -> tuple[int, int]:
        key = f"'pointsman:1:counter:{counter}'"
        return int(self.ask("HGET", key, "u").split()[-1]), int(self.ask("HGET", key, "h").split()[-1])


class InPostgres:
    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.database()
        self._database = self.url.rpartition("/")[2]
        self.freeze, self.thaw = server.freeze, server.thaw

    def run(self, statements: str) -> str:
        return self._server.sql(statements, self._database)

    def locks(self) -> int:
        """Return how many tables somebody has locked for himself."""
        found = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND locktype = 'relation'"
        return int(self.run(found))

    def restart(self) -> None:
        self._server.kill()
        self._server.start()

    def silence(self, *owners: str) -> None:
        names = ", ".join(f"'{owner}'" for owner in owners)
        self._server.sql(f"UPDATE pointsman_owners_1 SET until_ms = 1 WHERE owner IN ({names})", self._database)

    def state(self, counter: str) -> tuple[int, int]:
        query = f"SELECT used, held FROM pointsman_cells_1 WHERE name = '{counter}'"
        used, held = self._server.sql(query, self._database).split("|")
        return int(used), int(held)


def started(name: str, folder: Path, postgres: PostgresServer | None) -> Iterator[Shared]:
    """Start what the tests of a module share by this name."""
    if postgres is not None:
        shared = InPostgres(postgres)
        yield shared
        shared.thaw()
    else:
        with InRedis(folder) as running:
            yield running

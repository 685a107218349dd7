"""Choose the counter store that a URL names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.address import is_postgres
from pointsman.core.quotas import Windows
from pointsman.stores.counters.base import Clock, Counters
from pointsman.stores.counters.file import FileCounters
from pointsman.stores.counters.memory import MemoryCounters

if TYPE_CHECKING:
    from pointsman.stores.counters.shared import Connect

FOLDER = "counters"


class Place(NamedTuple):
    """Hold who counts: the worker of this number, of so many on this machine, of so many replicas, with this data folder."""

    data: Path
    number: int
    workers: int
    replicas: int
    owner: str  # nobody else's name, ever
    lease_ms: int = 0  # of a shared store: the life of leases, 0: there are none


def open_counters(url: str, place: Place, clock: Clock, windows: Windows) -> Counters:
    """Return the store. Raise ValueError for a bad URL, OSError when its files cannot be made."""
    if url == "memory:":
        return MemoryCounters(clock, windows)
    if url == "file:":
        return FileCounters(place.data / FOLDER, place.number, place.workers, clock, windows)
    from pointsman.stores.counters.shared import SharedCounters

    # Every worker of every replica falls back to its own part.
    return SharedCounters(_server_of(url, place.owner), place.replicas * place.workers, place.lease_ms, clock, windows)


def _server_of(url: str, owner: str) -> Connect:
    if is_postgres(url):
        from pointsman.stores.counters.postgres import PostgresServer

        return partial(PostgresServer, url, owner)
    from pointsman.stores.counters.redis import RedisServer

    return partial(RedisServer, url, owner)

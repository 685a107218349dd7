"""Choose the counter store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pointsman.core.quotas import Windows
from pointsman.stores.counters.base import Clock, Counters
from pointsman.stores.counters.file import FileCounters
from pointsman.stores.counters.memory import MemoryCounters

FOLDER = "counters"


class Place(NamedTuple):
    """Hold who counts: the worker of this number, of so many on this machine, of so many replicas, with this data folder."""

    data: Path
    number: int
    workers: int
    replicas: int
    owner: str  # nobody else's name, ever


def open_counters(url: str, place: Place, clock: Clock, windows: Windows) -> Counters:
    """Return the store. Raise ValueError for a bad URL, OSError when its files cannot be made."""
    if url == "memory:":
        return MemoryCounters(clock, windows)
    if url == "file:":
        return FileCounters(place.data / FOLDER, place.number, place.workers, clock, windows)
    from pointsman.stores.counters.redis import RedisCounters

    # Every worker of every replica falls back to its own part.
    return RedisCounters(url, place.owner, place.replicas * place.workers, clock, windows)

"""The ledgers that the tests of the pump book into: each test runs over every back end, unless it says otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledgers import Ledger, PostgresLedger, SqliteLedger

from pointsman.stores.sqlite import FILE


class Books:
    """The ledger of each data folder, all of one back end."""

    made: dict[Path, Ledger]
    make: Callable[[Path], Ledger]


BOOKS = Books()


@pytest.fixture(autouse=True, params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        BOOKS.make = lambda data: SqliteLedger(data / FILE)
    else:
        server = request.getfixturevalue("postgres")
        BOOKS.make = lambda data: PostgresLedger(server.database(), server)
    BOOKS.made = {}
    yield request.param
    for ledger in BOOKS.made.values():
        ledger.close()


def ledger_of(data: Path) -> Ledger:
    data.mkdir(parents=True, exist_ok=True)
    if data not in BOOKS.made:
        BOOKS.made[data] = BOOKS.make(data)
    return BOOKS.made[data]


def drop(data: Path) -> None:
    """Remove a data folder and its ledger."""
    BOOKS.made.pop(data).close()
    shutil.rmtree(data)

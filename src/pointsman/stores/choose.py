"""Choose the stores of a router by their URLs: `file:` is a file of the data folder, `postgresql://` a database.

Commands know a data folder only. What they need stands in the environment, or else in the note that the control process
leaves in the folder: URLs without passwords, which libpq's own places may hold (PGPASSWORD, ~/.pgpass).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pointsman.core.address import is_postgres
from pointsman.core.policy import OWN_FILE, Listener
from pointsman.core.secret import Secret
from pointsman.stores import callers_file
from pointsman.stores.callers import Store
from pointsman.stores.callers_sqlite import SqliteCallers
from pointsman.stores.ledger import Reader, Writer
from pointsman.stores.private import kept
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter
from pointsman.stores.versions import replace

LEDGER_VARIABLE, CALLERS_VARIABLE = "POINTSMAN_LEDGER", "POINTSMAN_CALLERS"
NOTE = Path("run") / "stores.json"
FOLDER = "folder-id"  # file with the name that a data folder's marks are kept under


class Stores(msgspec.Struct, frozen=True):
    """Say where the stores of a router with this data folder are."""

    data: Path
    ledger: Secret = OWN_FILE
    callers: Secret = OWN_FILE

    @property
    def shares_callers(self) -> bool:
        """Tell whether the key store is not a file of the data folder, but other routers' too."""
        return self.callers != OWN_FILE

    def writer(self) -> Writer:
        """Open the ledger to write. Raise LedgerError, PrivateError."""
        if self.ledger == OWN_FILE:
            return SqliteWriter(self.data / FILE)
        from pointsman.stores.ledger_postgres import PostgresWriter

        return PostgresWriter(self.ledger.reveal(), kept(self.data / FOLDER, make=True) or "")

    def reader(self, limit_s: float = 60.0) -> Reader:
        """Open the ledger to read; no question may take longer than this. Raise LedgerError."""
        if self.ledger == OWN_FILE:
            return SqliteReader(self.data / FILE, limit_s)
        from pointsman.stores.ledger_postgres import PostgresReader

        return PostgresReader(self.ledger.reveal(), limit_s)

    def has_callers(self) -> bool:
        """Tell whether there is a key store, as far as can be told without asking anybody."""
        return self.shares_callers or (self.data / callers_file.STORE).exists()

    def open_callers(self, pepper: bytes | None, *, create: bool = False) -> Store:
        """Open the key store. Raise Unavailable."""
        if not self.shares_callers:
            return SqliteCallers(self.data / callers_file.STORE, pepper, create=create)
        from pointsman.stores.callers_postgres import PostgresCallers

        return PostgresCallers(self.callers.reveal(), pepper)

    def lacks_pepper(self) -> bool:
        """Tell whether the key store belongs to no pepper yet, so that one may be made. Raise Unavailable."""
        if not self.shares_callers:
            return not (self.data / callers_file.STORE).exists()
        from pointsman.stores.callers_postgres import PostgresCallers

        with PostgresCallers(self.callers.reveal(), None) as store:
            return not store.has_pepper()

    def note(self) -> None:
        """Leave word for the commands. Raise OSError."""
        from pointsman.stores.postgres import without_password

        urls = {"ledger": self.ledger, "callers": self.callers}
        told = {name: without_password(url.reveal())[0] for name, url in urls.items() if url != OWN_FILE}
        path = self.data / NOTE
        if told or path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace(path, json.dumps(told).encode())


def stores_of(data: Path, listener: Listener) -> Stores:
    """Return the stores that a config names."""
    return Stores(data, listener.ledger, listener.callers)


def stores_at(data: Path, env: Mapping[str, str]) -> Stores:
    """Return the stores of the router with this data folder, for a command. Raise ValueError for a URL that is none."""
    noted: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        noted = dict(json.loads((data / NOTE).read_bytes()))
    ledger = env.get(LEDGER_VARIABLE, "") or noted.get("ledger", "")
    callers = env.get(CALLERS_VARIABLE, "") or noted.get("callers", "")
    for url, name in ((ledger, LEDGER_VARIABLE), (callers, CALLERS_VARIABLE)):
        if not _is_good(url):
            raise ValueError(f"{name} is no URL of a store: expected postgresql://[USER:PASSWORD@]HOST[:PORT]/DATABASE")
    return Stores(data, Secret(ledger or "file:"), Secret(callers or "file:"))


def _is_good(url: str) -> bool:
    try:
        return url in ("", "file:") or is_postgres(url)
    except ValueError:
        return False

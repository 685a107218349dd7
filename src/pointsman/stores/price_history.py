"""Price history: which price was in force for each deployment, and since when, as rows of the ledger's database.

A row is written when a config version is kept whose price of a deployment is another than the newest row's: so a price that
comes back has a row of its own. A deployment without a price has rows with an empty version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pointsman.core.policy import Policy
from pointsman.core.pricing import Price
from pointsman.stores.sql import Db, Values

MOST_LISTED = 1_000
Ask = Callable[[str, Values], list[Any]]

MIGRATION = """
CREATE TABLE prices (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,           -- Unix milliseconds: since when, as far as is known
    deployment TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    region TEXT NOT NULL,
    listed TEXT NOT NULL,             -- PROVIDER/MODEL in the price list; empty: not from there
    version TEXT NOT NULL,            -- price_version of requests; empty: no price was known
    source TEXT NOT NULL,
    note TEXT NOT NULL,
    price TEXT NOT NULL,              -- JSON of core.pricing.Price; empty without one
    config_version TEXT NOT NULL
);
CREATE INDEX prices_deployment ON prices (deployment, provider, model, seq);
CREATE INDEX prices_version ON prices (version) WHERE version <> '';
"""

COLUMNS = (
    *("at_ms", "deployment", "provider", "model", "region", "listed"),
    *("version", "source", "note", "price", "config_version"),
)
_ALL = ", ".join(COLUMNS)
_SELECTED = ", ".join(f"CAST(:{name} AS {'BIGINT' if name == 'at_ms' else 'TEXT'})" for name in COLUMNS)
_ADD = f"""INSERT INTO prices ({_ALL}) SELECT {_SELECTED}
WHERE COALESCE((SELECT p.version || '|' || p.note FROM prices p WHERE p.deployment = :deployment AND p.provider = :provider
    AND p.model = :model ORDER BY p.seq DESC LIMIT 1), '-') <> :version || '|' || :note"""  # noqa: S608  names of our own table
_NEWEST = f"""SELECT seq, {_ALL} FROM prices WHERE seq IN (SELECT MAX(seq) FROM prices GROUP BY deployment, provider, model)
ORDER BY deployment, seq LIMIT :most"""  # noqa: S608
_HISTORY = f"""SELECT seq, {_ALL} FROM prices WHERE deployment = :name OR model = :name OR listed = :name
ORDER BY deployment, provider, model, seq LIMIT :most"""  # noqa: S608
_BY_VERSION = f"SELECT seq, {_ALL} FROM prices WHERE version = :version ORDER BY seq LIMIT 1"  # noqa: S608
_VERSIONS = "SELECT DISTINCT version FROM prices WHERE version <> '' ORDER BY version LIMIT :most"


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a row."""

    seq: int
    at_ms: int
    deployment: str
    provider: str
    model: str
    region: str
    listed: str
    version: str
    source: str
    note: str
    price: Price | None
    config_version: str


def note_prices(db: Db, policy: Policy, at_ms: int) -> None:
    """Write the prices of a config version that are not those noted last."""
    for one in policy.deployments:
        price = one.price
        db.execute(
            _ADD,
            {
                "at_ms": at_ms,
                "deployment": one.name,
                "provider": one.provider,
                "model": one.wire.model,
                "region": one.region,
                "listed": one.listed,
                "version": price.version if price else "",
                "source": price.source if price else "",
                "note": price.note if price else "",
                "price": msgspec.json.encode(price).decode() if price else "",
                "config_version": policy.version,
            },
        )


def prices_in_force(ask: Ask) -> list[Noted]:
    """Return the newest row of each deployment, MOST_LISTED at most."""
    return _rows(ask(_NEWEST, {"most": MOST_LISTED}))


def price_history(ask: Ask, name: str) -> list[Noted]:
    """Return the rows of a deployment or model, by any of its names, oldest first."""
    return _rows(ask(_HISTORY, {"name": name, "most": MOST_LISTED}))


def price_of_version(ask: Ask, version: str) -> Noted | None:
    """Return the first row with a price version."""
    return next(iter(_rows(ask(_BY_VERSION, {"version": version}))), None)


def versions_like(ask: Ask, text: str) -> list[str]:
    """Return the price versions that a text may mean: the version itself, else those with a digest that it begins."""
    known = [str(row[0]) for row in ask(_VERSIONS, {"most": 100_000})]
    if text in known:
        return [text]
    return [one for one in known if one.rpartition("#")[2].startswith(text.removeprefix("#"))] if text else []


def _rows(found: Iterable[Any]) -> list[Noted]:
    rows = [dict(zip(("seq", *COLUMNS), tuple(row), strict=True)) for row in found]
    return [Noted(**{**row, "price": _price(row["price"])}) for row in rows]


def _price(text: str) -> Price | None:
    return msgspec.json.decode(text, type=Price) if text else None

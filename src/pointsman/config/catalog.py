"""Catalog: what is known of each deployment's model, and from where: config over overlay over price library."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import msgspec

from pointsman.config import prices
from pointsman.config.overlay import Entry, overlay
from pointsman.config.quality import Prior, table
from pointsman.core.policy import ModelFacts
from pointsman.core.pricing import Price

# Fact in the file -> fact of ModelFacts.
FACTS = {
    "context": "context_tokens",
    "max_output": "max_output_tokens",
    "modalities": "modalities",
    "tools": "tools",
    "json_schema": "json_schema",
    "reasoning": "reasoning",
    "retires": "retires",
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Say of what model something is to be known. `provider` and `prices` are "" where the catalog has no such."""

    provider: str  # its name in the table of known providers
    prices: str  # the provider's id in genai-prices
    model: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the catalog knows; `price_changes` is the ISO date of the next price the library already has."""

    facts: ModelFacts = ModelFacts()
    price: Price | None = None
    price_changes: str = ""
    listed: str = ""  # what the price list calls it, PROVIDER/MODEL
    entry: Entry | None = None
    quality: dict[str, float] = {}  # task category -> 0..1; empty: unknown


def lookup(
    wanted: Iterable[Wanted], today: date, cache_dir: Path | None = None, price_list: Path | None = None
) -> dict[Wanted, Known]:
    """Return what is known of each wanted model on `today`. `cache_dir` and `price_list`: see `prices.rows`."""
    asked = list(wanted)
    rows = prices.rows(((one.prices, one.model) for one in asked if one.prices), today, cache_dir, price_list)
    return {
        one: _merge(overlay().find(one.provider, one.model), rows.get((one.prices, one.model)), table().find(one.model))
        for one in asked
    }


def _merge(entry: Entry | None, row: prices.Row | None, prior: Prior | None) -> Known:
    facts: dict[str, object] = {}
    sources: dict[str, str] = {}
    if row is not None and row.context_tokens:
        facts["context_tokens"] = row.context_tokens
        sources["context"] = f"genai-prices {prices.library_version()}"
    for short, name in FACTS.items():
        value = getattr(entry, short, None)
        if value is not None:
            facts[name] = value
            sources[short] = "overlay"
    price = row.price if row else None
    if entry is not None and entry.price is not None:
        price = prices.from_usd(entry.price, "overlay")
    if price:
        sources["price"] = price.source
    if prior is not None:
        sources["quality"] = f"{prior.source} ({table().seen})"
    known = msgspec.convert({**facts, "sources": sources}, ModelFacts)
    return Known(
        facts=known,
        price=price,
        price_changes=row.changes if row else "",
        listed=row.key if row else "",
        entry=entry,
        quality=prior.by_category if prior else {},
    )

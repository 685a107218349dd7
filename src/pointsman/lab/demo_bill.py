"""The demo's audit: is what the ledger charged what the providers served, and what would the dearest model have cost."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pointsman.core.outcome import CLASSES, Blame, Kind
from pointsman.stores.ledger import LedgerError
from pointsman.stores.sqlite import FILE, SqliteReader

MOST_ROWS = 10_000
BOOKED_S = 20.0
NANO_PER_TOKEN = 1_000  # a price of 1 USD per million tokens is 1,000 nano-dollars per token


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the comparison. Money is nano-dollars; `wrong` says what does not fit, at best nothing."""

    requests: int
    failed_over: tuple[str, ...]  # ids that a provider failed and another answered, those with fewest attempts first
    moved_on: int  # requests that went on for another reason
    billed_nano: int
    served_nano: int
    dearest: str
    dearest_nano: int
    wrong: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.wrong and self.billed_nano == self.served_nano


def prices_of(config: Path) -> dict[str, tuple[Decimal, Decimal]]:
    """Return (input, output) USD per million tokens by deployment, as written in a config file."""
    deployments = yaml.safe_load(config.read_text(encoding="utf-8"))["deployments"]
    return {
        name: (Decimal(str(given["price"]["input"])), Decimal(str(given["price"]["output"])))
        for name, given in deployments.items()
    }


def ledger_rows(data: Path, expected: int) -> list[dict[str, Any]]:
    """Return the ledger's rows as soon as there are `expected` of them; what there is after 20 s.

    Each has `failures`: how those of its attempts ended that were not answered.
    """
    until = time.monotonic() + BOOKED_S
    while True:
        rows = _rows(data)
        if len(rows) >= expected or time.monotonic() > until:
            return rows
        time.sleep(0.1)


def _rows(data: Path) -> list[dict[str, Any]]:
    try:
        with SqliteReader(data / FILE) as reader:
            return [row | {"failures": _failures(reader, row)} for row in reader.recent(MOST_ROWS)]
    except LedgerError:
        return []


def _failures(reader: SqliteReader, row: dict[str, Any]) -> list[str]:
    entry = reader.entry(row["id"]) if row["attempts"] > 1 else None
    return [attempt["outcome"] for attempt in entry.attempts if attempt["outcome"] != "ok"] if entry else []


def audit(
    rows: list[dict[str, Any]], served: list[dict[str, Any]], prices: dict[str, tuple[Decimal, Decimal]]
) -> Audit:
    """Compare the ledger's rows with the providers' own log, request by request, with arithmetic of its own.

    In the demo a model is called as its deployment, and a request that failed before it was answered costs nothing.
    """
    moved = [row for row in rows if row["outcome"] == "ok" and any(_is_fault(end) for end in row["failures"])]
    failed_over = tuple(row["id"] for row in sorted(moved, key=lambda row: len(row["failures"])))
    answered: dict[str, list[dict[str, Any]]] = {}
    for entry in served:
        if entry["status"] == 200 and entry["outcome"] == "complete":
            answered.setdefault(entry["request_id"], []).append(entry)
    wrong = []
    for row in rows:
        wrong += _compare(row, answered.pop(row["id"], []), prices)
    wrong += [f"{id}: served by {found[0]['model']}, but not in the ledger" for id, found in answered.items()]
    whole = {
        name: sum(_nano(row["input_tokens"], row["output_tokens"], price) for row in rows)
        for name, price in prices.items()
    }
    dearest = max(whole, key=lambda name: whole[name])
    return Audit(
        requests=len(rows),
        failed_over=failed_over,
        moved_on=sum(bool(row["failures"]) for row in rows) - len(failed_over),
        billed_nano=sum(row["charge_nano"] or 0 for row in rows),
        served_nano=sum(
            _nano(entry["prompt_tokens"], entry["completion_tokens"], prices[entry["model"]])
            for entry in served
            if entry["status"] == 200 and entry["outcome"] == "complete"
        ),
        dearest=dearest,
        dearest_nano=whole[dearest],
        wrong=tuple(wrong),
    )


def _is_fault(outcome: str) -> bool:
    """Tell whether an attempt ended so because of the provider, not because its wire cannot say what was asked."""
    return CLASSES[Kind(outcome)].blame is Blame.PROVIDER


def _compare(row: dict[str, Any], found: list[dict[str, Any]], prices: dict[str, tuple[Decimal, Decimal]]) -> list[str]:
    """Return what does not fit between a ledger row and what the providers say they served for it."""
    if len(found) != 1:
        return [f"{row['id']}: {len(found)} providers answered, the ledger says {row['outcome']}"]
    entry = found[0]
    charge = _nano(entry["prompt_tokens"], entry["completion_tokens"], prices[entry["model"]])
    pairs = {
        "deployment": (row["deployment"], entry["model"]),
        "input tokens": (row["input_tokens"], entry["prompt_tokens"]),
        "output tokens": (row["output_tokens"], entry["completion_tokens"]),
        "charge in nano-dollars": (row["charge_nano"], charge),
    }
    return [f"{row['id']}: {what}: booked {a}, served {b}" for what, (a, b) in pairs.items() if a != b]


def _nano(input_tokens: int, output_tokens: int, price: tuple[Decimal, Decimal]) -> int:
    return int((input_tokens * price[0] + output_tokens * price[1]) * NANO_PER_TOKEN)

"""Saving: what the tokens that requests used would have cost at another deployment's prices.

It assumes the same counts of tokens, those from a prompt cache too, and the standard service tier: another model counts and
answers otherwise. Tiers and hours of a price hold for each request as they would have. Compared are requests that a provider
answered and whose usage and charge are measured; all others are counted beside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.policy import Policy
from pointsman.core.pricing import Price, nano_of
from pointsman.core.secret import secret_from_pipe
from pointsman.core.usage import Usage
from pointsman.stores.report import Asker, Column, Question, Report, ReportError, Tokens

DEAREST, CHEAPEST = "dearest", "cheapest"
ASSUMPTION = (
    "the same counts of tokens, also of those read from a prompt cache, at standard prices, for requests with measured usage"
    " and a measured charge"
)
COLUMNS = (
    Column("compared", "count"),
    Column("charged_nano", "nano"),
    Column("against_nano", "nano"),
    Column("difference_nano", "nano"),
    Column("no_price", "count"),
    Column("not_compared", "count"),
)
Sums = tuple[int, int, int, int, int, int]  # as COLUMNS


class Against(msgspec.Struct, frozen=True):
    """Hold what was compared with: the deployment for each route, and the config version of the prices."""

    wished: str
    deployments: dict[str, str]
    config: str
    assumption: str = ASSUMPTION


def policy_of(blob: bytes | None) -> Policy:
    """Return a policy as a ledger keeps it. Raise ReportError when there is none."""
    if blob is None:
        raise ReportError("against", "the ledger knows no prices yet: name a config")
    try:
        return msgspec.msgpack.decode(blob, type=Policy, dec_hook=secret_from_pipe)
    except msgspec.MsgspecError:
        raise ReportError("against", "the prices in the ledger are of another version: name a config") from None


def compared(asker: Asker, question: Question, policy: Policy, wished: str) -> tuple[Report, Against]:
    """Return the answer to a question with COLUMNS behind it. Raise ReportError, LedgerError."""
    if question.of != "requests":
        raise ReportError("against", "compares requests, not attempts")
    prices = {one.name: one.price for one in policy.deployments if one.price is not None and one.kind == "chat"}
    if wished not in (DEAREST, CHEAPEST) and wished not in prices:
        known = ", ".join((DEAREST, CHEAPEST, *prices))
        raise ReportError("against", f"there is no deployment {wished[:40]!r} with a price; there are {known}")
    used = [prices[wished]] if wished in prices else list(prices.values())
    over = tuple(sorted({tier.over_input_tokens for price in used for tier in price.tiers}))
    moments = tuple(sorted({at for price in used for w in price.windows for at in (w.start, w.until)} - {0}))
    report, cells = asker.report(question), asker.tokens(question, over, moments)

    def cost(cell: Tokens, name: str) -> int | None:
        return _cost(cell, prices[name], over, moments)

    routes = list(dict.fromkeys(cell.route for cell in cells))
    chosen = {
        route: wished
        if wished in prices
        else _chosen(
            [c for c in cells if c.route == route], _candidates(policy, route, prices), cost, wished == DEAREST
        )
        for route in routes
    }
    found: dict[tuple[str, ...], Sums] = {}
    for cell in cells:
        name = chosen[cell.route]
        found[cell.group] = _added(found.get(cell.group, _NONE), _sums(cell, cost(cell, name) if name else None))
    total = _NONE
    for sums in found.values():
        total = _added(total, sums)
    wide = len(report.columns) - len(report.total)
    rows = [(*row, *found.get(row[:wide], _NONE)) for row in report.rows]
    made = Report(report.question, [*report.columns, *COLUMNS], rows, (*report.total, *total), report.cut)
    return made, Against(wished, {route: name for route, name in chosen.items() if name}, policy.version)


_NONE: Sums = (0, 0, 0, 0, 0, 0)


def _added(one: Sums, other: Sums) -> Sums:
    return tuple(a + b for a, b in zip(one, other, strict=True))  # type: ignore[return-value]  # as long


def _sums(cell: Tokens, nano: int | None) -> Sums:
    if nano is None:
        return (0, 0, 0, 0, cell.requests, cell.left_out)
    return (cell.requests, cell.charged_nano, nano, nano - cell.charged_nano, 0, cell.left_out)


def _cost(cell: Tokens, price: Price, over: Sequence[int], moments: Sequence[int]) -> int | None:
    """Return what the tokens cost in nano-dollars, rounded once; None where the price does not say."""
    tokens = over[cell.tier - 1] + 1 if cell.tier else 0
    minute = moments[cell.window - 1] if cell.window else 0
    rates = price.rates_for(tokens, None, minute)
    if rates is None:
        return None
    return nano_of(_usage(cell.counts), msgspec.structs.replace(rates, request=0)) + rates.request * cell.requests


def _usage(counts: Sequence[int]) -> Usage:
    return Usage(**dict(zip(Usage.__struct_fields__, counts, strict=False)))  # type: ignore[arg-type]  # all but `source`


def _candidates(policy: Policy, route: str, prices: Mapping[str, Any]) -> list[str]:
    """Return the deployments with a price that a route may choose: also those of its rules, arms and rungs."""
    found = [one for one in policy.routes.values() if route and route in (one.name, one.hidden)]
    names = [name for one in found for name in one.candidates]
    names += [name for one in found for rung in one.degrade for name in rung.candidates]
    return [name for name in dict.fromkeys(names) if name in prices]


def _chosen(
    cells: Sequence[Tokens], names: Sequence[str], cost: Callable[[Tokens, str], int | None], dearest: bool
) -> str:
    """Return the deployment for which all of a route's tokens cost most, or least; "" when none has a price."""
    sums = {name: sum(cost(cell, name) or 0 for cell in cells) for name in sorted(names)}
    if not sums:
        return ""
    return max(sums, key=lambda name: sums[name]) if dearest else min(sums, key=lambda name: sums[name])

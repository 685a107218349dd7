"""Converted: a statement in another currency. Pure.

All rules are reckoned in dollars; then what each line comes to is turned into nano-units of the currency. Sums are exact, as
a line gets the difference of two running totals, each rounded half up once: first the amounts of all lines, then their
discounts. So what is owed is the dollars' net at the rate, rounded once, whatever the lines are grouped by; no line is off by a
nano-unit or more, and none goes below zero that was not. Tax, and rounding to what the currency is paid in, are reckoned in it.
"""

from __future__ import annotations

import msgspec

from pointsman.core.exchange import Exchanged
from pointsman.core.statement import Line, Part, Statement, shared_out, summed


def converted(found: Statement, rate: Exchanged | None) -> Statement:
    """Return a statement in dollars in another currency; as it is, if there is no rate."""
    if rate is None:
        return found
    priced = [line for line in found.lines if line.amount_nano is not None]
    pieces = _running(
        [*(line.amount_nano or 0 for line in priced), *(line.discount_nano or 0 for line in priced)], rate
    )
    made = {
        line.n: _line(line, rate, amount, discount)
        for line, amount, discount in zip(priced, pieces[: len(priced)], pieces[len(priced) :], strict=True)
    }
    whole = summed(
        msgspec.structs.replace(
            found,
            currency=rate.currency,
            exchanged=rate,
            lines=tuple(made.get(line.n, line) for line in found.lines),
        )
    )
    return msgspec.structs.replace(
        whole,
        markups=parts_of(found.markups, whole.markup_nano),
        discounts=parts_of(found.discounts, whole.discount_nano),
    )


def parts_of(parts: tuple[Part, ...], total_nano: int) -> tuple[Part, ...]:
    """Return a sum shared out to rules as they had shared another."""
    shares = shared_out(total_nano, [part.amount_nano for part in parts])
    return tuple(Part(part.name, share) for part, share in zip(parts, shares, strict=True))


def _running(values: list[int], rate: Exchanged) -> list[int]:
    made, total, last = [], 0, 0
    for value in values:
        total += value
        made.append(rate.of(total) - last)
        last = rate.of(total)
    return made


def _line(line: Line, rate: Exchanged, amount: int, discount: int) -> Line:
    """Return a line; its cost is rounded by itself, and the markup is what is left."""
    charged, cost = amount + discount, rate.of(line.cost_nano or 0)
    if not line.markup_nano:
        cost = charged
    return msgspec.structs.replace(
        line,
        cost_nano=min(cost, charged),
        markup_nano=charged - min(cost, charged),
        discount_nano=discount,
        amount_nano=amount,
    )

"""Statement: what a customer owes for a period, line by line, in integers. Pure.

Costs are whole nano-dollars. Markups are reckoned in units of 10⁻¹⁵ dollars, in which parts per million of a cost, prices of a
request and prices of a million tokens are all whole, summed over everything that a rule holds of, and rounded once, to
nano-dollars. What was rounded is shared out to the lines so that they add up (largest remainder method). So no total depends on
what the lines are grouped by. Cents are made once, of the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from pointsman.core.billing import (
    CUSTOMER,
    PPM,
    Billing,
    Consumption,
    Discount,
    Markup,
    Tier,
    details_of,
    holds,
)
from pointsman.core.exchange import USD, Exchanged, unit_nano
from pointsman.core.pricing import ChargeState

CENT_NANO = 10_000_000
BASIS_POINTS = 10_000
MOST_LINES = 10_000
Kind = Literal["usage", "late", "minimum"]


class TooManyLines(ValueError):
    """Say that the cost centres make more lines than a statement may have."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one line. `n` counts from 1; `group` has the values of the cost centres. Money is None where nobody knows the
    price: such lines are in no total. `amount_nano` is cost and markup less discount."""

    n: int
    kind: Kind
    period: str
    group: dict[str, str]
    state: ChargeState
    requests: int
    input_tokens: int
    output_tokens: int
    quantity: int
    unit: str
    cost_nano: int | None
    markup_nano: int | None
    discount_nano: int | None
    amount_nano: int | None


class Part(msgspec.Struct, frozen=True):
    """Hold what one rule has come to."""

    name: str
    amount_nano: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Hold lines and their sums, in nano-units of the currency: subtotal (cost and markup) - discount = net, + tax = total,
    + rounding = due, which is in whole cents, or what else the currency is paid in. Of the requests, those with an estimated
    charge are in the sums, on lines of their own; unpriced ones are not."""

    customer: str
    period: str
    currency: str = USD
    exchanged: Exchanged | msgspec.UnsetType = msgspec.UNSET  # of another currency: the rate it was reckoned with
    requests: int = 0
    estimated_requests: int = 0
    unpriced_requests: int = 0
    lines: tuple[Line, ...] = ()
    markups: tuple[Part, ...] = ()
    discounts: tuple[Part, ...] = ()
    cost_nano: int = 0
    markup_nano: int = 0
    subtotal_nano: int = 0
    discount_nano: int = 0
    net_nano: int = 0
    tax_basis_points: int = 0
    tax_nano: int = 0
    total_nano: int = 0
    rounding_nano: int = 0
    due_nano: int = 0


def half_up(value: Fraction) -> int:
    """Return the nearest whole number, the higher one of two. `value` >= 0."""
    return int(value + Fraction(1, 2))


def shared_out(total: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Return whole parts of a total, >= 0, in proportion to weights, >= 0, that add up to it: largest remainder method. Nothing
    to share among no weight gives zeros."""
    whole = sum(weights, Fraction(0))
    if not whole:
        return [0] * len(weights)
    shares = [total * Fraction(weight) / whole for weight in weights]
    parts = [int(share) for share in shares]
    first = sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i))
    for i in first[: total - sum(parts)]:
        parts[i] += 1
    return parts


def tax_of(net_nano: int, basis_points: int) -> int:
    """Return the tax on an amount, in nano-dollars."""
    return half_up(Fraction(net_nano * basis_points, BASIS_POINTS))


def cents_of(total_nano: int, currency: str = USD) -> int:
    """Return an amount in whole cents, or what a currency is paid in, as nano-units."""
    unit = unit_nano(currency)
    return half_up(Fraction(total_nano, unit)) * unit


def stated(
    rules: Billing,
    customer: str,
    period: str,
    used: Iterable[Consumption],
    by: Sequence[str] | None = None,
    most: int = MOST_LINES,
) -> Statement:
    """Return the statement of a customer's consumption, in dollars; what is of an earlier month than `period` is late. `by`:
    facts that lines are grouped by, those of the rules if None. Raise TooManyLines for more than `most`."""
    dims = rules.cost_centres if by is None else tuple(by)
    cells = [_Cell(rules, customer, one, _key(dims, period, one)) for one in used if one.requests]
    keys = sorted({cell.key for cell in cells})
    if len(keys) > most:
        raise TooManyLines(f"there are {len(keys)} lines, at most {most} fit: group by less")
    marked, markup_parts, minimums = _marked_up(rules, cells, keys, customer, period)
    cells += minimums
    keys += [cell.key for cell in minimums]
    marked += [0] * len(minimums)
    for i, cell in enumerate(minimums, len(keys) - len(minimums)):
        marked[i] = cell.gross // PPM
    discounted, discount_parts = _discounted(rules.discounts, cells, keys, period)
    lines = _lines(dims, cells, keys, marked, discounted)
    details = details_of(rules.customers, customer)
    return summed(
        Statement(
            customer=customer,
            period=period,
            tax_basis_points=details.tax_basis_points if details else 0,
            lines=lines,
            markups=markup_parts,
            discounts=discount_parts,
        )
    )


Key = tuple[int, str, tuple[str, ...], str]  # of a line: KINDS, month, values of the cost centres, state
KINDS: tuple[Kind, ...] = ("usage", "late", "minimum")


class _Cell:
    """Hold a consumption, the line it stands on, the rules that hold of it, and its exact money in 10⁻¹⁵ dollars."""

    __slots__ = ("extra", "gross", "key", "rule", "signature", "used")

    def __init__(self, rules: Billing, customer: str, used: Consumption, key: Key) -> None:
        facts = {**used.facts, CUSTOMER: customer}
        self.used, self.key = used, key
        self.rule = next((i for i, rule in enumerate(rules.markups) if holds(rule.where, facts)), -1)
        self.signature = tuple(holds(one.where, facts) for one in rules.discounts)
        self.extra = _extra(rules.markups[self.rule], used) if self.rule >= 0 else 0
        self.gross = 0 if used.state == "unpriced" else used.cost_nano * PPM + self.extra


def _extra(rule: Markup, used: Consumption) -> int:
    if used.state == "unpriced":
        return 0
    return (
        used.cost_nano * rule.ppm + used.answered * rule.per_request_nano * PPM + used.tokens * rule.per_mtok_nano
    )  # tokens / 10⁶ × nano-dollars × 10⁶


def _key(dims: Sequence[str], period: str, used: Consumption) -> Key:
    kind = 0 if used.month == period else 1
    return kind, used.month, tuple(used.facts.get(name, "") for name in dims), used.state


def _marked_up(
    rules: Billing, cells: Sequence[_Cell], keys: Sequence[Key], customer: str, period: str
) -> tuple[list[int], tuple[Part, ...], list[_Cell]]:
    """Return the markup of each line, that of each rule, and what fills up to the least of a rule."""
    place = {key: i for i, key in enumerate(keys)}
    sums, parts, minimums = [0] * len(keys), [], []
    for number, rule in enumerate(rules.markups):
        weights, any_priced = [0] * len(keys), False
        for cell in cells:
            if cell.rule == number:
                weights[place[cell.key]] += cell.extra
                any_priced |= cell.used.state != "unpriced"
        amount = half_up(Fraction(sum(weights), PPM))
        for i, part in enumerate(shared_out(amount, weights)):
            sums[i] += part
        missing = rule.min_nano - amount
        if any_priced and missing > 0:
            nothing = Consumption(
                month=period, facts={}, state="measured", requests=0, answered=0, input_tokens=0, output_tokens=0, cost_nano=0
            )  # fmt: skip
            filled = _Cell(rules, customer, nothing, (2, period, (rule.name,), "measured"))
            filled.rule, filled.gross = number, missing * PPM
            minimums.append(filled)
            amount = rule.min_nano
        if any_priced:
            parts.append(Part(rule.name, amount))
    return sums, tuple(parts), minimums


def _discounted(
    discounts: Sequence[Discount], cells: Sequence[_Cell], keys: Sequence[Key], period: str
) -> tuple[list[int], tuple[Part, ...]]:
    """Return what is taken off each line, and by each discount. Cells that the same discounts hold of keep the same share of
    their money, so that nothing depends on how many cells there are."""
    place = {key: i for i, key in enumerate(keys)}
    left: dict[tuple[bool, ...], Fraction] = {}
    gross: dict[tuple[bool, ...], int] = {}
    on_line: dict[tuple[int, tuple[bool, ...]], int] = {}
    for cell in cells:
        gross[cell.signature] = gross.get(cell.signature, 0) + cell.gross
        at = place[cell.key], cell.signature
        on_line[at] = on_line.get(at, 0) + cell.gross
    left |= {signature: Fraction(value) for signature, value in gross.items()}
    sums, parts = [0] * len(keys), []
    for number, rule in enumerate(discounts):
        if rule.period not in ("", period):
            continue
        base = sum((value for signature, value in left.items() if signature[number]), Fraction(0))
        amount = min(half_up(_taken_off(rule, base / PPM)), int(base / PPM))
        if not base or not amount:
            continue
        weights = [Fraction(0)] * len(keys)
        for (line, signature), value in on_line.items():
            if signature[number] and gross[signature]:
                weights[line] += value * left[signature] / gross[signature]
        for i, part in enumerate(shared_out(amount, weights)):
            sums[i] += part
        kept = 1 - amount * PPM / base
        left = {signature: value * kept if signature[number] else value for signature, value in left.items()}
        parts.append(Part(rule.name, amount))
    return sums, tuple(parts)


def _taken_off(rule: Discount, base_nano: Fraction) -> Fraction:
    if rule.tiers:
        return marginal(rule.tiers, base_nano)
    if rule.ppm:
        return base_nano * rule.ppm / PPM
    return Fraction(rule.credit_nano)


def marginal(tiers: Sequence[Tier], volume_nano: Fraction) -> Fraction:
    """Return what tiers take off a volume: each only of the part of it that lies within the tier."""
    ends: list[Fraction | int] = [tier.over_nano for tier in tiers[1:]]
    ends.append(volume_nano)
    found = Fraction(0)
    for tier, end in zip(tiers, ends, strict=True):
        found += max(Fraction(0), Fraction(min(volume_nano, end)) - tier.over_nano) * tier.ppm / PPM
    return found


def _lines(
    dims: Sequence[str], cells: Sequence[_Cell], keys: Sequence[Key], marked: Sequence[int], off: Sequence[int]
) -> tuple[Line, ...]:
    sums = {key: [0, 0, 0, 0] for key in keys}
    for cell in cells:
        one, used = sums[cell.key], cell.used
        for i, value in enumerate((used.requests, used.input_tokens, used.output_tokens, used.cost_nano)):
            one[i] += value
    made = []
    for n, key in enumerate(keys):
        kind, month, values, state = key
        requests, input_tokens, output_tokens, cost_nano = sums[key]
        known = state != "unpriced"
        made.append(
            Line(
                n=n + 1,
                kind=KINDS[kind],
                period=month,
                group={"markup": values[0]} if KINDS[kind] == "minimum" else dict(zip(dims, values, strict=True)),
                state=state,  # type: ignore[arg-type]  # of a Consumption
                requests=requests,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                quantity=input_tokens + output_tokens,
                unit="tokens",
                cost_nano=cost_nano if known else None,
                markup_nano=marked[n] if known else None,
                discount_nano=off[n] if known else None,
                amount_nano=cost_nano + marked[n] - off[n] if known else None,
            )
        )
    return tuple(made)


def summed(given: Statement) -> Statement:
    """Return a statement with the sums of its lines."""
    lines = given.lines
    cost, markup, off = (
        sum(value for line in lines if (value := getattr(line, name)) is not None)
        for name in ("cost_nano", "markup_nano", "discount_nano")
    )
    net = cost + markup - off
    tax = tax_of(net, given.tax_basis_points)
    due = cents_of(net + tax, given.currency)
    return msgspec.structs.replace(
        given,
        requests=sum(line.requests for line in lines),
        estimated_requests=sum(line.requests for line in lines if line.state == "estimated"),
        unpriced_requests=sum(line.requests for line in lines if line.state == "unpriced"),
        cost_nano=cost,
        markup_nano=markup,
        subtotal_nano=cost + markup,
        discount_nano=off,
        net_nano=net,
        tax_nano=tax,
        total_nano=net + tax,
        rounding_nano=due - net - tax,
        due_nano=due,
    )


def wrong_sums(found: Statement) -> str:
    """Return what of a statement does not add up; "" when all does."""
    again = summed(found)
    for name in found.__struct_fields__:
        if getattr(again, name) != getattr(found, name):
            return f"{name} is {getattr(found, name)}, the lines give {getattr(again, name)}"
    for line in found.lines:
        if line.amount_nano is not None and line.amount_nano != (
            (line.cost_nano or 0) + (line.markup_nano or 0) - (line.discount_nano or 0)
        ):
            return f"line {line.n} does not add up"
    for parts, total in ((found.markups, found.markup_nano), (found.discounts, found.discount_nano)):
        if sum(part.amount_nano for part in parts) != total:
            return "the parts of the rules do not add up"
    return ""

"""Billing: who is billed for what, and how: customers, markups, discounts, and the sums of the ledger that they are about.

Rules look at facts of a request: its organisation, team, project, key, route, provider, model, day, the customer it was found
to belong to, and tags. `tag:NAME` is what follows `NAME:` in the first tag that begins so, NAME where that is a tag itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from pointsman.core.exchange import USD, Exchanged, Rate, rate_at
from pointsman.core.pricing import ChargeState

CALLER_FACTS = ("organisation", "team", "project", "key")
FACTS = (*CALLER_FACTS, "route", "provider", "model", "day")  # columns of the ledger
CUSTOMER, TAG = "customer", "tag:"
MOST_TAGS = 16  # different names that the rules of one config look at
PPM = 1_000_000
Where = tuple[tuple[str, str], ...]  # facts and the values that they must have, all of them
Facts = Mapping[str, str]


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an entry of the customers: which requests are theirs, and what their invoices say. `each`: a fact, each value of
    which is a customer of that name; "": the entry is one customer."""

    name: str
    where: Where = ()
    each: str = ""
    title: str = ""  # as printed; "": the name
    address: tuple[str, ...] = ()
    email: str = ""
    tax_id: str = ""
    currency: str = USD
    rate_nano: int = 0  # nano-dollars of one unit of it; 0: the rate in force when an invoice is issued
    tax_basis_points: int = 0


class Markup(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is added to the cost of some requests. `ppm` is parts per million of the cost; `min_nano` the least that the
    rule brings in an invoice in which it holds of anything."""

    name: str
    where: Where = ()
    ppm: int = 0
    per_request_nano: int = 0  # for each request that was answered
    per_mtok_nano: int = 0  # for a million tokens, in and out
    min_nano: int = 0


class Tier(msgspec.Struct, frozen=True):
    """Hold what is taken off the part of a volume that lies beyond an amount, up to the next tier."""

    over_nano: int
    ppm: int


class Discount(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is taken off: exactly one of `ppm`, `tiers` (ascending) and `credit_nano`."""

    name: str
    where: Where = ()
    period: str = ""  # the only one that it holds in; "": all
    ppm: int = 0
    tiers: tuple[Tier, ...] = ()
    credit_nano: int = 0


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold who writes the invoices."""

    title: str = ""
    address: tuple[str, ...] = ()
    email: str = ""
    tax_id: str = ""


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the section `billing` of a config. The first customer and the first markup that match count; discounts hold one
    after the other, each of what those before have left."""

    customers: tuple[Customer, ...] = ()
    markups: tuple[Markup, ...] = ()
    discounts: tuple[Discount, ...] = ()
    cost_centres: tuple[str, ...] = ("model",)  # facts that lines are grouped by
    issuer: Issuer = Issuer()
    prefix: str = "INV"
    credit_prefix: str = "CN"
    notes: str = ""  # printed at the end
    rates: tuple[Rate, ...] = ()  # of exchange, as `prices.exchange` has them
    print_markup: bool = False  # whether pages for people show cost and markup apart
    font: str = ""  # TrueType file for PDF; "": the library's own

    @property
    def facts(self) -> tuple[str, ...]:
        """Return the facts that rules and lines look at, without the customer."""
        rules: tuple[Customer | Markup | Discount, ...] = (*self.customers, *self.markups, *self.discounts)
        asked = {name for rule in rules for name, _ in rule.where}
        asked |= {one.each for one in self.customers} | {*self.cost_centres}
        return tuple(sorted(asked - {CUSTOMER, ""}))


class Consumption(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the sums of requests of one month that are alike in all facts that were asked for and in their charge's state.
    `cost_nano` is 0 where that is unpriced. `epoch` is the lowest ledger `seq` up to which an invoice has looked that is not
    before theirs, 0 when none has: they are all billed or all open."""

    month: str  # YYYY-MM, UTC
    facts: dict[str, str]
    state: ChargeState
    epoch: int = 0
    requests: int
    answered: int
    input_tokens: int
    output_tokens: int
    cost_nano: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def holds(where: Where, facts: Facts) -> bool:
    """Tell whether facts have all the values."""
    return all(facts.get(name, "") == value for name, value in where)


def customer_of(customers: Iterable[Customer], facts: Facts) -> str:
    """Return the name of the customer that requests with these facts belong to; "": nobody's."""
    for one in customers:
        if not holds(one.where, facts):
            continue
        if not one.each:
            return one.name
        if facts.get(one.each, ""):
            return facts[one.each]
    return ""


def details_of(customers: Iterable[Customer], name: str) -> Customer | None:
    """Return what invoices of a customer say: the entry of that name, else the one with a customer for each value."""
    found: Customer | None = None
    for one in customers:
        if not one.each and one.name == name:
            return one
        if one.each and found is None:
            found = one
    return found


def exchanged_of(rules: Billing, name: str, at_ms: int) -> Exchanged | None:
    """Return the rate that a customer's documents of a moment are reckoned with; None: they are in dollars. Raise ValueError
    when none is in force."""
    details = details_of(rules.customers, name)
    if details is None or details.currency == USD:
        return None
    begins_ms, source, nano = 0, "billing.customers", details.rate_nano
    if not nano:
        found = rate_at(rules.rates, details.currency, at_ms)
        if found is None:
            raise ValueError(f"no rate of exchange of {details.currency} is in force: write one in prices.exchange")
        begins_ms, source, nano = found.begins_ms, "prices.exchange", found.nano
    return Exchanged(currency=details.currency, nano=nano, begins_ms=begins_ms, source=source, fixed_ms=at_ms)


def organisation_of(customers: Iterable[Customer], name: str) -> str:
    """Return the organisation that alone has requests of a customer, whatever they are; "" when it is not certain."""
    found = set()
    for one in customers:
        if one.name == name or one.each:
            found.add(name if one.each == "organisation" else dict(one.where).get("organisation", ""))
    return found.pop() if len(found) == 1 else ""


def membership_of(customers: Iterable[Customer]) -> bytes:
    """Return what of the customers decides whose a request is, as canonical JSON."""
    return msgspec.json.encode([(one.name, one.each, one.where) for one in customers])


def members_of(membership: bytes) -> tuple[Customer, ...]:
    """Return customers that tell whose a request is as those did that `membership_of` was given."""
    found = msgspec.json.decode(membership, type=list[tuple[str, str, Where]])
    return tuple(Customer(name=name, each=each, where=where) for name, each, where in found)


def digest(data: bytes) -> str:
    """Return a SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()

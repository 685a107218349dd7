"""The schema of `billing`: customers, what is added to the cost and taken off, and what invoices say."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pointsman.config.environment import Borrowed
from pointsman.config.fields import Label, Name, Section, Text, Truth, Whole, setting

NANO = 1_000_000_000
MOST_PERCENT = 1_000
MOST_USD = 100_000_000
FACT = r"^(organisation|team|project|key|route|provider|model|day|tag:[A-Za-z0-9._@-]{1,64})$"
MONTH = r"^20\d\d-(0[1-9]|1[0-2])$"


def _exact(value: Any, unit: int, most: int, kind: str) -> Any:
    """Read a number as so many whole units, exactly as it is written."""
    if isinstance(value, bool) or not isinstance(value, int | float | Borrowed):
        raise PydanticCustomError("float_type", "expected a number")
    try:
        number = Decimal(str(value).strip()) * unit
    except InvalidOperation:
        raise PydanticCustomError("float_type", "expected a number") from None
    if not number.is_finite() or number != number.to_integral_value():
        raise PydanticCustomError(kind, "has too many decimal places")
    if not 0 <= number <= most * unit:
        raise PydanticCustomError("billing_range", "must be 0 to {most}", {"most": most})
    return int(number)


Percent = Annotated[
    int,
    BeforeValidator(lambda value: _exact(value, 10_000, MOST_PERCENT, "billing_percent")),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": MOST_PERCENT}),
]
Share = Annotated[
    int,
    BeforeValidator(lambda value: _exact(value, 10_000, 100, "billing_percent")),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100}),
]
Dollars = Annotated[
    int,
    BeforeValidator(lambda value: _exact(value, NANO, MOST_USD, "billing_usd")),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": MOST_USD}),
]
Fact = Annotated[str, Field(pattern=FACT)]
Address = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=8)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$")]
Prefix = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{0,11}$")]
Line = Annotated[str, Field(min_length=1, max_length=100)]


class Sender(Section):
    """Whose name and address stand on invoices."""

    name: Line | None = setting("Name, as printed.")
    address: Address = setting("Address, line by line.", [])
    email: Email | None = setting("Address for mail, as printed.")
    tax_id: Line | None = setting("Tax number, as printed.")


class Customer(Section):
    """Whose requests an entry of `customers` stands for, and what their invoices say. The first entry that matches counts;
    without anything to match it has what no entry before it has."""

    organisation: Name | None = setting("Requests of this organisation.")
    team: Name | None = setting("Requests of this team.")
    project: Name | None = setting("Requests of this project.")
    key: Name | None = setting("Requests of this key, as it is booked.")
    tag: Label | None = setting("NAME:VALUE: requests with this tag. NAME: one customer for each value of it.")
    each: Literal["organisation", "team", "project", "key"] | None = setting("One customer for each of these.")
    name: Line | None = setting("Name, as printed. Default: that of the entry.")
    address: Address = setting("Address, line by line.", [])
    email: Email | None = setting("Address for mail, as printed.")
    tax_id: Line | None = setting("Tax number, as printed.")
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = setting(
        "Currency of the invoices. Another than USD needs a rate: `exchange_rate`, or one in `prices.exchange`.", "USD"
    )
    exchange_rate: Dollars | None = setting(
        "USD for one unit of the currency. Default: the rate of `prices.exchange` in force when an invoice is issued."
    )
    tax_basis_points: Annotated[Whole, Field(ge=0, le=10_000)] = setting(
        "Tax on the net amount, in hundredths of a percent; a line of its own.", 0
    )


class Markup(Section):
    """What is added to the cost of some requests. The first entry that matches a request counts."""

    name: Line | None = setting("What statements call it. Default: `markup N`.")
    customer: Name | None = setting("Only of this customer.")
    provider: Name | None = setting("Only at this provider.")
    model: Text | None = setting("Only of this model, as the provider calls it.")
    route: Name | None = setting("Only on this route.")
    tag: Label | None = setting("Only with this tag.")
    percent: Percent = setting("Percent of the cost; four decimal places at most.", 0)
    per_request_usd: Dollars = setting("USD for each request that was answered.", 0)
    per_mtok_usd: Dollars = setting("USD for a million tokens, in and out.", 0)
    min_usd: Dollars = setting("The least that it comes to in an invoice in which it holds of anything.", 0)


class Tier(Section):
    """A part of a period's volume, up to the next tier."""

    over_usd: Dollars = Field(description="Where it begins.")
    percent: Share = Field(description="Percent taken off what lies in it, and of nothing else.")


class Discount(Section):
    """What is taken off, one entry after the other, each of what those before have left."""

    name: Line | None = setting("What statements call it. Default: `discount N`.")
    customer: Name | None = setting("Only of this customer.")
    provider: Name | None = setting("Only at this provider.")
    model: Text | None = setting("Only of this model, as the provider calls it.")
    route: Name | None = setting("Only on this route.")
    tag: Label | None = setting("Only with this tag.")
    period: Annotated[str, Field(pattern=MONTH)] | None = setting('Only in this month: "2026-11".')
    percent: Share | None = setting("Percent taken off; four decimal places at most.")
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=32)] | None = setting(
        "Percent by volume, ascending: each takes off only of the part that lies in it."
    )
    credit_usd: Dollars | None = setting("A fixed amount in each period, at most what there is.")


class Billing(Section):
    """Who is billed for what, and how."""

    customers: Annotated[dict[Name, Customer], Field(max_length=10_000)] = setting("Who is billed, by name.", {})
    markup: Annotated[list[Markup], Field(max_length=256)] = setting("What is added to the cost.", [])
    discounts: Annotated[list[Discount], Field(max_length=16)] = setting("What is taken off.", [])
    cost_centres: Annotated[list[Fact], Field(min_length=1, max_length=4)] = setting(
        "What lines are grouped by: organisation, team, project, key, route, provider, model, day, `tag:NAME`.",
        ["model"],
    )
    issuer: Sender = setting("Who writes the invoices.", Sender())
    prefix: Prefix = setting("Begin of the numbers of invoices.", "INV")
    credit_prefix: Prefix = setting("Begin of the numbers of credit notes.", "CN")
    notes: Annotated[str, Field(max_length=2_000)] = setting("Text at the end of invoices.", "")
    print_markup: Truth = setting("Show cost and markup apart on HTML and PDF; JSON and CSV always have them.", False)
    font: Text | None = setting("TrueType file for PDF. Default: one that has Western European letters only.")

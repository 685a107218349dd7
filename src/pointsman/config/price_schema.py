"""The schema of prices: what a deployment costs, and the section `prices`: contracts, rates of exchange, and where a new price
list comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pointsman.config.billing_schema import Dollars
from pointsman.config.environment import Borrowed
from pointsman.config.fields import Duration, Label, Name, SecretText, Section, Text, TimeOfDay, Usd, setting

MOST_PERCENT = 100
MOST_CONTRACTS = 1_000
ServiceTier = Literal["standard", "flex", "priority", "fast", "batch"]


def _moment(value: Any) -> Any:
    """Read an ISO 8601 date (its begin in UTC) or moment as Unix milliseconds."""
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=found.tzinfo or UTC)
    except (TypeError, ValueError):
        raise PydanticCustomError("moment", "expected a date") from None
    if not 2000 <= found.year <= 2200:
        raise PydanticCustomError("moment", "expected a date")
    return int(found.timestamp() * 1000)


def _percent(value: Any) -> Any:
    """Read a percentage as parts per million, exactly as it is written."""
    if isinstance(value, bool) or not isinstance(value, int | float | Borrowed):
        raise PydanticCustomError("float_type", "expected a number")
    try:
        number = Decimal(str(value).strip()) * 10_000
    except InvalidOperation:
        raise PydanticCustomError("float_type", "expected a number") from None
    if not number.is_finite() or number != number.to_integral_value():
        raise PydanticCustomError("billing_percent", "has too many decimal places")
    if abs(number) > MOST_PERCENT * 10_000:
        raise PydanticCustomError("percent_range", "must be -100 to 100")
    return int(number)


Moment = Annotated[
    int,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$|\$\{"}),
]
Percent = Annotated[
    int,
    BeforeValidator(_percent),
    WithJsonSchema({"type": "number", "minimum": -MOST_PERCENT, "maximum": MOST_PERCENT}),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Rates(Section):
    """Prices in USD per million tokens. Classes left out cost what contains them."""

    input: Usd = Field(description="USD per million input tokens.")
    output: Usd = Field(description="USD per million output tokens.")
    cache_read: Usd | None = setting("USD per million input tokens read from cache.")
    cache_write: Usd | None = setting("USD per million input tokens written to the 5-minute cache.")
    cache_write_1h: Usd | None = setting("USD per million input tokens written to the 1-hour cache.")
    reasoning: Usd | None = setting("USD per million output tokens spent on thinking.")
    input_audio: Usd | None = setting("USD per million audio tokens in.")
    output_audio: Usd | None = setting("USD per million audio tokens out.")
    request: Usd | None = setting("USD for each call, whatever its size.")


class Window(Rates):
    """Other prices for some hours of each day, UTC; over midnight when `until` is not later than `from`."""

    start: TimeOfDay = Field(alias="from", description='First minute, "HH:MM" in UTC.')
    until: TimeOfDay = Field(description='First minute after it, "HH:MM" in UTC.')


class Price(Rates):
    """What a deployment costs, in USD per million tokens. Classes left out cost what contains them."""

    windows: list[Window] = setting("Other prices by time of day; the first that holds replaces all of these.", [])
    currency: Currency = setting("Currency of all these figures; one of `prices.exchange`.", "USD")


class Exchange(Section):
    """What a unit of a currency is worth, from a moment on."""

    rate: Dollars = Field(description="USD for one unit of it.")
    start: Moment | None = Field(
        default=None, alias="from", description="Date (UTC) or moment from which it holds. Default: always."
    )


class Contract(Section):
    """What was agreed with a provider instead of its list prices. Has either `off` or `price`."""

    name: Label = Field(description="What price versions and the ledger call it.")
    provider: Name | None = setting("Only at this provider, as `providers` names it.")
    model: Text | None = setting("Only for this model, as the provider calls it.")
    region: Text | None = setting("Only for deployments with this `region`.")
    service_tier: ServiceTier | None = setting(
        "Only for calls of this service tier. Default: every one; with `price`: standard."
    )
    off: Percent | None = setting("Percent off the list price, -100 to 100; less than 0 is a surcharge.")
    price: Price | None = setting("Its own rates.")
    start: Moment | None = Field(
        default=None, alias="from", description="Date (UTC) or moment from which it holds. Default: always."
    )
    until: Moment | None = setting("Date (UTC) or moment from which it does not hold any more. Default: never.")
    committed_usd: Dollars = setting("What was promised to be spent while it holds: shown, not reckoned with.", 0)


class Prices(Section):
    """What is known of prices beyond the price list."""

    contracts: Annotated[list[Contract], Field(max_length=MOST_CONTRACTS)] = setting(
        "Own rates and discounts; the first that holds counts.", []
    )
    exchange: dict[Name, Annotated[list[Exchange], Field(min_length=1, max_length=1_000)]] = setting(
        "Rates of exchange by currency: `EUR: [{rate: 1.08, from: 2026-11-01}]`.", {}
    )
    origin: SecretText | None = Field(
        default=None,
        alias="from",
        description="Where a newer price list is: a file, relative to the config file, or an https URL. Default: nowhere.",
    )
    refresh: Duration | None = setting("How often the router looks there. Default: never.")
    accept: Literal["manual", "auto"] = setting(
        "auto: what is found there is put in force, but for what is held back; manual: it is told.", "manual"
    )

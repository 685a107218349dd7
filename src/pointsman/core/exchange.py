"""Exchange: rates of exchange that the operator wrote, each from a moment on, and exact conversion with them. Pure.

An amount of a currency is held in its nano-units, 10⁻⁹ of one, as dollars are in nano-dollars."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from pointsman.core.pricing import NANO_PER_USD, usd

USD = "USD"
DIGITS = {
    "BHD": 3,
    "CLP": 0,
    "ISK": 0,
    "JPY": 0,
    "KRW": 0,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "VND": 0,
}  # ISO 4217; others 2


class Rate(msgspec.Struct, frozen=True):
    """Hold what one unit of a currency is worth in nano-dollars, from a moment on (Unix milliseconds; 0: always)."""

    currency: str
    nano: int
    begins_ms: int = 0

    @property
    def told(self) -> str:
        """Return the rate as documents show it: `1 EUR = 1.08 USD from 2026-11-01`."""
        since = f" from {moment(self.begins_ms)}" if self.begins_ms else ""
        return f"1 {self.currency} = {usd(self.nano, 9)} USD{since}"


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the rate that a document was reckoned with: one unit of `currency` is `nano` nano-dollars, by `source` in force from
    `begins_ms` on, fixed at `fixed_ms` (Unix milliseconds; 0: always)."""

    currency: str
    nano: int
    begins_ms: int
    source: str
    fixed_ms: int

    @property
    def told(self) -> str:
        """Return it as documents show it: `1 EUR = 1.08 USD from 2026-11-01`."""
        return Rate(self.currency, self.nano, self.begins_ms).told

    def of(self, nano: int) -> int:
        """Return nano-dollars (>= 0) in nano-units of the currency, rounded half up once. A higher amount never gives less."""
        return (2 * nano * NANO_PER_USD + self.nano) // (2 * self.nano)


class Amount(msgspec.Struct, frozen=True):
    """Hold an amount in the smallest units of a currency (cents), and the rate that it was reckoned with."""

    units: int
    currency: str
    rate: str

    @property
    def text(self) -> str:
        """Return the amount as it is written, with its currency behind it."""
        digits = DIGITS.get(self.currency, 2)
        whole, part = divmod(abs(self.units), 10**digits)
        sign = "-" if self.units < 0 else ""
        return f"{sign}{whole}{f'.{part:0{digits}d}' if digits else ''} {self.currency}"


def rate_at(rates: Iterable[Rate], currency: str, now_ms: int) -> Rate | None:
    """Return the rate in force at a moment: the one that began last; None when there is none."""
    if currency == USD:
        return Rate(USD, NANO_PER_USD)
    found = [one for one in rates if one.currency == currency and one.begins_ms <= now_ms]
    return max(found, key=lambda one: one.begins_ms, default=None)


def nano_of_amount(amount: Decimal, rate: Rate) -> int:
    """Return an amount of a currency (>= 0) in nano-dollars, exact, then rounded half up once."""
    numerator, denominator = amount.as_integer_ratio()
    return (2 * numerator * rate.nano + denominator) // (2 * denominator)


def amount_of(nano: int, rate: Rate) -> Amount:
    """Return nano-dollars in the smallest units of a currency, rounded half away from zero once."""
    scaled = abs(nano) * 10 ** DIGITS.get(rate.currency, 2)
    units = (2 * scaled + rate.nano) // (2 * rate.nano)
    return Amount(-units if nano < 0 else units, rate.currency, rate.told)


def unit_nano(currency: str) -> int:
    """Return the smallest unit that a currency is paid in, in its nano-units: a cent is 10 000 000."""
    return int(10 ** (9 - DIGITS.get(currency, 2)))


def moment(at_ms: int) -> str:
    """Return a moment as people read it: the date, with the time of day unless that is midnight (UTC)."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.date().isoformat() if at_ms % 86_400_000 == 0 else at.isoformat(timespec="seconds").replace("+00:00", "Z")

"""Contracts: what was agreed with a provider instead of its list prices, and from when to when. Pure.

For the standard service tier and for each other one, the first contract that covers a deployment and is in force counts. One
that takes percents off covers every service tier unless it names one; one with rates of its own covers the standard one then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from pointsman.core.exchange import moment
from pointsman.core.pricing import Price, Rates, Tier, Window, usd, versioned
from pointsman.core.secret import Secret

PPM = 1_000_000
STANDARD = "standard"


class Place(msgspec.Struct, frozen=True):
    """Hold what a contract looks at."""

    provider: str
    model: str
    region: str = ""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one contract: exactly one of `off_ppm` (parts per million of the list price; less than 0 is a surcharge) and
    `price`. "" in a condition: any. Moments are Unix milliseconds, `ends_ms` the first at which it does not hold any more."""

    name: str
    provider: str = ""
    model: str = ""
    region: str = ""
    service_tier: str = ""
    off_ppm: int = 0
    price: Price | None = None
    begins_ms: int = 0
    ends_ms: int | None = None
    commitment_nano: int = 0  # what was promised to be spent while it is in force; nothing is reckoned with it

    def covers(self, place: Place) -> bool:
        return all(
            wanted in ("", there)
            for wanted, there in (
                (self.provider, place.provider),
                (self.model, place.model),
                (self.region, place.region),
            )
        )

    def in_force(self, now_ms: int) -> bool:
        return self.begins_ms <= now_ms and (self.ends_ms is None or now_ms < self.ends_ms)

    def covers_tier(self, tier: str) -> bool:
        if self.service_tier:
            return self.service_tier == tier
        return self.price is None or tier == STANDARD

    @property
    def terms(self) -> str:
        """Return what it says, when it holds and what was promised, in one line."""
        begins = f" from {moment(self.begins_ms)}" if self.begins_ms else ""
        ends = f" until {moment(self.ends_ms)}" if self.ends_ms is not None else ""
        promised = f", {usd(self.commitment_nano)} USD committed" if self.commitment_nano else ""
        own = f": {self.service_tier or STANDARD} {_said(self.price.rates)}" if self.price is not None else ""
        only = f" ({self.service_tier})" if self.service_tier and not own else ""
        return f"{self.told}{only}{own}{begins}{ends}{promised}"

    @property
    def told(self) -> str:
        """Return what it says in a few words."""
        if self.price is not None:
            return f"contract {self.name}" + (f" ({self.price.note})" if self.price.note else "")
        return f"contract {self.name} {percent(-self.off_ppm)}"


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the section `prices` of a config, as the control process and the commands need it."""

    contracts: tuple[Contract, ...] = ()
    origin: Secret | None = None  # path or URL that a new price list is read from
    refresh_s: float = 0.0  # between two looks at it; 0: none
    accept: Literal["manual", "auto"] = "manual"


def agreed(listed: Price | None, contracts: Sequence[Contract], place: Place, now_ms: int) -> Price | None:
    """Return the price in force: the list's, with what contracts change in it. None when the standard tier has none."""
    valid = [one for one in contracts if one.covers(place) and one.in_force(now_ms)]
    if not valid:
        return listed
    used: list[Contract] = []
    standard = _standard(listed, _first(valid, STANDARD, used))
    if standard is None:
        return None
    variants = {}
    names = {*(listed.variants if listed else ()), *(one.service_tier for one in valid if one.price)} - {STANDARD, ""}
    for name in sorted(names):
        before = listed.variants.get(name) if listed else None
        rates = _variant(before, _first(valid, name, used))
        if rates is not None:
            variants[name] = rates
    if not used and listed is not None:
        return listed
    rates, tiers, windows = standard
    contract_names = dict.fromkeys(one.name for one in used)
    note = f"{_said(listed.rates) if listed else 'list unknown'}, {', '.join(dict.fromkeys(one.told for one in used))}"
    note = f"list {note}: {_said(rates)}" if listed else f"{note}: {_said(rates)}"
    note += f" ({listed.note})" if listed and listed.note else ""
    return versioned(rates, f"contract {'+'.join(contract_names)}", tiers, variants, windows, note)


def moments_of(contracts: Iterable[Contract], place: Place) -> list[int]:
    """Return the moments at which a contract that covers a deployment begins or ends."""
    covering = [one for one in contracts if one.covers(place)]
    return [at for one in covering for at in (one.begins_ms, one.ends_ms) if at]


def scaled(rates: Rates, off_ppm: int) -> Rates:
    """Return rates with parts per million of each taken off, rounded half up to a nano-dollar per million tokens."""
    figures = {
        name: None if rate is None else (rate * (PPM - off_ppm) + PPM // 2) // PPM
        for name, rate in msgspec.structs.asdict(rates).items()
    }
    return msgspec.convert(figures, Rates)


def percent(ppm: int) -> str:
    """Return parts per million as a percentage with its sign."""
    whole, part = divmod(abs(ppm), 10_000)
    digits = f".{part:04d}".rstrip("0").rstrip(".")
    return f"{'-' if ppm < 0 else '+'}{whole}{digits} %"


def _first(valid: Sequence[Contract], tier: str, used: list[Contract]) -> Contract | None:
    found = next((one for one in valid if one.covers_tier(tier)), None)
    if found is not None:
        used.append(found)
    return found


def _standard(
    listed: Price | None, contract: Contract | None
) -> tuple[Rates, tuple[Tier, ...], tuple[Window, ...]] | None:
    if contract is not None and contract.price is not None:
        return contract.price.rates, contract.price.tiers, contract.price.windows
    if listed is None:
        return None
    off = contract.off_ppm if contract is not None else 0
    return (
        scaled(listed.rates, off),
        tuple(Tier(one.over_input_tokens, scaled(one.rates, off)) for one in listed.tiers),
        tuple(Window(one.start, one.until, scaled(one.rates, off)) for one in listed.windows),
    )


def _variant(listed: Rates | None, contract: Contract | None) -> Rates | None:
    if contract is None:
        return listed
    if contract.price is not None:
        return contract.price.rates
    return scaled(listed, contract.off_ppm) if listed is not None else None


def _said(rates: Rates) -> str:
    return f"{usd(rates.input, 9)} / {usd(rates.output, 9)}"

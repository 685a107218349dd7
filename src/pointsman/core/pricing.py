"""Pricing: rates of a model and the arithmetic that turns usage into a charge, in integers only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from pointsman.core.usage import Usage

NANO_PER_USD = 1_000_000_000
TOKENS_PER_RATE = 1_000_000  # a rate is nano-dollars per this many tokens, so USD per million tokens × 1e9

ChargeState = Literal["measured", "estimated", "unpriced"]


class Rates(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Hold what one million tokens of each class cost, in nano-dollars. None: no rate of its own, so it falls back to
    the class that contains it (cache and audio to input or output, reasoning to output); never to zero."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    request: int = 0  # nano-dollars for each call, whatever its size


class Tier(msgspec.Struct, frozen=True, gc=False):
    """Replace the rates of the whole call when it reads more than `over_input_tokens`."""

    over_input_tokens: int
    rates: Rates


class Window(msgspec.Struct, frozen=True, gc=False):
    """Replace the rates from one minute of the UTC day to before another; over midnight when `until` is not later."""

    start: int  # 0..1439
    until: int
    rates: Rates

    def holds(self, minute: int) -> bool:
        if self.start < self.until:
            return self.start <= minute < self.until
        return minute >= self.start or minute < self.until


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the price of one deployment. `version` names the reckoning, so that a row can be recomputed (I7)."""

    rates: Rates
    version: str
    source: str  # where it came from: config, overlay, genai-prices x.y.z
    tiers: tuple[Tier, ...] = ()  # ascending
    variants: dict[str, Rates] = {}  # service tier asked for (flex, priority, batch) -> rates
    windows: tuple[Window, ...] = ()  # by time of day; the first that holds replaces rates and tiers
    note: str = ""  # how it came about, for people, where that is more than its source

    def rates_for(self, input_tokens: int, service_tier: str | None = None, minute: int = -1) -> Rates | None:
        """Return the rates that hold for a call, or None when its service tier has no known price. `minute` is that of the
        UTC day in which the request was admitted."""
        if service_tier not in (None, "", "auto", "default", "standard", "standard_only"):
            return self.variants.get(service_tier)
        for window in self.windows:
            if window.holds(minute):
                return window.rates
        for tier in reversed(self.tiers):
            if input_tokens > tier.over_input_tokens:
                return tier.rates
        return self.rates


def versioned(
    rates: Rates,
    source: str,
    tiers: tuple[Tier, ...] = (),
    variants: Mapping[str, Rates] = {},
    windows: tuple[Window, ...] = (),
    note: str = "",
) -> Price:
    """Return a Price whose version is its source and a digest of every figure in it."""
    parts = [rates, tiers, dict(variants), *([windows] if windows else [])]
    mark = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]
    return Price(
        rates=rates,
        version=f"{source}#{mark}",
        source=source,
        tiers=tiers,
        variants=dict(variants),
        windows=windows,
        note=note,
    )


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Hold what an attempt costs. `nano` is None exactly when `state` is unpriced."""

    nano: int | None
    state: ChargeState


UNPRICED = Charge(None, "unpriced")
NOTHING = Charge(0, "measured")  # nothing was sent, or the provider does not bill this kind of end


def nano_of(usage: Usage, rates: Rates) -> int:
    """Return the cost of `usage` at `rates` in nano-dollars, rounded half up once, at the end."""
    u = usage
    total = u.input_tokens * rates.input + u.output_tokens * rates.output
    if u.has_classes:
        total += _class_differences(u, rates)
    return max(0, (total + TOKENS_PER_RATE // 2) // TOKENS_PER_RATE) + rates.request


def _class_differences(u: Usage, r: Rates) -> int:
    """Return what the classes with a rate of their own cost more or less than as plain input and output."""
    write_5m = r.input if r.cache_write_5m is None else r.cache_write_5m
    write_1h = write_5m if r.cache_write_1h is None else r.cache_write_1h
    total = u.cache_write_5m_tokens * (write_5m - r.input) + u.cache_write_1h_tokens * (write_1h - r.input)
    if r.cache_read is not None:
        total += u.cache_read_tokens * (r.cache_read - r.input)
    if r.reasoning is not None:
        total += u.reasoning_tokens * (r.reasoning - r.output)
    if r.input_audio is not None:
        total += u.input_audio_tokens * (r.input_audio - r.input)
    if r.output_audio is not None:
        total += u.output_audio_tokens * (r.output_audio - r.output)
    return total


def charge(usage: Usage, price: Price | None, service_tier: str | None = None, minute: int = -1) -> Charge:
    """Return what `usage` costs. Unknown price or unknown usage is `unpriced`, never zero (I5)."""
    if price is None or usage.source == "unknown":
        return UNPRICED
    rates: Rates | None = price.rates
    if service_tier is not None or price.tiers or price.windows:
        rates = price.rates_for(usage.input_tokens, service_tier, minute)
    if rates is None:
        return UNPRICED
    return Charge(nano_of(usage, rates), "measured" if usage.source == "measured" else "estimated")


@lru_cache(maxsize=4096)
def usd_exact(nano: int) -> str:
    """Return nano-dollars as dollars with all nine places. `nano` >= 0."""
    whole, rest = divmod(nano, NANO_PER_USD)
    return f"{whole}.{rest:09d}"


def usd(nano: int | None, digits: int = 6) -> str:
    """Return nano-dollars as dollars with at least two and at most `digits` places; 'unpriced' for None."""
    if nano is None:
        return "unpriced"
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, rest = divmod(nano, NANO_PER_USD)
    text = f"{rest:09d}"[:digits].rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{text}"

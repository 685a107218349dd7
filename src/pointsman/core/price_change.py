"""Price change: what differs between two prices of a model, and what is too strange to be believed without a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

import msgspec

from pointsman.core.pricing import Price, Rates

MOST_FACTOR = 5  # by which a rate may change without a person's word
Kind = Literal["changed", "added", "gone"]


class Figure(msgspec.Struct, frozen=True):
    """Hold one rate before and after, in nano-dollars per million tokens (`request`: per call); None: it has none."""

    name: str
    old: int | None
    new: int | None

    @property
    def percent(self) -> float | None:
        return None if not self.old or self.new is None else round((self.new / self.old - 1) * 100, 2)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what differs at a model, PROVIDER/MODEL in the list. `held`: why it is not taken; "": it is. `later`: days on which
    further changes begin that the list already has."""

    model: str
    kind: Kind
    figures: tuple[Figure, ...] = ()
    held: str = ""
    later: tuple[str, ...] = ()


def figures_of(price: Price | None) -> dict[str, int]:
    """Return every rate of a price by a name, those of classes without one of their own too: what they cost."""
    if price is None:
        return {}
    found = _named("", price.rates)
    for tier in price.tiers:
        found |= _named(f"over {tier.over_input_tokens}: ", tier.rates)
    for window in price.windows:
        found |= _named(f"{_time(window.start)}-{_time(window.until)}: ", window.rates)
    for name, rates in sorted(price.variants.items()):
        found |= _named(f"{name}: ", rates)
    return found


def differences(old: Price | None, new: Price | None) -> tuple[Figure, ...]:
    """Return the rates that differ. Classes that only follow the class that contains them are left out."""
    before, after = figures_of(old), figures_of(new)
    found = [
        Figure(name, before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    told = [one for one in found if not _follows(one, found)]
    return tuple(told)


def doubt(old: Price | None, news: Iterable[Price | None]) -> str:
    """Return why a person should look at a new price, now or later, before it holds; "" when it is within bounds."""
    if old is None:
        return ""
    before = figures_of(old)
    for new in news:
        if new is None:
            return "it has no price any more that can be reckoned with"
        after = figures_of(new)
        for name, was in before.items():
            now = after.get(name)
            if now is None or now == was:
                continue  # a tier or service tier that is gone: calls that ask for it are unpriced, or priced as the others
            if not now or not was:
                return f"{name} goes {'to' if not now else 'from'} zero"
            factor = max(Fraction(now, was), Fraction(was, now))
            if factor > MOST_FACTOR:
                return f"{name} changes by a factor of {float(factor):.1f}"
    return ""


def _named(prefix: str, rates: Rates) -> dict[str, int]:
    write = rates.input if rates.cache_write_5m is None else rates.cache_write_5m
    effective = {
        "input": rates.input,
        "output": rates.output,
        "cache_read": rates.input if rates.cache_read is None else rates.cache_read,
        "cache_write": write,
        "cache_write_1h": write if rates.cache_write_1h is None else rates.cache_write_1h,
        "reasoning": rates.output if rates.reasoning is None else rates.reasoning,
        "input_audio": rates.input if rates.input_audio is None else rates.input_audio,
        "output_audio": rates.output if rates.output_audio is None else rates.output_audio,
    }
    if rates.request:
        effective["request"] = rates.request
    return {prefix + name: rate for name, rate in effective.items()}


_WITHIN = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "input_audio": "input",
    "reasoning": "output",
    "output_audio": "output",
}


def _follows(one: Figure, found: list[Figure]) -> bool:
    prefix, _, name = one.name.rpartition(": ")
    base = _WITHIN.get(name)
    if base is None:
        return False
    whole = f"{prefix}: {base}" if prefix else base
    return any(other.name == whole and (other.old, other.new) == (one.old, one.new) for other in found)


def _time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"

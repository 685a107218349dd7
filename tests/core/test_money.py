"""Money is integers: a charge is the sum of its classes, rounded once, and unknown is never zero."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from core_makers import rates, usages, wild_usages
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.pricing import NANO_PER_USD, Price, Rates, Tier, charge, nano_of, usd
from pointsman.core.usage import MAX_TOKENS, NO_USAGE, Usage, clamp

FLAT = Rates(input=2_500_000_000, output=10_000_000_000)


def by_hand(u: Usage, r: Rates) -> Fraction:
    """Return the exact cost in nano-dollars: each token once, at the rate of its class or of what contains it."""
    five = r.input if r.cache_write_5m is None else r.cache_write_5m
    classes = (
        (u.cache_read_tokens, r.input if r.cache_read is None else r.cache_read),
        (u.cache_write_5m_tokens, five),
        (u.cache_write_1h_tokens, five if r.cache_write_1h is None else r.cache_write_1h),
        (u.input_audio_tokens, r.input if r.input_audio is None else r.input_audio),
        (u.reasoning_tokens, r.output if r.reasoning is None else r.reasoning),
        (u.output_audio_tokens, r.output if r.output_audio is None else r.output_audio),
    )
    plain_in = u.input_tokens - sum(count for count, _ in classes[:4])
    plain_out = u.output_tokens - sum(count for count, _ in classes[4:])
    total = plain_in * r.input + plain_out * r.output + sum(count * rate for count, rate in classes)
    return Fraction(total, 1_000_000) + r.request


@given(usages(), rates)
def test_a_charge_is_the_sum_of_its_classes_rounded_half_up_once(usage: Usage, given_rates: Rates) -> None:
    exact = by_hand(usage, given_rates)
    assert nano_of(usage, given_rates) == (exact + Fraction(1, 2)).__floor__()


@given(usages(), rates)
def test_i07_reckoning_again_from_what_was_stored_gives_the_same(usage: Usage, given_rates: Rates) -> None:
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode((usage, given_rates)), type=tuple[Usage, Rates])
    assert nano_of(*stored) == nano_of(usage, given_rates)


@given(usages(), usages(), rates)
def test_two_calls_cost_what_they_cost_together_but_for_rounding(a: Usage, b: Usage, given_rates: Rates) -> None:
    both = Usage(*[x + y for x, y in zip(msgspec.structs.astuple(a)[:8], msgspec.structs.astuple(b)[:8], strict=True)])
    apart = nano_of(a, given_rates) + nano_of(b, given_rates)
    assert abs(apart - nano_of(both, given_rates) - given_rates.request) <= 1


@given(wild_usages)
def test_f28_clamp_makes_any_report_possible_and_says_so(usage: Usage) -> None:
    found = clamp(usage)
    parts_in = found.cache_read_tokens + found.cache_write_5m_tokens + found.cache_write_1h_tokens
    assert 0 <= parts_in <= found.input_tokens <= MAX_TOKENS
    assert 0 <= found.reasoning_tokens <= found.output_tokens <= MAX_TOKENS
    assert 0 <= found.input_audio_tokens <= found.input_tokens
    assert 0 <= found.output_audio_tokens <= found.output_tokens
    assert min(msgspec.structs.astuple(found)[:8]) >= 0
    assert found == usage or found.source == "estimated"
    assert clamp(found) == found


@given(wild_usages, rates)
def test_no_report_gives_a_negative_charge(usage: Usage, given_rates: Rates) -> None:
    assert nano_of(clamp(usage), given_rates) >= 0


@given(usages())
def test_a_possible_report_is_believed(usage: Usage) -> None:
    within = usage.input_tokens <= MAX_TOKENS and usage.output_tokens <= MAX_TOKENS
    assert (clamp(usage) is usage) is within


def test_i05_unknown_price_or_usage_is_unpriced() -> None:
    price = Price(rates=FLAT, version="v", source="config")
    for found in (charge(Usage(5, 5), None), charge(NO_USAGE, price), charge(Usage(5, 5), price, "flex")):
        assert found.nano is None and found.state == "unpriced"
    assert charge(Usage(5, 5), price).state == "measured"
    assert charge(Usage(5, 5, source="estimated"), price).state == "estimated"


def test_the_standard_service_tiers_cost_the_standard_rates() -> None:
    price = Price(rates=FLAT, version="v", source="config", variants={"flex": Rates(input=1, output=1)})
    assert price.rates_for(10, "auto") == price.rates_for(10, None) == price.rates_for(10, "default") == FLAT
    assert price.rates_for(10, "flex") == Rates(input=1, output=1)
    assert price.rates_for(10, "priority") is None


@given(st.integers(0, 2_000_000))
def test_the_highest_tier_below_the_input_holds_for_the_whole_call(tokens_in: int) -> None:
    tiers = (Tier(100_000, Rates(input=2, output=2)), Tier(1_000_000, Rates(input=3, output=3)))
    price = Price(rates=Rates(input=1, output=1), version="v", source="config", tiers=tiers)
    found = price.rates_for(tokens_in)
    assert found is not None
    assert found.input == (3 if tokens_in > 1_000_000 else 2 if tokens_in > 100_000 else 1)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (1, "0.00"), (1_500_000_000, "1.50"), (123_456_789, "0.123456"), (-5 * NANO_PER_USD, "-5.00")],
)
def test_dollars_are_shown_with_two_to_six_places(nano: int, text: str) -> None:
    assert usd(nano) == text


def test_dollars_of_an_unknown_charge_are_a_word() -> None:
    assert usd(None) == "unpriced"

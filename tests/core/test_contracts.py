"""Contracts, rates of exchange and changes of prices: pure arithmetic, exact, with bounds."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.contracts import Contract, Place, agreed, moments_of, percent, scaled
from pointsman.core.exchange import Rate, amount_of, moment, nano_of_amount, rate_at
from pointsman.core.price_change import Figure, differences, doubt
from pointsman.core.pricing import Price, Rates, Tier, Window, versioned

LIST = versioned(
    Rates(input=3_000_000_000, output=15_000_000_000, cache_read=300_000_000, request=1_000),
    "overlay",
    (Tier(200_000, Rates(input=6_000_000_000, output=30_000_000_000)),),
    {"batch": Rates(input=1_500_000_000, output=7_500_000_000), "flex": Rates(input=2, output=4)},
    (Window(0, 60, Rates(input=1_000_000_000, output=2_000_000_000)),),
)
HERE = Place("openai", "gpt-6", "eu")
RATES = st.builds(Rates, input=st.integers(0, 10**15), output=st.integers(0, 10**15))


def given_by(*contracts: Contract, listed: Price | None = LIST, now_ms: int = 0, place: Place = HERE) -> Price:
    price = agreed(listed, contracts, place, now_ms)
    assert price is not None
    return price


def test_percents_come_off_every_rate_tier_window_and_service_tier() -> None:
    price = given_by(Contract(name="acme", off_ppm=120_000))
    assert price.rates == Rates(input=2_640_000_000, output=13_200_000_000, cache_read=264_000_000, request=880)
    assert price.tiers[0].rates.input == 5_280_000_000 and price.windows[0].rates.output == 1_760_000_000
    assert price.variants["batch"].input == 1_320_000_000
    assert price.source == "contract acme" and price.version.startswith("contract acme#")
    assert price.note == "list 3.00 / 15.00, contract acme -12 %: 2.64 / 13.20"


def test_rates_of_its_own_replace_the_standard_ones_and_leave_service_tiers() -> None:
    own = versioned(Rates(input=1, output=2), "config", note="1 / 2 EUR, 1 EUR = 1.08 USD")
    price = given_by(Contract(name="own", price=own))
    assert (price.rates, price.tiers, price.windows) == (own.rates, (), ()) and price.variants == LIST.variants
    assert "contract own (1 / 2 EUR, 1 EUR = 1.08 USD)" in price.note


def test_a_contract_for_a_service_tier_changes_that_alone() -> None:
    batch = versioned(Rates(input=5, output=6), "config")
    price = given_by(
        Contract(name="b", service_tier="batch", price=batch),
        Contract(name="s", service_tier="standard", off_ppm=500_000),
    )
    assert price.variants == {"batch": batch.rates, "flex": LIST.variants["flex"]}
    assert price.rates.input == 1_500_000_000 and price.source == "contract s+b"


def test_the_first_that_covers_and_holds_counts() -> None:
    contracts = (
        Contract(name="elsewhere", region="us", off_ppm=900_000),
        Contract(name="other", model="gpt-5", off_ppm=900_000),
        Contract(name="over", off_ppm=900_000, ends_ms=100),
        Contract(name="now", provider="openai", off_ppm=500_000, begins_ms=100),
        Contract(name="later", off_ppm=250_000),
    )
    assert given_by(*contracts, now_ms=99).source == "contract over"
    assert given_by(*contracts, now_ms=100).source == "contract now"
    assert given_by(*contracts, now_ms=100, place=Place("groq", "x")).source == "contract later"
    assert moments_of(contracts, HERE) == [100, 100]


def test_without_a_contract_in_force_the_list_price_is_as_it_was() -> None:
    assert agreed(LIST, [Contract(name="a", begins_ms=5, off_ppm=1)], HERE, 4) is LIST
    assert agreed(LIST, [Contract(name="a", service_tier="fast", off_ppm=1)], HERE, 4) is LIST
    assert agreed(None, [Contract(name="a", off_ppm=120_000)], HERE, 4) is None  # percents of nothing known


def test_the_terms_of_a_contract_say_when_it_holds_and_what_was_promised() -> None:
    dated = Contract(
        name="a", off_ppm=120_000, begins_ms=1_761_955_200_000, ends_ms=1_761_958_800_000, commitment_nano=5 * 10**9
    )
    assert dated.terms == "contract a -12 % from 2025-11-01 until 2025-11-01T01:00:00Z, 5.00 USD committed"
    assert Contract(name="b", off_ppm=-5_000, service_tier="flex").terms == "contract b +0.5 % (flex)"
    assert Contract(name="c", service_tier="batch", price=LIST).terms == "contract c: batch 3.00 / 15.00"


def test_what_is_said_of_the_list_price_stays_said() -> None:
    stale = versioned(LIST.rates, "list", note="stale: not in the list any more since 2026-11-22")
    assert given_by(Contract(name="a", off_ppm=500_000), listed=stale).note.endswith(
        "7.50 (stale: not in the list any more since 2026-11-22)"
    )


@given(RATES, st.integers(-1_000_000, 1_000_000))
def test_a_discount_is_exact_to_half_a_nano_dollar(rates: Rates, off_ppm: int) -> None:
    made = scaled(rates, off_ppm)
    exact = Decimal(rates.input) * (1_000_000 - off_ppm) / 1_000_000
    assert abs(Decimal(made.input) - exact) <= Decimal("0.5") and made.cache_read is None


def test_percents_are_told_as_they_were_written() -> None:
    assert [percent(one) for one in (-120_000, 105_000, -1, 0)] == ["-12 %", "+10.5 %", "-0.0001 %", "+0 %"]


EUR = (Rate("EUR", 1_080_000_000), Rate("EUR", 1_100_000_000, 1_000), Rate("JPY", 6_500_000))


def test_the_rate_that_began_last_holds() -> None:
    assert [rate_at(EUR, "EUR", at) for at in (0, 999, 1_000)] == [EUR[0], EUR[0], EUR[1]]
    assert rate_at(EUR, "CHF", 5) is None and rate_at((), "USD", 5) == Rate("USD", 10**9)
    assert rate_at((Rate("EUR", 1, 50),), "EUR", 49) is None


def test_amounts_are_exact_and_rounded_once() -> None:
    assert nano_of_amount(Decimal("2.5"), EUR[0]) == 2_700_000_000
    assert nano_of_amount(Decimal("0.0000000005"), Rate("EUR", 10**9)) == 1  # half up
    told = amount_of(1_080_000_000, EUR[0])
    assert (told.text, told.rate) == ("1.00 EUR", "1 EUR = 1.08 USD")
    assert amount_of(-1_085_400_000, EUR[0]).text == "-1.01 EUR"  # half away from zero
    assert amount_of(10**9, EUR[2]).text == "154 JPY"
    assert Rate("EUR", 1_080_000_000, 1_761_955_200_000).told == "1 EUR = 1.08 USD from 2025-11-01"
    assert moment(1_761_955_201_000) == "2025-11-01T00:00:01Z"


@given(st.integers(0, 10**18), st.integers(1, 10**13))
def test_an_amount_in_another_currency_is_off_by_half_a_cent_at_most(nano: int, rate: int) -> None:
    made = amount_of(nano, Rate("EUR", rate))
    assert abs(made.units * rate - nano * 100) * 2 <= rate


def test_differences_leave_out_classes_that_only_follow() -> None:
    new = msgspec.structs.replace(LIST, rates=msgspec.structs.replace(LIST.rates, input=2_400_000_000))
    assert differences(LIST, new) == (Figure("input", 3_000_000_000, 2_400_000_000),)
    assert differences(LIST, new)[0].percent == -20.0
    assert differences(LIST, LIST) == () and differences(None, LIST)[0].percent is None


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"input": 15_000_000_000}, ""),  # five times is within bounds
        ({"input": 15_000_000_001}, "input changes by a factor of 5.0"),
        ({"input": 0}, "input goes to zero"),
        ({"cache_read": None}, "cache_read changes by a factor of 10.0"),  # it now costs what input costs
        ({"output": 2_999_999_999}, "output changes by a factor of 5.0"),
    ],
)
def test_what_a_person_should_look_at(rates: dict[str, int], said: str) -> None:
    new = msgspec.structs.replace(LIST, rates=msgspec.structs.replace(LIST.rates, **rates))
    assert doubt(LIST, [new]) == said
    assert doubt(LIST, [LIST, new]) == said  # also when it is to begin later
    assert doubt(None, [new]) == ""


def test_a_price_that_cannot_be_reckoned_with_any_more_is_held() -> None:
    assert doubt(LIST, [None]) == "it has no price any more that can be reckoned with"
    free = versioned(Rates(input=0, output=0), "list")
    assert doubt(free, [LIST]) == "input goes from zero"

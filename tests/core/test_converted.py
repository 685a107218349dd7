"""Billing in another currency, pure: lines add up to the nano-unit, the net is the dollars' net at the rate, and credit notes
are in the invoice's currency at its rate."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest
from billing_makers import NANO, PERIOD, billing, consumption, rules, used
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core import focus
from pointsman.core.billing import Billing, Consumption, Customer, Discount, Issuer, Markup, exchanged_of
from pointsman.core.converted import converted
from pointsman.core.exchange import Exchanged, Rate
from pointsman.core.invoice import (
    CreditNote,
    Invoice,
    Party,
    Refused,
    Wish,
    credited,
    currency_of,
    decoded,
    encoded,
    money,
)
from pointsman.core.statement import Statement, stated, wrong_sums

EUR = Exchanged(currency="EUR", nano=1_080_000_000, begins_ms=0, source="prices.exchange", fixed_ms=1)
RATES = st.builds(
    lambda currency, nano: Exchanged(currency=currency, nano=nano, begins_ms=0, source="s", fixed_ms=1),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.integers(1_000_000, 5 * NANO),
)
UNITS = {"EUR": 10_000_000, "JPY": NANO, "KWD": 1_000_000}


def exactly(nano: int, rate: Exchanged) -> int:
    return int((Decimal(nano) * NANO / rate.nano).quantize(Decimal(1), ROUND_HALF_UP))


@settings(max_examples=150, deadline=None)
@given(billing(), st.lists(consumption(), max_size=12), RATES)
def test_lines_add_up_and_the_net_is_that_of_the_dollars(
    rules: Billing, found: list[Consumption], rate: Exchanged
) -> None:
    usd = stated(rules, "acme", PERIOD, found)
    made = converted(usd, rate)
    assert wrong_sums(made) == "" and (made.currency, made.exchanged) == (rate.currency, rate)
    assert made.net_nano == exactly(usd.net_nano, rate) == sum(line.amount_nano or 0 for line in made.lines)
    assert made.subtotal_nano == exactly(usd.subtotal_nano, rate)
    assert made.due_nano % UNITS[rate.currency] == 0 and abs(made.rounding_nano) <= UNITS[rate.currency] // 2
    for line, before in zip(made.lines, usd.lines, strict=True):
        figures = [getattr(line, name) for name in ("cost_nano", "markup_nano", "discount_nano", "amount_nano")]
        if before.amount_nano is None:
            assert figures == [None] * 4
            continue
        below = (before.amount_nano or 0) < 0  # by its share of rounding, where a discount takes all
        assert all(type(value) is int for value in figures) and (below or min(figures) >= 0)
        assert abs(figures[3] * rate.nano - before.amount_nano * NANO) < rate.nano  # less than a nano-unit
        assert before.markup_nano or not line.markup_nano


@settings(max_examples=80, deadline=None)
@given(billing(), st.lists(consumption(), max_size=12), RATES)
def test_what_is_owed_does_not_depend_on_what_lines_are_grouped_by(
    rules: Billing, found: list[Consumption], rate: Exchanged
) -> None:
    every = [
        converted(stated(rules, "acme", PERIOD, found, by), rate)
        for by in ((), ("model",), ("model", "team", "tag:env"))
    ]
    for name in ("subtotal_nano", "discount_nano", "net_nano", "tax_nano", "due_nano", "requests"):
        assert len({getattr(one, name) for one in every}) == 1, name


def test_without_a_rate_and_at_one_to_one_nothing_changes() -> None:
    usd = stated(rules(markups=(Markup(name="m", ppm=123_457),)), "acme", PERIOD, [used(cost_nano=3_333_333_337)])
    assert converted(usd, None) is usd
    same = converted(usd, Exchanged(currency="USD", nano=NANO, begins_ms=0, source="s", fixed_ms=1))
    assert msgspec.structs.replace(same, exchanged=msgspec.UNSET) == usd


def test_the_rate_is_the_customers_own_or_the_one_in_force() -> None:
    made = Billing(
        customers=(
            Customer(name="own", currency="EUR", rate_nano=1_200_000_000),
            Customer(name="market", currency="EUR"),
            Customer(name="us"),
            Customer(name="late", currency="JPY"),
        ),
        rates=(Rate("EUR", 1_080_000_000), Rate("EUR", 1_100_000_000, 2_000), Rate("JPY", 7_000_000, 9_000)),
    )
    own, before, after = (
        exchanged_of(made, "own", 5),
        exchanged_of(made, "market", 1_999),
        exchanged_of(made, "market", 2_000),
    )
    assert own == Exchanged(currency="EUR", nano=1_200_000_000, begins_ms=0, source="billing.customers", fixed_ms=5)
    assert before is not None and (before.nano, before.begins_ms, before.source) == (
        1_080_000_000,
        0,
        "prices.exchange",
    )
    assert after is not None and (after.nano, after.begins_ms, after.fixed_ms) == (1_100_000_000, 2_000, 2_000)
    assert exchanged_of(made, "us", 5) is None and exchanged_of(made, "nobody", 5) is None
    with pytest.raises(ValueError, match="no rate of exchange of JPY is in force"):
        exchanged_of(made, "late", 8_999)


def invoice(found: Statement) -> Invoice:
    return Invoice(
        number="INV-1", customer=Party(id="acme", name="Acme"), issuer=Issuer(), period=PERIOD, issued_at_ms=1, upto_seq=1,
        rules_sha256="", statement=found,
    )  # fmt: skip


def test_credit_notes_are_in_the_currency_and_at_the_rate_of_their_invoice() -> None:
    made = rules(discounts=(Discount(name="d", ppm=70_000),))
    usage = [used(cost_nano=3_333_333_337), used(cost_nano=1_111_111_113, facts={"model": "n"})]
    whole = invoice(converted(stated(made, "acme", PERIOD, usage), EUR))
    first = credited(whole, [], Wish(lines=(2,)), "CN-1", 2)
    second = credited(whole, [first], Wish(amount_nano=10_000_000), "CN-2", 3)
    rest = credited(whole, [first, second], Wish(), "CN-3", 4)
    for note in (first, second, rest):
        assert (note.currency, note.exchanged) == ("EUR", EUR)
        assert note.net_nano + note.tax_nano + note.rounding_nano == note.due_nano
    assert first.due_nano + second.due_nano + rest.due_nano == whole.due_nano
    with pytest.raises(Refused, match=r"999\.00 EUR is more than what is left of INV-1: \d+\.\d\d EUR"):
        credited(whole, [], Wish(amount_nano=999 * NANO), "CN-1", 2)
    yen = msgspec.structs.replace(EUR, currency="JPY", nano=7_000_000)
    with pytest.raises(Refused, match="of 1 JPY or more"):
        credited(
            invoice(converted(stated(made, "acme", PERIOD, usage), yen)), [], Wish(amount_nano=NANO // 2), "CN-1", 2
        )


def test_documents_keep_their_rate_and_those_in_dollars_are_written_as_before() -> None:
    usd = stated(rules(), "acme", PERIOD, [used()])
    plain, euro = encoded(invoice(usd)), encoded(invoice(converted(usd, EUR)))
    assert b"exchanged" not in plain and b"corrects" not in plain
    assert decoded(euro) == invoice(converted(usd, EUR)) and encoded(decoded(euro)) == euro
    assert (currency_of(plain), currency_of(euro)) == ("USD", "EUR")
    note = credited(invoice(converted(usd, EUR)), [], Wish(), "CN-1", 2)
    assert isinstance(decoded(encoded(note)), CreditNote) and currency_of(encoded(note)) == "EUR"


@pytest.mark.parametrize(
    ("nano", "currency", "text"),
    [
        (12_500_000_000, "USD", "$12.50"), (-12_500_000_001, "USD", "-$12.500000001"), (12_500_000_000, "EUR", "12.50 EUR"),
        (12_000_000_000, "JPY", "12 JPY"), (12_345_000_000, "KWD", "12.345 KWD"), (12_345_600_000, "KWD", "12.345600000 KWD"),
    ],
)  # fmt: skip
def test_amounts_are_written_with_the_places_of_their_currency(nano: int, currency: str, text: str) -> None:
    assert money(nano, currency) == text


def test_focus_says_the_currency_and_adds_up_in_it() -> None:
    usage = [used(cost_nano=3_333_333_337, facts={"day": f"{PERIOD}-02", focus.INVOICE: ""})]
    found = converted(stated(rules(), "acme", PERIOD, usage, (*focus.DIMENSIONS, "team")), EUR)
    rows = list(focus.rows(focus.Account("acme", "Acme", Issuer()), found))
    assert {row["BillingCurrency"] for row in rows} == {"EUR"}
    assert sum(Decimal(row["BilledCost"]) for row in rows) * NANO == found.due_nano

"""Billing, pure: whatever is used and whatever the rules are, lines add up to the nano-dollar; who belongs to whom; invoices
and credit notes that cannot be changed unseen."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from billing_makers import NANO, PERIOD, billing, consumption, rules, used
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core import focus
from pointsman.core.billing import (
    Billing,
    Consumption,
    Customer,
    Discount,
    Issuer,
    Markup,
    Tier,
    customer_of,
    details_of,
    digest,
    members_of,
    membership_of,
    organisation_of,
)
from pointsman.core.invoice import (
    GENESIS,
    CreditNote,
    Invoice,
    Kept,
    Party,
    Refused,
    Wish,
    bounds_of,
    chain_of,
    checked_period,
    credited,
    encoded,
    faults_of,
    left_of,
    nano_of_usd,
)
from pointsman.core.statement import (
    CENT_NANO,
    Statement,
    TooManyLines,
    marginal,
    shared_out,
    stated,
    wrong_sums,
)

TOTALS = (
    "cost_nano", "markup_nano", "subtotal_nano", "discount_nano", "net_nano", "tax_nano", "total_nano", "due_nano",
    "markups", "discounts", "requests", "estimated_requests", "unpriced_requests",
)  # fmt: skip
DIMS = ("model", "provider", "team", "tag:env")


@settings(max_examples=150, deadline=None)
@given(billing(), st.lists(consumption(), max_size=12), st.lists(st.sampled_from(DIMS), max_size=3, unique=True))
def test_parts_always_equal_the_whole(rules: Billing, found: list[Consumption], by: list[str]) -> None:
    made = stated(rules, "acme", PERIOD, found, by)
    assert wrong_sums(made) == ""
    priced = [line for line in made.lines if line.amount_nano is not None]
    assert sum(line.amount_nano or 0 for line in priced) == made.net_nano
    assert made.net_nano + made.tax_nano + made.rounding_nano == made.due_nano
    assert made.due_nano % CENT_NANO == 0 and abs(made.rounding_nano) <= CENT_NANO // 2
    assert made.cost_nano == sum(one.cost_nano for one in found if one.state != "unpriced")
    assert made.requests == sum(one.requests for one in found)
    assert 0 <= made.discount_nano <= made.subtotal_nano
    assert all(type(getattr(made, name)) is int for name in TOTALS if name.endswith("_nano"))


@settings(max_examples=150, deadline=None)
@given(billing(), st.lists(consumption(), max_size=12), st.lists(st.sampled_from(DIMS), max_size=4, unique=True))
def test_whatever_it_is_split_by_the_sums_are_the_same(rules: Billing, found: list[Consumption], by: list[str]) -> None:
    whole, split = stated(rules, "acme", PERIOD, found, ()), stated(rules, "acme", PERIOD, found, by)
    assert [getattr(whole, name) for name in TOTALS] == [getattr(split, name) for name in TOTALS]


@settings(max_examples=100, deadline=None)
@given(billing(), st.lists(consumption(), max_size=8), st.data())
def test_how_the_ledger_was_grouped_does_not_matter(
    rules: Billing, found: list[Consumption], data: st.DataObject
) -> None:
    apart: list[Consumption] = []
    for one in found:
        share = data.draw(st.integers(0, one.requests))
        names = ("requests", "answered", "input_tokens", "output_tokens", "cost_nano")
        first = {name: getattr(one, name) * share // one.requests for name in names}
        rest = {name: getattr(one, name) - first[name] for name in names}
        if first["requests"] and rest["requests"]:
            apart += [msgspec.structs.replace(one, **first), msgspec.structs.replace(one, **rest)]
        else:
            apart.append(one)
    whole, split = stated(rules, "acme", PERIOD, found), stated(rules, "acme", PERIOD, apart)
    assert [getattr(whole, name) for name in TOTALS] == [getattr(split, name) for name in TOTALS]


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), max_size=20))
def test_what_is_shared_out_is_neither_more_nor_less(total: int, weights: list[int]) -> None:
    parts = shared_out(total, weights)
    assert sum(parts) == (total if any(weights) else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert not sum(weights) or abs(part - Fraction(total * weight, sum(weights))) < 1


def test_markups_are_exact_and_the_first_that_matches_counts() -> None:
    markups = (
        Markup(name="special", where=(("model", "n"),), ppm=500_000),
        Markup(name="all", ppm=101_234, per_request_nano=1_000, per_mtok_nano=50_000_000),
    )
    found = stated(rules(markups=markups), "acme", PERIOD, [used(), used(facts={"model": "n"})])
    assert [(part.name, part.amount_nano) for part in found.markups] == [
        ("special", 500_000_000),
        ("all", 101_234_000 + 10_000 + 50_000_000),
    ]


def test_a_fee_for_each_request_is_for_those_that_were_answered() -> None:
    fee = (Markup(name="fee", per_request_nano=7),)
    assert stated(rules(markups=fee), "acme", PERIOD, [used(answered=3)]).markup_nano == 21


def test_the_least_of_a_markup_is_a_line_of_its_own() -> None:
    least = (Markup(name="base", ppm=100_000, min_nano=5 * NANO),)
    found = stated(rules(markups=least), "acme", PERIOD, [used()])
    assert [(line.kind, line.amount_nano) for line in found.lines] == [
        ("usage", 1_100_000_000), ("minimum", 4_900_000_000)
    ]  # fmt: skip
    assert found.subtotal_nano == 6 * NANO
    assert stated(rules(markups=least), "acme", PERIOD, []).subtotal_nano == 0  # it holds of nothing


def test_tiers_are_marginal_and_no_cliff() -> None:
    tiers = (Tier(0, 0), Tier(100, 100_000), Tier(1_000, 500_000))
    assert [marginal(tiers, Fraction(volume)) for volume in (50, 100, 200, 1_000, 2_000)] == [0, 0, 10, 90, 590]
    assert marginal(tiers, Fraction(1_001)) - marginal(tiers, Fraction(1_000)) == Fraction(1, 2)


def test_discounts_hold_one_after_the_other_of_what_is_left() -> None:
    discounts = (
        Discount(name="half", where=(("model", "m"),), ppm=500_000),
        Discount(name="tenth", ppm=100_000),
        Discount(name="credit", credit_nano=10 * NANO),
        Discount(name="too late", ppm=1_000_000),
        Discount(name="not now", period="2026-10", ppm=1_000_000),
    )
    found = stated(rules(discounts=discounts[:2]), "acme", PERIOD, [used(), used(facts={"model": "n"})])
    assert [part.amount_nano for part in found.discounts] == [NANO // 2, NANO * 15 // 100]
    spent = stated(rules(discounts=discounts), "acme", PERIOD, [used(), used(facts={"model": "n"})])
    assert spent.discounts[-1].name == "credit" and spent.net_nano == spent.due_nano == 0


def test_unpriced_and_estimated_requests_are_lines_of_their_own_and_the_first_in_no_total() -> None:
    markups = (Markup(name="m", ppm=100_000, per_request_nano=NANO, per_mtok_nano=NANO),)
    unpriced = used(state="unpriced", cost_nano=0, requests=3)
    found = stated(rules(markups=markups), "acme", PERIOD, [used(), unpriced, used(state="estimated", requests=2)])
    by_state = {line.state: line for line in found.lines}
    assert by_state["unpriced"].amount_nano is None and by_state["unpriced"].cost_nano is None
    assert (found.unpriced_requests, found.estimated_requests) == (3, 2)
    without = stated(rules(markups=markups), "acme", PERIOD, [used(), used(state="estimated", requests=2)])
    assert found.due_nano == without.due_nano and found.cost_nano == 2 * NANO


def test_late_usage_is_a_line_of_its_month() -> None:
    found = stated(rules(), "acme", PERIOD, [used(), used(month="2026-10")])
    assert [(line.kind, line.period) for line in found.lines] == [("usage", PERIOD), ("late", "2026-10")]


def test_more_lines_than_there_may_be_are_refused() -> None:
    with pytest.raises(TooManyLines, match="there are 3 lines, at most 2 fit"):
        stated(rules(), "acme", PERIOD, [used(facts={"model": str(n)}) for n in range(3)], ("model",), 2)


def test_rounding_to_cents_happens_once_on_the_total() -> None:
    found = stated(rules(), "acme", PERIOD, [used(cost_nano=3_333_333, facts={"model": str(n)}) for n in range(3)])
    assert found.net_nano == 9_999_999 and found.tax_nano == 1_900_000
    assert (found.total_nano, found.rounding_nano, found.due_nano) == (11_899_999, -1_899_999, CENT_NANO)


# --- whose a request is
CUSTOMERS = (
    Customer(name="vip", where=(("tag:customer", "c9"),)),
    Customer(name="acme", where=(("organisation", "acme"), ("team", "web"))),
    Customer(name="resold", each="tag:customer"),
    Customer(name="rest", where=(("organisation", "acme"),)),
)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"organisation": "acme", "team": "web", "tag:customer": "c9"}, "vip"),
        ({"organisation": "acme", "team": "web", "tag:customer": "c1"}, "acme"),
        ({"organisation": "acme", "team": "data", "tag:customer": "c1"}, "c1"),
        ({"organisation": "acme", "team": "data", "tag:customer": ""}, "rest"),
        ({"organisation": "globex", "tag:customer": ""}, ""),
    ],
)
def test_the_first_customer_that_matches_has_it(facts: dict[str, str], name: str) -> None:
    assert customer_of(CUSTOMERS, facts) == name
    assert customer_of(members_of(membership_of(CUSTOMERS)), facts) == name


def test_details_are_those_of_the_entry_or_of_the_one_for_each() -> None:
    assert details_of(CUSTOMERS, "acme") is CUSTOMERS[1] and details_of(CUSTOMERS, "c1") is CUSTOMERS[2]
    assert details_of(CUSTOMERS[:2], "c1") is None


def test_a_customer_is_of_an_organisation_only_when_nobody_else_can_be_in_it() -> None:
    own = Customer(name="acme", where=(("organisation", "acme"),))
    assert organisation_of((own,), "acme") == "acme"
    assert organisation_of((Customer(name="x", each="organisation"),), "globex") == "globex"
    assert organisation_of((own, Customer(name="x", each="tag:customer")), "acme") == ""  # a tag may say acme
    assert organisation_of((Customer(name="all"),), "all") == ""


def test_facts_are_those_that_rules_and_lines_look_at() -> None:
    asked = Billing(
        customers=CUSTOMERS,
        markups=(Markup(name="m", where=(("customer", "vip"), ("model", "m"))),),
        cost_centres=("tag:env",),
    ).facts
    assert asked == ("model", "organisation", "tag:customer", "tag:env", "team")


# --- documents
def invoice(statement: Statement | None = None, number: str = "INV-2026-00001") -> Invoice:
    found = statement or stated(rules(), "acme", PERIOD, [used(), used(facts={"model": "n"}, cost_nano=2 * NANO)])
    return Invoice(
        number=number, customer=Party(id="acme", name="Acme"), issuer=Issuer(), period=PERIOD, issued_at_ms=1,
        upto_seq=9, rules_sha256="", statement=found,
    )  # fmt: skip


def kept(document: Invoice | CreditNote, seq: int, previous: str, n: int) -> Kept:
    data = encoded(document)
    made = Kept(
        seq=seq, number=document.number, kind="invoice", series="INV-2026", n=n, customer="acme", organisation="",
        period=PERIOD, credits="", issued_at_ms=1, actor="me", upto_seq=9, membership="", due_nano=document.due_nano,
        document=data, sha256=digest(data), chain="",
    )  # fmt: skip
    return msgspec.structs.replace(made, chain=chain_of(previous, made))


def chain(count: int) -> list[Kept]:
    made: list[Kept] = []
    for n in range(1, count + 1):
        made.append(kept(invoice(number=f"INV-2026-{n:05d}"), n, made[-1].chain if made else GENESIS, n))
    return made


def test_documents_that_are_as_they_were_issued_hold() -> None:
    assert faults_of(chain(3)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"document": encoded(invoice(number="INV-2026-00002")).replace(b"Acme", b"Acmf")},
            "not the one that was issued",
        ),
        ({"due_nano": 1}, "the chain is broken"),
        ({"customer": "globex"}, "the chain is broken"),
        ({"actor": "you"}, "the chain is broken"),
        ({"n": 7}, "does not follow number 1"),
    ],
)
def test_any_change_is_found(changes: dict[str, object], said: str) -> None:
    documents = chain(3)
    documents[1] = msgspec.structs.replace(documents[1], **changes)
    assert any(said in fault for fault in faults_of(documents))


def test_a_document_that_is_missing_is_found() -> None:
    one, _, three = chain(3)
    assert any("does not follow" in fault for fault in faults_of([one, three]))
    assert any("2 was expected" in fault for fault in faults_of([one, three]))


def test_an_invoice_that_does_not_add_up_is_found_even_if_its_hashes_hold() -> None:
    found = invoice()
    wrong = msgspec.structs.replace(found.statement, net_nano=found.statement.net_nano + 1)
    assert "net_nano" in faults_of([kept(msgspec.structs.replace(found, statement=wrong), 1, GENESIS, 1)])[0]


def test_credit_notes_are_of_lines_amounts_or_all_that_is_left() -> None:
    found = invoice()
    assert found.due_nano == 3_570_000_000
    one = credited(found, [], Wish(lines=(1,)), "CN-1", 5)
    assert (one.net_nano, one.tax_nano, one.due_nano) == (NANO, 190_000_000, 1_190_000_000)
    two = credited(found, [one], Wish(amount_nano=380_000_000), "CN-2", 6)
    assert two.net_nano + two.tax_nano == 380_000_000 and two.tax_nano == 60_672_269
    rest = credited(found, [one, two], Wish(), "CN-3", 7)
    assert rest.due_nano == found.due_nano - one.due_nano - two.due_nano
    assert left_of(found, [one, two, rest]).due_nano == left_of(found, [one, two, rest]).net_nano == 0
    with pytest.raises(Refused, match="nothing of INV-2026-00001 is left"):
        credited(found, [one, two, rest], Wish(), "CN-4", 8)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(amount_nano=3_580_000_000), "more than what is left of INV-2026-00001: $3.57"),
        (Wish(amount_nano=0), "one cent or more"),
        (Wish(amount_nano=1), "whole cents"),
        (Wish(lines=(9,)), "has no line 9"),
        (Wish(lines=(1,), amount_nano=CENT_NANO), "not both"),
    ],
)
def test_a_credit_note_that_cannot_be_is_refused(wish: Wish, said: str) -> None:
    with pytest.raises(Refused, match=said.replace("$", r"\$")):
        credited(invoice(), [], wish, "CN-1", 5)


def test_a_line_is_credited_once_and_an_unpriced_one_never() -> None:
    cells = [used(), used(facts={"model": "n"}), used(state="unpriced", cost_nano=0)]
    found = invoice(stated(rules(), "acme", PERIOD, cells))
    note = credited(found, [], Wish(lines=(1,)), "CN-1", 5)
    with pytest.raises(Refused, match="line 1 of INV-2026-00001 has been credited"):
        credited(found, [note], Wish(lines=(1,)), "CN-2", 6)
    with pytest.raises(Refused, match="line 2 of INV-2026-00001 has no amount"):
        credited(found, [note], Wish(lines=(2,)), "CN-2", 6)


@settings(max_examples=80, deadline=None)
@given(billing(), st.lists(consumption(), min_size=1, max_size=6), st.lists(st.integers(0, 400), max_size=8), st.data())
def test_credit_notes_together_are_never_more_than_the_invoice(
    rules: Billing, found: list[Consumption], cents: list[int], data: st.DataObject
) -> None:
    bill = invoice(stated(rules, "acme", PERIOD, found))
    notes: list[CreditNote] = []
    for amount in cents:
        lines = tuple(data.draw(st.lists(st.integers(1, len(bill.statement.lines)), max_size=2)))
        wish = Wish(lines) if amount % 2 else Wish(amount_nano=amount * bill.due_nano // 400 // CENT_NANO * CENT_NANO)
        try:
            notes.append(credited(bill, notes, wish, "CN", 1))
        except Refused:
            continue
    assert sum(note.due_nano for note in notes) <= bill.due_nano
    for note in notes:
        assert note.net_nano + note.tax_nano + note.rounding_nano == note.due_nano > 0
    if left_of(bill, notes).due_nano:
        notes.append(credited(bill, notes, Wish(), "CN", 1))
        left = left_of(bill, notes)
        assert (left.due_nano, left.net_nano, left.tax_nano) == (0, 0, 0)


def test_months_and_amounts_are_read_as_they_are_written() -> None:
    assert bounds_of("2026-12") == (1_796_083_200_000, 1_798_761_600_000)
    assert nano_of_usd("12.50") == 12_500_000_000
    for text in ("2026-13", "2026", "26-01", "2026-1"):
        with pytest.raises(ValueError, match="a month like"):
            checked_period(text)
    for text in ("", "x", "-1", "1e99", "0.0000000001", "NaN", "Infinity"):
        with pytest.raises(ValueError, match="an amount in dollars"):
            nano_of_usd(text)


@settings(max_examples=60, deadline=None)
@given(billing(), st.lists(consumption(), max_size=8))
def test_focus_rows_add_up_to_what_is_due(rules: Billing, found: list[Consumption]) -> None:
    dated = [
        msgspec.structs.replace(one, facts={**one.facts, "day": f"{one.month}-07", focus.INVOICE: ""}) for one in found
    ]
    made = stated(rules, "acme", PERIOD, dated, (*focus.DIMENSIONS, "team"))
    rows = list(focus.rows(focus.Account("acme", "Acme", Issuer()), made))
    assert all(tuple(row) == focus.COLUMNS for row in rows)
    assert sum(Decimal(row["BilledCost"]) for row in rows) * NANO == made.due_nano
    assert sum(Decimal(row["x_ProviderCost"] or 0) for row in rows) * NANO == made.cost_nano

"""Credited usage is billed anew exactly once, over SQLite and PostgreSQL, whoever else issues at the same time; invoices in
other currencies; and statements at the charges of a reckoning."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from ledgers import Ledger
from records import AT_MS
from test_invoices import LATER_MS, RULES, Books
from test_price_history import CHEAP, DEAR, USED
from test_price_history import book as price

from pointsman.control.reckoning import Timeline, Wish, reckon, reckoning_of
from pointsman.core.billing import Billing, Customer, Discount, Markup
from pointsman.core.exchange import Rate
from pointsman.core.invoice import Invoice, Kept, NoSuch, Refused, invoice_of
from pointsman.core.invoice import Wish as Credit
from pointsman.core.pricing import charge
from pointsman.core.statement import wrong_sums
from pointsman.core.usage import Usage
from pointsman.stores.ledger import LedgerError
from pointsman.stores.reckonings import Reckoning, keep, keep_charges

DEARER = msgspec.structs.replace(RULES, markups=(Markup(name="m", ppm=500_000),))
EURO = Billing(
    customers=(Customer(name="acme", where=(("organisation", "acme"),), currency="EUR", tax_basis_points=1900),),
    markups=(Markup(name="m", ppm=100_000),),
    rates=(Rate("EUR", 1_080_000_000), Rate("EUR", 1_250_000_000, LATER_MS + 10)),
)


@pytest.fixture
def books(ledger: Ledger, tmp_path: Path) -> Books:
    made = Books(ledger, tmp_path)
    assert made.writer.marks() == {}
    return made


def rebilled(books: Books, number: str, rules: Billing = RULES, at_ms: int = LATER_MS + 5) -> Invoice:
    return invoice_of(books.biller(rules).rebill(number, "me", at_ms).document)


def credited(books: Books, number: str, *lines: int) -> Kept:
    return books.biller().credit(number, Credit(lines), "me", LATER_MS + 1)


def test_a_whole_invoice_that_was_credited_is_billed_anew_once_by_the_rules_of_now(books: Books) -> None:
    for model in ("a", "b"):
        books.book("2026-11", count=3, model=model)
    first = books.issue("acme", "2026-11")
    with pytest.raises(Refused, match=f"no whole line of {first.number} has been credited"):
        books.biller().rebill(first.number, "me", LATER_MS)
    credited(books, first.number)
    assert books.biller().again(first.number).statement.requests == 6
    made = rebilled(books, first.number, DEARER)
    assert (made.number, made.upto_seq, made.period) == ("INV-2027-00002", 0, "2026-11")
    assert made.corrects and (made.corrects.number, made.corrects.lines) == (first.number, (1, 2))
    assert made.statement.cost_nano == first.statement.cost_nano == sum(books.charges.values())
    assert made.statement.markup_nano > 0 and wrong_sums(made.statement) == ""
    with pytest.raises(Refused, match=f"was billed anew by {made.number}"):
        books.biller().rebill(first.number, "me", LATER_MS)
    assert (
        books.biller().issue("acme", "2026-11", "me", LATER_MS)[0].number == first.number
    )  # of the month there is one
    books.book("2026-12")
    assert books.issue("acme", "2026-12").statement.requests == 1  # nothing of November is open
    assert books.biller().verify()[1] == []
    with pytest.raises(NoSuch):
        books.biller().rebill("CN-2027-00001", "me", LATER_MS)


def test_lines_are_billed_anew_and_an_amount_frees_nothing(books: Books) -> None:
    for model in ("a", "b", "c"):
        books.book("2026-11", count=2, model=model, charge_nano=1_234_567_891)
    rules = msgspec.structs.replace(RULES, discounts=(Discount(name="credit", credit_nano=3_000_000_000),))
    first = books.issue("acme", "2026-11", rules)
    books.biller().credit(first.number, Credit(amount_nano=10_000_000), "me", LATER_MS)
    with pytest.raises(Refused, match="no whole line"):
        books.biller(rules).rebill(first.number, "me", LATER_MS)
    credited(books, first.number, 2)
    one = rebilled(books, first.number, rules)
    [line] = one.statement.lines
    before = first.statement.lines[1]
    # The fixed credit was of the whole month: a part of it alone does not get all of it again.
    assert msgspec.structs.replace(line, n=2) == before and one.corrects and one.corrects.lines == (2,)
    assert wrong_sums(one.statement) == ""
    credited(books, first.number, 3)
    two = rebilled(books, first.number, rules)
    assert two.corrects and two.corrects.lines == (3,)
    credited(books, first.number)  # all that is left
    three = rebilled(books, first.number, rules)
    assert three.corrects and three.corrects.lines == (1,)
    total = sum(one.statement.net_nano for one in (one, two, three))
    assert total == first.statement.net_nano
    assert books.biller().verify()[1] == []


def test_what_was_billed_anew_can_be_credited_and_billed_anew(books: Books) -> None:
    for model in ("a", "b"):
        books.book("2026-11", model=model)
    first = books.issue("acme", "2026-11")
    credited(books, first.number, 1)
    second = rebilled(books, first.number)
    credited(books, second.number)
    third = rebilled(books, second.number, DEARER)
    assert third.corrects and third.corrects.number == second.number
    assert third.statement.cost_nano == first.statement.lines[0].cost_nano and third.statement.requests == 1
    rows = [row for row in books.biller().focus("2026-11") if row["ChargeCategory"] == "Usage"]
    assert {row["SkuId"]: row["InvoiceId"] for row in rows} == {"a": third.number, "b": first.number}


def test_late_usage_that_was_credited_is_billed_anew_as_late(books: Books) -> None:
    books.book("2026-11"), books.issue("acme", "2026-11")
    books.book("2026-11"), books.book("2026-12")
    december = books.issue("acme", "2026-12")
    credited(books, december.number)
    made = rebilled(books, december.number)
    assert [(line.kind, line.period, line.requests) for line in made.statement.lines] == [
        ("usage", "2026-12", 1), ("late", "2026-11", 1)
    ]  # fmt: skip


def test_usage_that_the_ledger_has_lost_is_not_billed_anew(books: Books) -> None:
    books.book("2026-11", count=3)
    first = books.issue("acme", "2026-11")
    credited(books, first.number)
    books.ledger.ask("DELETE FROM requests WHERE seq = 2")
    with pytest.raises(Refused, match=f"has not all requests of line 1 of {first.number} any more"):
        books.biller().rebill(first.number, "me", LATER_MS)


def test_of_two_who_bill_anew_at_the_same_time_one_does(books: Books) -> None:
    books.book("2026-11", count=4)
    first = books.issue("acme", "2026-11")
    credited(books, first.number)
    ready, made, refused = threading.Barrier(4), [], []

    def work() -> None:
        biller = books.biller()
        ready.wait(30)
        for _ in range(50):
            try:
                made.append(biller.rebill(first.number, "me", LATER_MS + 5))
                return
            except Refused as error:
                refused.append(str(error))
                return
            except LedgerError:  # the database was busy
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(made) == 1 and len(refused) == 3 and all("billed anew" in said for said in refused)
    assert [one.kind for one in books.biller().every()] == ["invoice", "credit_note", "invoice"]
    assert books.biller().verify()[1] == []


def test_who_saw_it_open_finds_it_closed_inside_the_transaction(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    from pointsman.control.billing import biller as module

    books.book("2026-11", count=2)
    first = books.issue("acme", "2026-11")
    credited(books, first.number)
    slow = books.biller()
    seen = slow.again(first.number)
    rebilled(books, first.number)
    monkeypatch.setattr(module, "again", lambda *_: seen)
    with pytest.raises(Refused, match="billed anew"):
        slow.rebill(first.number, "me", LATER_MS)
    assert len(list(slow.every())) == 3


def test_an_invoice_in_another_currency_has_the_rate_of_its_moment_for_good(books: Books) -> None:
    books.book("2026-11", count=5)
    first = books.issue("acme", "2026-11", EURO)
    found = first.statement
    assert found.exchanged and (found.currency, found.exchanged.nano) == ("EUR", 1_080_000_000)
    assert found.exchanged.fixed_ms == LATER_MS and wrong_sums(found) == ""
    usd = sum(books.charges.values()) * 11 // 10
    assert abs(found.net_nano * 1_080_000_000 - usd * 1_000_000_000) <= 1_080_000_000
    note = books.biller(EURO).credit(first.number, Credit(), "me", LATER_MS + 20)  # another rate is in force by then
    assert b'"nano":1080000000' in note.document and note.due_nano == first.due_nano
    again = rebilled(books, first.number, EURO, LATER_MS + 30).statement
    assert again.exchanged and again.exchanged.nano == 1_250_000_000 and again.net_nano < found.net_nano
    shown = books.biller(EURO).statement("acme", "2026-11")
    assert shown.statement.exchanged == found.exchanged and shown.statement.due_nano == found.due_nano
    assert {row["BillingCurrency"] for row in books.biller(EURO).focus("2026-11")} == {"EUR"}
    none = msgspec.structs.replace(EURO, rates=(Rate("EUR", 1, LATER_MS + 10**9),))
    books.book("2026-12")
    with pytest.raises(Refused, match="no rate of exchange of EUR is in force"):
        books.issue("acme", "2026-12", none)
    assert books.biller().verify()[1] == []


def reckoning(books: Books, since_ms: int = 0, *, charges: bool = True) -> Reckoning:
    """Keep a reckoning at the price CHEAP."""
    with books.stores.reader() as reader:
        wish = Wish(since_ms=since_ms, until_ms=LATER_MS, upto_seq=reader.newest(), origin="test")
        made = reckon(reader, wish, Timeline([(0, {"large": CHEAP})]))
    head = reckoning_of(made, wish, LATER_MS)
    with books.writer.changing() as db:
        keep_charges(db, head.id, made.charges if charges else ())
        keep(db, head, made.lines())
    return head


def test_a_statement_at_the_charges_of_a_reckoning(books: Books) -> None:
    guess, nothing = Usage(1_000, 500, source="estimated"), Usage(source="unknown")
    price(
        books.ledger,
        (1, None, USED, {}),
        (2, CHEAP, USED, {}),
        (3, DEAR, USED, {}),
        (4, None, guess, {}),
        (5, None, nothing, {}),
    )
    before = books.biller().statement("acme", "2026-11").statement
    head = reckoning(books)
    assert head.charges == 3  # the priced one and the one that nothing is known of are as they were booked
    books.book("2026-11"), books.book("2026-11", "globex")  # after it
    biller, cost = books.biller(), charge(USED, CHEAP).nano
    found = biller.statement("acme", "2026-11", reckoning=head.id[:9]).statement
    assert cost and [(line.state, line.requests, line.cost_nano) for line in found.lines] == [
        ("estimated", 1, charge(guess, CHEAP).nano), ("measured", 3, 3 * cost), ("unpriced", 1, None)
    ]  # fmt: skip
    assert wrong_sums(found) == "" and (before.requests, before.unpriced_requests) == (5, 3)
    assert biller.statement("acme", "2026-11").statement.requests == 6
    every = biller.period("2026-11", reckoning=head.id)
    assert [one.statement for one in every.stated] == [found]
    with pytest.raises(LedgerError, match="what was reckoned is not"), books.writer.changing() as db:
        db.execute("DELETE FROM reckoning_charges")


def test_a_reckoning_that_does_not_say_what_the_month_costs_is_refused(books: Books) -> None:
    price(books.ledger, (1, None, USED, {}))
    biller = books.biller()
    with pytest.raises(NoSuch, match="no one reckoning has or begins with the id rck_zz"):
        biller.statement("acme", "2026-11", reckoning="rck_zz")
    part, sums = reckoning(books, AT_MS), reckoning(books, charges=False)
    with pytest.raises(Refused, match="is not of the whole of 2026-11"):
        biller.period("2026-11", reckoning=part.id)
    with pytest.raises(Refused, match="has sums alone"):
        biller.statement("acme", "2026-11", reckoning=sums.id)

"""Invoices over real ledgers, SQLite and PostgreSQL: issued once, never changed, without a gap; and no request is billed twice
or never, whatever is booked late and whoever it is said to belong to."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ledgers import Ledger, PostgresLedger, SqliteLedger
from records import AT_MS, admitted, attempt, decided, request_row, settled

from pointsman.control.billing.biller import Biller
from pointsman.core.billing import Billing, Customer, Markup
from pointsman.core.invoice import Invoice, NoSuch, Refused, Wish, decoded, invoice_of
from pointsman.core.retention import Retention
from pointsman.core.secret import Secret
from pointsman.core.statement import wrong_sums
from pointsman.stores.choose import Stores
from pointsman.stores.invoices import Consumed
from pointsman.stores.ledger import Batch, LedgerError, Writer
from pointsman.stores.ledger_retention import ALL, Kept, keep_from_seq

DAY_S = 86_400
MONTHS = {"2026-11": 0, "2026-12": 30 * DAY_S, "2027-01": 60 * DAY_S, "2027-02": 90 * DAY_S}  # seconds after AT_MS
LATER_MS = AT_MS + 200 * DAY_S * 1000
RULES = Billing(
    customers=(
        Customer(name="acme", where=(("organisation", "acme"),)),
        Customer(name="globex", where=(("organisation", "globex"),)),
    )
)
EACH = Billing(customers=(Customer(name="all", each="tag:customer"),))


class Books:
    """Book requests into a ledger, each with a number of its own, and bill them."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self._writer = ledger, ledger.writer()
        url = Secret(ledger.url) if isinstance(ledger, PostgresLedger) else Secret("file:")
        data = ledger.path.parent if isinstance(ledger, SqliteLedger) else folder
        self.stores = Stores(data, ledger=url)
        self.charges: dict[int, int] = {}
        self._number = 0

    def book(self, month: str, organisation: str = "acme", count: int = 1, **more: Any) -> None:
        batch = Batch()
        tags = tuple(more.pop("tags", ()))
        for _ in range(count):
            self._number += 1
            n = MONTHS[month] + self._number % 900
            charge = more.get("charge_nano", 10_000_000 + self._number * 1_001)
            before = admitted(n, caller=("dev", "site", "web", organisation), tags=tags)
            after = settled(n, attempt(**{"charge_nano": charge, **more}))
            row = list(request_row(before, after, decided().head, {}))
            row[0] = f"req_{self._number:028d}"
            batch.requests.append(tuple(row))
            self.charges[self._number] = max(0, charge)
        self._writer.write(batch)

    def biller(self, rules: Billing = RULES) -> Biller:
        return Biller(self.stores, rules)

    def issue(self, customer: str, period: str, rules: Billing = RULES, **more: Any) -> Invoice:
        kept, _ = self.biller(rules).issue(customer, period, "test", LATER_MS, **more)
        return invoice_of(kept.document)

    @property
    def writer(self) -> Writer:
        return self._writer


@pytest.fixture
def books(ledger: Ledger, tmp_path: Path) -> Books:
    made = Books(ledger, tmp_path)
    assert made.writer.marks() == {}
    return made


def test_the_statement_of_ten_thousand_requests_is_the_sum_of_the_ledger_to_the_nano_dollar(books: Books) -> None:
    for n in range(20):
        state = "estimated" if n % 5 == 0 else "measured"
        books.book("2026-11", "acme" if n % 3 else "globex", 500, model=f"m{n % 4}", charge_state=state)
    books.book("2026-11", charge_nano=-1, charge_state="unpriced")
    found = books.biller().period("2026-11")
    [(ours,)] = books.ledger.ask("SELECT SUM(charge_nano) FROM requests")
    assert sum(one.statement.subtotal_nano for one in found.stated) == int(ours) == sum(books.charges.values())
    assert sum(one.statement.requests for one in found.stated) == 10_001
    for name in ("acme", "globex"):
        [(own,)] = books.ledger.ask(f"SELECT SUM(charge_nano) FROM requests WHERE organisation = '{name}'")
        alone = books.biller().statement(name, "2026-11").statement
        assert alone.net_nano == int(own) and wrong_sums(alone) == ""
    assert [one.statement.unpriced_requests for one in found.stated] == [1, 0]


def test_an_invoice_is_issued_once(books: Books) -> None:
    books.book("2026-11", count=3)
    first, new = books.biller().issue("acme", "2026-11", "me", LATER_MS)
    again, renewed = books.biller().issue("acme", "2026-11", "you", LATER_MS + 1)
    assert (new, renewed, again) == (True, False, first)
    assert (first.number, first.actor, first.seq) == ("INV-2027-00001", "me", 1)
    document = invoice_of(first.document)
    assert document.statement.net_nano == sum(books.charges.values()) and document.upto_seq == 3


def test_numbers_have_no_gap_and_each_kind_and_year_its_own(books: Books) -> None:
    books.book("2026-11"), books.book("2026-11", "globex"), books.book("2026-12")
    biller = books.biller()
    a = biller.issue("acme", "2026-11", "me", LATER_MS)[0]
    with pytest.raises(Refused, match="globex has nothing to be billed for 2026-12"):
        biller.issue("globex", "2026-12", "me", LATER_MS)
    b = biller.issue("globex", "2026-11", "me", LATER_MS)[0]
    c = biller.credit(a.number, Wish(amount_nano=10_000_000), "me", LATER_MS)
    with pytest.raises(Refused, match="more than what is left"):
        biller.credit(b.number, Wish(amount_nano=10**12), "me", LATER_MS)
    d = biller.credit(b.number, Wish(), "me", LATER_MS)
    e = biller.issue("acme", "2026-12", "me", LATER_MS + 300 * DAY_S * 1000)[0]
    numbers = ["INV-2027-00001", "INV-2027-00002", "CN-2027-00001", "CN-2027-00002", "INV-2028-00001"]
    assert [one.number for one in (a, b, c, d, e)] == numbers
    assert biller.verify() == (5, [], e.chain)


def test_what_was_issued_takes_no_change(books: Books) -> None:
    books.book("2026-11")
    books.issue("acme", "2026-11")
    for statement in (
        "UPDATE invoices SET due_nano = 0",
        "DELETE FROM invoices",
        "UPDATE invoice_memberships SET sha256 = ''",
        "DELETE FROM invoice_memberships",
    ):
        with pytest.raises(Exception, match=r"is not (changed|deleted)"):
            books.ledger.ask(statement)
    assert books.biller().verify()[1] == []


def test_a_change_past_the_triggers_is_found(books: Books) -> None:
    books.book("2026-11")
    books.issue("acme", "2026-11")
    trigger = "invoices_are_not_changed"
    books.ledger.ask(f"DROP TRIGGER {trigger}{' ON invoices' if books.ledger.name == 'postgres' else ''}")
    books.ledger.ask("UPDATE invoices SET customer = 'globex'")
    assert "INV-2027-00001: the chain is broken here" in books.biller().verify()[1]


def test_a_month_that_has_not_ended_and_unpriced_requests_are_refused_unless_asked_for(books: Books) -> None:
    books.book("2026-11", count=2)
    with pytest.raises(Refused, match="2026-11 has not ended"):
        books.biller().issue("acme", "2026-11", "me", AT_MS)
    books.book("2026-11", charge_nano=-1, charge_state="unpriced")
    with pytest.raises(Refused, match="no price is known of 1 request of acme"):
        books.issue("acme", "2026-11")
    found = books.issue("acme", "2026-11", allow_unpriced=True).statement
    assert found.unpriced_requests == 1 and [line.amount_nano for line in found.lines][-1] is None


def test_an_early_invoice_leaves_the_rest_to_the_next(books: Books) -> None:
    books.book("2026-11")
    books.biller().issue("acme", "2026-11", "me", AT_MS, early=True)
    books.book("2026-11"), books.book("2026-12")
    found = books.issue("acme", "2026-12").statement
    assert [(line.kind, line.period, line.requests) for line in found.lines] == [
        ("usage", "2026-12", 1), ("late", "2026-11", 1)
    ]  # fmt: skip


def test_nobody_of_that_name_is_billed(books: Books) -> None:
    for ask in (books.biller().statement, books.biller().ready):
        with pytest.raises(NoSuch, match="there is no customer 'initech'"):
            ask("initech", "2026-11")
    with pytest.raises(NoSuch, match="there is no invoice INV-1"):
        books.biller().credit("INV-1", Wish(), "me", LATER_MS)


def test_late_usage_stands_in_the_next_invoice_also_when_months_are_billed_out_of_order(books: Books) -> None:
    for month in ("2026-11", "2026-12", "2027-01"):
        books.book(month)
    assert books.issue("acme", "2026-12").statement.requests == 1
    books.book("2026-12")  # late for December, billed before November
    assert books.issue("acme", "2026-11").statement.requests == 1
    books.book("2026-11")
    found = books.issue("acme", "2027-01").statement
    assert [(line.kind, line.period, line.requests) for line in found.lines] == [
        ("usage", "2027-01", 1), ("late", "2026-11", 1), ("late", "2026-12", 1)
    ]  # fmt: skip


def test_a_request_that_changes_hands_is_not_billed_again(books: Books) -> None:
    books.book("2026-11", tags=("customer:c1",)), books.book("2026-11", tags=("customer:c2",))
    assert books.issue("acme", "2026-11").statement.requests == 2
    books.book("2026-11", tags=("customer:c1",))
    found = books.issue("c1", "2026-11", EACH).statement
    assert found.requests == 1  # the one that acme was not billed for
    with pytest.raises(Refused, match="c2 has nothing to be billed"):
        books.issue("c2", "2026-11", EACH)
    books.book("2026-12", tags=("customer:c1",))
    assert books.issue("c1", "2026-12", EACH).statement.requests == 1


def _rules(chance: random.Random) -> Billing:
    """Return one of several ways to tell whose a request is."""
    ways = (
        RULES.customers,
        RULES.customers[::-1],
        (Customer(name="globex", where=(("tag:customer", "c1"),)), *RULES.customers),
        (Customer(name="acme"),),
        (Customer(name="any", each="tag:customer"), *RULES.customers),
        RULES.customers[:1],
    )
    return Billing(customers=chance.choice(ways), markups=(Markup(name="m", ppm=100_000),))


@pytest.mark.parametrize(
    "seed", [*range(6), 153, 158]
)  # the last two see what is open of a month only by looking at all of it
def test_no_request_is_billed_twice_or_never(books: Books, seed: int) -> None:
    """Book and bill at random, with rules that change; in the end bill all months again, and look what was billed."""
    chance, rules = random.Random(seed), RULES
    months, issued = list(MONTHS), set[tuple[str, str]]()

    def bill(customer: str, month: str) -> None:
        if (customer, month) in issued:
            return
        with contextlib.suppress(Refused, NoSuch):  # there is nothing of it
            books.issue(customer, month, rules)
            issued.add((customer, month))

    for _ in range(40):
        if chance.random() < 0.6:
            tags = chance.choice([(), ("customer:c1",), ("customer:c2",)])
            books.book(chance.choice(months[:3]), chance.choice(["acme", "globex"]), chance.randrange(1, 4), tags=tags)
        else:
            rules = _rules(chance) if chance.random() < 0.4 else rules
            bill(chance.choice(["acme", "globex", "c1", "c2"]), chance.choice(months[:3]))
    rules = RULES
    for customer in ("acme", "globex"):
        for month in months[:3]:
            bill(customer, month)
        books.book(months[3], customer)
        bill(customer, months[3])
    assert len(issued) > 4
    documents = [invoice_of(one.document) for one in books.biller().every()]
    assert sum(one.statement.cost_nano for one in documents) == sum(books.charges.values())
    assert sum(one.statement.requests for one in documents) == len(books.charges)
    assert books.biller().verify()[1] == []
    assert max(Counter((one.customer.id, one.period) for one in documents).values()) == 1


def test_who_issues_at_the_same_time_uses_each_number_once(books: Books) -> None:
    customers = [f"c{n}" for n in range(6)]
    for name in customers:
        books.book("2026-11", tags=(f"customer:{name}",))
    failed: list[BaseException] = []

    def work(name: str) -> None:
        for _ in range(20):  # who is disturbed three times says so
            try:
                books.biller(EACH).issue(name, "2026-11", name, LATER_MS)
                return
            except LedgerError as error:
                last = error
        failed.append(last)

    threads = [threading.Thread(target=work, args=(name,)) for name in customers * 2]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failed == []
    found = list(books.biller(EACH).every())
    assert [one.n for one in found] == [1, 2, 3, 4, 5, 6]
    assert sorted(one.customer for one in found) == customers and books.biller(EACH).verify()[1] == []


def test_a_document_that_cannot_be_made_uses_no_number(books: Books) -> None:
    books.book("2026-11")
    first = books.biller().issue("acme", "2026-11", "me", LATER_MS)[0]
    for _ in range(3):
        with pytest.raises(Refused):
            books.biller().credit(first.number, Wish(lines=(5,)), "me", LATER_MS)
    assert books.biller().credit(first.number, Wish(), "me", LATER_MS).number == "CN-2027-00001"


def test_a_ledger_that_has_lost_what_was_billed_is_not_billed_from(books: Books) -> None:
    books.book("2026-11", count=2)
    books.issue("acme", "2026-11")
    books.ledger.ask("DELETE FROM requests WHERE seq > 1")
    with pytest.raises(LedgerError, match="has lost rows that were billed"):
        books.issue("acme", "2026-12")


def test_consumption_is_asked_by_any_fact_and_tag(books: Books) -> None:
    (
        books.book("2026-11", tags=("env:prod", "env:dev"), model="m1"),
        books.book("2026-11", tags=("env",), outcome="timeout"),
    )
    with books.stores.reader() as reader:
        found = reader.consumed(Consumed(("model", "day", "tag:env"), 0, LATER_MS, 0, 99))
    assert [(one.facts, one.requests, one.answered) for one in found] == [
        ({"model": "large-1", "day": "2026-11-18", "tag:env": "env"}, 1, 0),
        ({"model": "m1", "day": "2026-11-18", "tag:env": "prod"}, 1, 1),
    ]


def test_focus_names_the_invoice_that_bills_each_charge(books: Books) -> None:
    books.book("2026-11", count=2)
    books.biller().issue("acme", "2026-11", "me", AT_MS, early=True)
    books.book("2026-11", count=3)
    rows = [row for row in books.biller().focus("2026-11") if row["ChargeCategory"] == "Usage"]
    assert {row["InvoiceId"]: row["x_Requests"] for row in rows} == {"INV-2026-00001": "2", "": "3"}


def test_documents_are_listed_and_bound_to_their_organisation(books: Books) -> None:
    books.book("2026-11"), books.book("2026-11", "globex"), books.book("2026-12")
    for at in (("acme", "2026-11"), ("globex", "2026-11"), ("acme", "2026-12")):
        books.issue(*at)
    biller = books.biller()
    assert [one.customer for one in biller.documents(period="2026-11")] == ["acme", "globex"]
    assert [one.period for one in biller.documents("acme")] == ["2026-11", "2026-12"]
    assert [one.customer for one in biller.documents(within="globex")] == ["globex"]
    assert [one.number for one in biller.documents(after=1, most=1)] == ["INV-2027-00002"]
    with pytest.raises(NoSuch):
        biller.document("INV-2027-00001", "globex")
    with pytest.raises(NoSuch):
        biller.statement("acme", "2026-11", "globex")
    assert [one.statement.customer for one in biller.period("2026-11", "globex").stated] == ["globex"]
    assert decoded(biller.document("INV-2027-00002", "globex").document).customer.id == "globex"


def test_what_is_not_billed_yet_is_not_deleted(books: Books) -> None:
    rules = Retention(requests_days=1)

    def kept_from() -> Kept:
        with books.stores.reader() as reader:
            return keep_from_seq(lambda statement, values: list(reader._rows(statement, values)), rules)  # type: ignore[attr-defined]

    books.book("2026-11", count=2), books.book("2026-11", "globex")
    assert kept_from().requests == ALL  # nobody bills here
    books.issue("acme", "2026-11")
    books.book("2026-12", "globex", 4)
    books.issue("globex", "2026-11")
    books.book("2026-12")
    assert (kept_from().requests, kept_from().holder) == (4, "invoices")
    books.issue("acme", "2026-12")
    assert kept_from().requests == 8  # globex has been looked at up to 7
    books.book("2027-01"), books.issue("acme", "2027-01")
    assert kept_from().requests == 10  # globex has left

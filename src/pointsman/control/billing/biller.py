"""Biller: statements, invoices, credit notes and FOCUS rows of a ledger, by the rules of a config.

What is billed is reckoned beside the ledger's writer, of rows up to the last that was booked; only then is the document made,
in one short transaction that finds out whether another was issued meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from pointsman.control import owed
from pointsman.control.billing.again import Again, again, still_open
from pointsman.control.billing.draft import (
    Draft,
    Ready,
    check,
    firsts,
    members_behind,
    of_customer,
    rate_of,
    statement_of,
    used_by_reckoning,
    used_in,
)
from pointsman.control.billing.draft import every as every_of
from pointsman.control.billing.outbox import announce
from pointsman.core import focus
from pointsman.core.billing import (
    Billing,
    Consumption,
    Customer,
    customer_of,
    details_of,
    membership_of,
    organisation_of,
)
from pointsman.core.converted import converted
from pointsman.core.corrected import Last
from pointsman.core.invoice import (
    CREDIT_NOTE,
    INVOICE,
    Corrects,
    CreditNote,
    Invoice,
    Kept,
    NoSuch,
    Party,
    Settled,
    Wish,
    credited,
    currency_of,
    decoded,
    encoded,
    faults_of,
    invoice_of,
    party_of,
    rules_digest,
    series_of,
)
from pointsman.core.statement import Statement, stated
from pointsman.stores.choose import Stores
from pointsman.stores.invoices import Make, Order, Stale
from pointsman.stores.ledger import LedgerError, Reader

LIMIT_S = 600.0  # for one question to the ledger
TRIES = 3  # when others issue at the same time


class Stated(msgspec.Struct, frozen=True):
    """Hold a statement of a period's whole consumption, and the number of its invoice, "" if there is none."""

    statement: Statement
    invoice: str


class Period(msgspec.Struct, frozen=True):
    """Hold the statements of all customers for a period, and the sums of what belongs to none of them."""

    stated: list[Stated]
    nobody: Statement


class Biller:
    """Bill by these rules. `limit_s` bounds each question to the ledger. Methods raise BillingError, LedgerError."""

    def __init__(self, stores: Stores, rules: Billing, limit_s: float = LIMIT_S) -> None:
        self._stores, self._rules, self._limit_s = stores, rules, limit_s

    # --- statements
    def statement(self, customer: str, period: str, within: str = "", reckoning: str = "") -> Stated:
        """Return what a customer used in a period, billed or not. `within`: the organisation that alone may be seen;
        `reckoning`: at the charges of that one, to be looked at."""
        self._details(customer, within)
        with self._reader(within) as reader:
            used = self._used(reader, period, reckoning)
            issued = firsts(reader.documents(customer, period, INVOICE))
        return self._stated(customer, period, of_customer(self._rules, customer, used), issued)

    def period(self, period: str, within: str = "", reckoning: str = "") -> Period:
        """Return the statements of all customers that used anything in a period."""
        with self._reader(within) as reader:
            used = self._used(reader, period, reckoning)
            issued = {one.customer: one for one in firsts(every_of(reader, period=period, kind=INVOICE))}
        by_customer = self._by_customer(used)
        names = sorted(name for name in by_customer if name and self._seen(name, within))
        made = [
            self._stated(name, period, by_customer[name], [issued[name]] if name in issued else []) for name in names
        ]  # fmt: skip
        nobody = [] if within else by_customer.get("", [])
        return Period(made, stated(Billing(cost_centres=()), "", period, nobody))

    def _used(self, reader: Reader, period: str, reckoning: str) -> list[Consumption]:
        if reckoning:
            return used_by_reckoning(reader, self._rules, period, reckoning)
        return used_in(reader, self._rules, period, reader.newest())

    def _stated(self, customer: str, period: str, used: Iterable[Consumption], issued: Sequence[Kept]) -> Stated:
        rate = rate_of(self._rules, customer, _now_ms(), issued[0] if issued else None)
        number = issued[0].number if issued else ""
        return Stated(statement_of(self._rules, customer, period, used, rate), number)

    # --- invoices
    def ready(self, customer: str, period: str) -> Ready:
        """Return what an invoice would be of now, without issuing it."""
        self._details(customer)
        with self._reader() as reader:
            return Draft(self._rules, reader, customer, period).ready(_now_ms())

    def open_customers(self, period: str) -> list[str]:
        """Return the customers that used something in a period and have no invoice of it."""
        with self._reader() as reader:
            had = {one.customer for one in every_of(reader, period=period, kind=INVOICE)}
            names = self._by_customer(used_in(reader, self._rules, period, reader.newest()))
        return sorted(name for name in names if name and name not in had)

    def issue(
        self, customer: str, period: str, actor: str, at_ms: int, *, allow_unpriced: bool = False, early: bool = False
    ) -> tuple[Kept, bool]:
        """Issue the invoice of a customer and period, once: return it, and whether it is new. Raise Refused for a month that
        has not ended, unless `early`, and for unpriced requests, unless `allow_unpriced`."""
        self._details(customer)
        for _ in range(TRIES):
            with self._reader() as reader:
                draft = Draft(self._rules, reader, customer, period)
            ready = draft.ready(at_ms)
            if ready.existing is not None:
                return ready.existing, False
            check(ready.statement, at_ms, allow_unpriced=allow_unpriced, early=early)
            try:
                return self._issued(draft, ready, actor, at_ms)
            except Stale:
                continue
        raise LedgerError("others issue at the same time: try again")

    def again(self, number: str) -> Again:
        """Return what would bill the credited usage of an invoice anew. Raise NoSuch, Refused."""
        with self._reader() as reader:
            return again(self._rules, reader, number, _now_ms())

    def rebill(self, number: str, actor: str, at_ms: int, *, allow_unpriced: bool = False) -> Kept:
        """Issue the invoice that bills the credited usage of another anew, once. Raise NoSuch, Refused."""
        with self._reader() as reader:
            found = again(self._rules, reader, number, at_ms)
        kept, statement = found.kept, found.statement
        self._details(kept.customer)
        check(statement, at_ms, allow_unpriced=allow_unpriced, early=True)

        def make(own: str, related: list[Kept]) -> tuple[bytes, int]:
            still_open(found.corrects, kept, related)
            return encoded(self._invoice(own, kept.customer, statement, 0, at_ms, found.corrects)), statement.due_nano

        return self._about(kept, INVOICE, actor, at_ms, make)

    def credit(self, number: str, wish: Wish, actor: str, at_ms: int) -> Kept:
        """Issue a credit note against an invoice. Raise NoSuch, Refused."""
        with self._reader() as reader:
            kept = reader.document(number)
        if kept is None or kept.kind != INVOICE:
            raise NoSuch(f"there is no invoice {number}")

        def make(own: str, related: list[Kept]) -> tuple[bytes, int]:
            notes = [note for one in related if isinstance(note := decoded(one.document), CreditNote)]
            made = credited(invoice_of(kept.document), notes, wish, own, at_ms)
            return encoded(made), made.due_nano

        return self._about(kept, CREDIT_NOTE, actor, at_ms, make)

    def document(self, number: str, within: str = "") -> Kept:
        """Return an invoice or credit note. Raise NoSuch."""
        with self._reader(within) as reader:
            found = reader.document(number)
        if found is None:
            raise NoSuch(f"there is no invoice or credit note {number}")
        return found

    def documents(
        self, customer: str = "", period: str = "", after: int = 0, most: int = 100, within: str = ""
    ) -> list[Kept]:
        """Return invoices and credit notes in the order of issue."""
        with self._reader(within) as reader:
            return reader.documents(customer, period, "", after, most)

    def every(self, customer: str = "", period: str = "") -> Iterator[Kept]:
        """Yield all documents in the order of issue."""
        with self._reader() as reader:
            yield from every_of(reader, customer, period)

    @property
    def font(self) -> str:
        """Return the font for PDF, "" for the library's own."""
        return self._rules.font

    def verify(self) -> tuple[int, list[str], str]:
        """Return how many documents there are, what is wrong with them, and the chain's last hash."""
        count, head = 0, ""

        def counted(documents: Iterable[Kept]) -> Iterator[Kept]:
            nonlocal count, head
            for one in documents:
                count, head = count + 1, one.chain
                yield one

        with self._reader() as reader:
            faults = faults_of(counted(every_of(reader)))
        return count, faults, head

    def paper(self, found: Stated) -> Invoice:
        """Return a statement as an invoice without a number, to be printed."""
        customer = found.statement.customer
        return self._invoice("", customer, found.statement, 0, 0)

    def paper_again(self, found: Again) -> Invoice:
        """Return what would be billed anew as an invoice without a number, to be printed."""
        return self._invoice("", found.kept.customer, found.statement, 0, 0, found.corrects)

    def focus(self, period: str, within: str = "") -> Iterator[dict[str, str]]:
        """Yield the FOCUS rows of a period, customer by customer."""
        facts = (*focus.DIMENSIONS[:-1], *self._rules.cost_centres)
        with self._reader(within) as reader:
            newest = reader.newest()
            documents = [*every_of(reader, kind=INVOICE)]
            invoices, last = firsts(documents), Last(invoice_of(one.document) for one in documents)
            members = members_behind(reader, invoices)
            used = used_in(reader, self._rules, period, newest, (*facts, *last.groups), members)
        settled = Settled(invoices, members)
        issued = {one.customer: one for one in invoices if one.period == period}
        for customer, found in sorted(self._by_customer(used).items()):
            if not customer or not self._seen(customer, within):
                continue
            marked = [
                msgspec.structs.replace(one, facts={**one.facts, focus.INVOICE: last.by(settled.by(one), one)})
                for one in found
            ]  # fmt: skip
            dims = dict.fromkeys((*focus.DIMENSIONS, *self._rules.cost_centres))
            own = issued.get(customer)
            made = converted(
                stated(self._rules, customer, period, marked, tuple(dims), focus.MOST_ROWS),
                rate_of(self._rules, customer, _now_ms(), own),
            )
            account = focus.Account(customer, self._party(customer).name, self._rules.issuer, own.number if own else "")
            yield from focus.rows(account, made)

    # --- what they share
    @contextmanager
    def _reader(self, within: str = "") -> Iterator[Reader]:
        with self._stores.reader(self._limit_s) as reader:
            yield reader.of(within)

    def _by_customer(self, used: Iterable[Consumption]) -> dict[str, list[Consumption]]:
        found: dict[str, list[Consumption]] = {}
        for one in used:
            found.setdefault(customer_of(self._rules.customers, one.facts), []).append(one)
        return found

    def _seen(self, customer: str, within: str) -> bool:
        return not within or organisation_of(self._rules.customers, customer) == within

    def _details(self, customer: str, within: str = "") -> Customer:
        found = details_of(self._rules.customers, customer)
        if found is None or not customer or not self._seen(customer, within):
            raise NoSuch(f"there is no customer {customer[:64]!r}: billing.customers names them")
        return found

    def _party(self, customer: str) -> Party:
        return party_of(details_of(self._rules.customers, customer), customer)

    def _invoice(
        self, number: str, customer: str, found: Statement, upto: int, at_ms: int, corrects: Corrects | None = None
    ) -> Invoice:
        rules = self._rules
        return Invoice(
            number=number,
            customer=self._party(customer),
            issuer=rules.issuer,
            period=found.period,
            issued_at_ms=at_ms,
            upto_seq=upto,
            rules_sha256=rules_digest(rules),
            statement=found,
            notes=rules.notes,
            print_markup=rules.print_markup,
            corrects=corrects or msgspec.UNSET,
        )

    def _issued(self, draft: Draft, ready: Ready, actor: str, at_ms: int) -> tuple[Kept, bool]:
        customer, found = ready.customer, ready.statement

        def make(number: str, related: list[Kept]) -> tuple[bytes, int]:
            return encoded(self._invoice(number, customer, found, draft.upto, at_ms)), found.due_nano

        order = Order(
            kind=INVOICE,
            series=series_of(self._rules.prefix, at_ms),
            customer=customer,
            organisation=organisation_of(self._rules.customers, customer),
            period=found.period,
            at_ms=at_ms,
            actor=actor,
            make=make,
            seen=draft.seen,
            upto_seq=draft.upto,
            membership=membership_of(self._rules.customers),
        )
        return self._kept(order)

    def _about(self, invoice: Kept, kind: str, actor: str, at_ms: int, make: Make) -> Kept:
        """Issue a document about an invoice."""
        prefix = self._rules.prefix if kind == INVOICE else self._rules.credit_prefix
        order = Order(
            kind=kind,
            series=series_of(prefix, at_ms),
            customer=invoice.customer,
            organisation=invoice.organisation,
            period=invoice.period,
            credits=invoice.number,
            at_ms=at_ms,
            actor=actor,
            make=make,
        )
        return self._kept(order)[0]

    def _kept(self, order: Order) -> tuple[Kept, bool]:
        with closing(self._stores.writer()) as writer:
            kept, new = writer.issue(order)
        if new:
            action = "billing.credit" if kept.kind == CREDIT_NOTE else "billing.issue"
            told = {
                name: getattr(kept, name) for name in ("kind", "customer", "period", "due_nano", "credits", "sha256")
            }
            told["currency"] = currency_of(kept.document)
            owed.note(self._stores, kept.actor, action, kept.number, told)
            announce(self._stores.data, kept)
        return kept, new


def summary(kept: Kept) -> dict[str, Any]:
    """Return what is told of a document in a list."""
    names = ("number", "kind", "customer", "period", "credits", "issued_at_ms", "due_nano", "sha256", "chain")
    return {name: getattr(kept, name) for name in names} | {"currency": currency_of(kept.document)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

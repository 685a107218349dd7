"""Draft: what an invoice is made of: the sums of the ledger that are open, as they are at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pointsman.control.billing.sheet import many
from pointsman.core.billing import (
    Billing,
    Consumption,
    Customer,
    customer_of,
    digest,
    exchanged_of,
    members_of,
    membership_of,
)
from pointsman.core.converted import converted
from pointsman.core.exchange import Exchanged
from pointsman.core.invoice import INVOICE, Kept, NoSuch, Refused, Settled, bounds_of, invoice_of
from pointsman.core.statement import Statement, TooManyLines, stated
from pointsman.stores.invoices import MOST_LISTED, Consumed
from pointsman.stores.ledger import LedgerError, Reader
from pointsman.stores.reckonings import charges_kept, reckoning

Members = dict[str, tuple[Customer, ...]]  # by the digest of a membership


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what an invoice would be of: `existing` is one that was issued before."""

    customer: str
    statement: Statement
    existing: Kept | None = None


class Draft:
    """Hold all that the invoice of a customer and period is reckoned from. `seen`: the last place of the chain of documents;
    `upto`: the last row of the ledger."""

    def __init__(self, rules: Billing, reader: Reader, customer: str, period: str) -> None:
        self._rules, self._customer, self._period = rules, customer, period
        documents = [*every(reader)]
        self.seen = documents[-1].seq if documents else 0
        self.upto = reader.newest()
        invoices = firsts(documents)
        own = (one for one in invoices if (one.customer, one.period) == (customer, period))
        self._existing = next(own, None)
        if invoices and max(one.upto_seq for one in invoices) > self.upto:
            raise LedgerError("the ledger has lost rows that were billed: nothing is issued from it")
        members = members_behind(reader, invoices)
        self._settled = Settled(invoices, members)
        self._used = used_in(reader, rules, period, self.upto, members=members)
        self._used += self._late(reader, members)

    def _late(self, reader: Reader, members: Members) -> list[Consumption]:
        """Return what may be of earlier months that have invoices. While it is told in the same way whose a request is, that
        was booked after the last of them; otherwise all is looked at."""
        months = [month for month in self._settled.months(self._customer) if month < self._period]
        if not months or not self.upto:
            return []
        known = {digest(membership_of(self._rules.customers))} >= members.keys()
        after = min(self._settled.watermark(self._customer, month) for month in months) if known else 0
        begin_ms, end_ms = bounds_of(months[0])[0], bounds_of(self._period)[0]
        return reader.consumed(Consumed(facts_of(self._rules, (), members), begin_ms, end_ms, after, self.upto))

    def ready(self, at_ms: int) -> Ready:
        """Return what the invoice is of, at the rate of exchange of a moment: what is open of the period, and what came late of
        months that have one."""
        months = {*self._settled.months(self._customer), self._period}
        found = [
            one
            for one in of_customer(self._rules, self._customer, self._used)
            if one.month in months and not self._settled.by(one)
        ]
        rate = rate_of(self._rules, self._customer, at_ms)
        statement = statement_of(self._rules, self._customer, self._period, found, rate)
        return Ready(customer=self._customer, statement=statement, existing=self._existing)


def used_in(
    reader: Reader, rules: Billing, period: str, upto: int, more: Sequence[str] = (), members: Members | None = None
) -> list[Consumption]:
    """Return what was used in a month by anybody, up to a row, by all facts that rules, memberships and `more` look at."""
    begin_ms, end_ms = bounds_of(period)
    return reader.consumed(Consumed(facts_of(rules, more, members or {}), begin_ms, end_ms, 0, upto))


def used_by_reckoning(reader: Reader, rules: Billing, period: str, id: str) -> list[Consumption]:
    """Return what was used in a month at the charges of a reckoning, named by its id or how that begins, up to the row that it
    looked at. Raise NoSuch, Refused when it does not say what the month costs."""
    made = reckoning(reader.ask, id)
    if made is None:
        raise NoSuch(f"no one reckoning has or begins with the id {id[:64]}: see `pointsman reprice list`")
    begin_ms, end_ms = bounds_of(period)
    if made.since_ms > begin_ms or made.until_ms < min(end_ms, made.made_ms):
        raise Refused(f"{made.id} is not of the whole of {period}: reckon it from its first day to its last")
    if charges_kept(reader.ask, made.id) != made.charges:
        raise Refused(f"{made.id} has sums alone, without what each request comes to: run the reckoning again")
    return reader.consumed(Consumed(facts_of(rules, (), {}), begin_ms, end_ms, 0, made.upto_seq, made.id))


def firsts(documents: Iterable[Kept]) -> list[Kept]:
    """Return the invoices that bill what had not been billed before: those that correct others are left out."""
    return [one for one in documents if one.kind == INVOICE and not one.credits]


def facts_of(rules: Billing, more: Sequence[str], members: Members) -> tuple[str, ...]:
    """Return all facts that rules, memberships and `more` look at."""
    asked = {*rules.facts, *more}
    for customers in members.values():
        asked |= {*Billing(customers=customers, cost_centres=()).facts}
    return tuple(sorted(asked))


def members_behind(reader: Reader, invoices: Iterable[Kept]) -> Members:
    """Return whose requests were, for each way of telling that invoices rest on."""
    found = {}
    for sha in {one.membership for one in invoices}:
        blob = reader.membership(sha)
        if blob is None:
            raise LedgerError(f"the ledger does not know what invoices of membership {sha[:12]} rest on")
        found[sha] = members_of(blob)
    return found


def of_customer(rules: Billing, customer: str, used: Iterable[Consumption]) -> list[Consumption]:
    """Return what of a consumption is a customer's."""
    return [one for one in used if customer_of(rules.customers, one.facts) == customer]


def rate_of(rules: Billing, customer: str, at_ms: int, issued: Kept | None = None) -> Exchanged | None:
    """Return the rate of exchange of a customer's statement: that of the period's invoice, else that of the moment; None: it is
    in dollars. Raise Refused when no rate is in force."""
    if issued is not None:
        return invoice_of(issued.document).statement.exchanged or None
    try:
        return exchanged_of(rules, customer, at_ms)
    except ValueError as error:
        raise Refused(str(error)) from None


def statement_of(
    rules: Billing, customer: str, period: str, used: Iterable[Consumption], rate: Exchanged | None
) -> Statement:
    """Return a statement in dollars, or at a rate. Raise Refused when it would have too many lines."""
    try:
        return converted(stated(rules, customer, period, used), rate)
    except TooManyLines as error:
        raise Refused(str(error)) from None


def check(found: Statement, at_ms: int, *, allow_unpriced: bool, early: bool) -> None:
    """Raise Refused when a statement may not become an invoice."""
    if not found.lines:
        raise Refused(f"{found.customer} has nothing to be billed for {found.period}")
    if at_ms < bounds_of(found.period)[1] and not early:
        raise Refused(f"{found.period} has not ended: what comes yet would be late usage of the next invoice")
    if found.unpriced_requests and not allow_unpriced:
        raise Refused(
            f"no price is known of {many(found.unpriced_requests)} of {found.customer}: an invoice would close them unbilled"
        )


def every(reader: Reader, customer: str = "", period: str = "", kind: str = "") -> Iterator[Kept]:
    """Yield documents in the order of issue; "" means any."""
    after = 0
    while True:
        rows = reader.documents(customer, period, kind, after, MOST_LISTED)
        yield from rows
        if len(rows) < MOST_LISTED:
            return
        after = rows[-1].seq

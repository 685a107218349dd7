"""Invoice: documents that are issued once and never change: invoices and the credit notes against them, their numbers, and the
chain of hashes over them. Pure.

A document is canonical JSON: members sorted, no white space. The chain's hash of each is SHA-256 over the hash before it, what
the ledger says of the document, and the document's own SHA-256; that of the first is over GENESIS. Whoever changes, takes out
or puts in one breaks every hash behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from pointsman.core.billing import Billing, Consumption, Customer, Issuer, customer_of, digest
from pointsman.core.exchange import DIGITS, USD, Exchanged, unit_nano
from pointsman.core.pricing import NANO_PER_USD, usd_exact
from pointsman.core.statement import BASIS_POINTS, Statement, cents_of, tax_of, wrong_sums

GENESIS = "0" * 64
FORMAT = 1
INVOICE: Literal["invoice"] = "invoice"
CREDIT_NOTE: Literal["credit_note"] = "credit_note"
MOST_REASON = 500  # characters
Kind = Literal["invoice", "credit_note"]
_PERIOD = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class BillingError(Exception):
    """Say why something is not billed.

    BillingError
    ├── NoSuch     there is no customer or document of that name
    ├── Refused    it may not be issued so
    └── NoLibrary  the library that prints is not installed
    """


class NoSuch(BillingError):
    """Say that there is no customer or document of that name."""


class Refused(BillingError):
    """Say that something may not be issued so."""


class NoLibrary(BillingError):
    """Say that a library is not installed."""


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a customer as a document names it, whatever the config says later."""

    id: str
    name: str
    address: tuple[str, ...] = ()
    email: str = ""
    tax_id: str = ""


class Corrects(msgspec.Struct, frozen=True):
    """Hold the invoice whose usage is billed anew, and which of its lines."""

    number: str
    lines: tuple[int, ...]


class Invoice(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=INVOICE):
    """Hold an invoice. It bills what the ledger had booked up to the row `upto_seq`; `rules_sha256` is the digest of the rules
    that it was reckoned with. One that `corrects` another bills credited usage of that anew, and `upto_seq` is 0."""

    number: str
    customer: Party
    issuer: Issuer
    period: str
    issued_at_ms: int
    upto_seq: int
    rules_sha256: str
    statement: Statement
    notes: str = ""
    print_markup: bool = False
    corrects: Corrects | msgspec.UnsetType = msgspec.UNSET
    format: int = FORMAT

    @property
    def due_nano(self) -> int:
        return self.statement.due_nano


class Credited(msgspec.Struct, frozen=True):
    """Hold a line of the invoice that is credited, by its number."""

    n: int
    amount_nano: int


class CreditNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=CREDIT_NOTE):
    """Hold a credit note against the invoice `credits`, in its currency and at its rate: net + tax + rounding = due, in
    nano-units, all of them positive but the rounding. `lines` are those of the invoice that are credited, none where an amount
    or all that was left is."""

    number: str
    credits: str
    customer: Party
    issuer: Issuer
    period: str
    issued_at_ms: int
    currency: str
    lines: tuple[Credited, ...]
    net_nano: int
    tax_basis_points: int
    tax_nano: int
    rounding_nano: int
    due_nano: int
    reason: str = ""
    exchanged: Exchanged | msgspec.UnsetType = msgspec.UNSET
    format: int = FORMAT


Document = Invoice | CreditNote


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a document as the ledger has it. `seq` is its place in the chain, from 1; `n` its place in its series; `credits` the
    invoice that a credit note is against or an invoice corrects, where `upto_seq` is 0; `due_nano` is in nano-units of the
    document's currency; `membership` is the digest of what decided whose a request was."""

    seq: int
    number: str
    kind: str
    series: str
    n: int
    customer: str
    organisation: str
    period: str
    credits: str
    issued_at_ms: int
    actor: str
    upto_seq: int
    membership: str
    due_nano: int
    document: bytes
    sha256: str
    chain: str


def encoded(document: Document) -> bytes:
    """Return a document as canonical JSON."""
    return msgspec.json.encode(document, order="sorted")


def decoded(data: bytes) -> Document:
    """Return the document that `encoded` wrote. Raise msgspec.MsgspecError when it is none."""
    found: Document = msgspec.json.decode(data, type=Document)
    return found


def invoice_of(data: bytes) -> Invoice:
    """Return the invoice that `encoded` wrote. Raise msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(data, type=Invoice)


def rules_digest(rules: Billing) -> str:
    """Return the digest of billing rules."""
    return digest(msgspec.json.encode(rules, order="sorted"))


def party_of(details: Customer | None, id: str) -> Party:
    """Return a customer as documents name it now."""
    if details is None:
        return Party(id=id, name=id)
    title = details.title if not details.each else ""
    return Party(id=id, name=title or id, address=details.address, email=details.email, tax_id=details.tax_id)


def chain_of(previous: str, kept: Kept) -> str:
    """Return the chain's hash of a document, 64 hex digits; its own `chain` does not count."""
    # The document counts by its digest.
    told = [getattr(kept, name) for name in kept.__struct_fields__ if name not in ("document", "chain")]
    return digest(msgspec.json.encode([previous, *told]))


def faults_of(documents: Iterable[Kept]) -> list[str]:
    """Return what is wrong with documents, all there are, in order of their place in the chain; none when they are as they
    were issued, each adds up, and no number is missing."""
    found: list[str] = []
    last, expected, series = GENESIS, 1, dict[str, int]()
    for one in documents:
        if one.seq != expected:
            found.append(f"{one.number}: stands at place {one.seq} of the chain, {expected} was expected")
        if digest(one.document) != one.sha256:
            found.append(f"{one.number}: the document is not the one that was issued")
        if one.chain != chain_of(last, one):
            found.append(f"{one.number}: the chain is broken here")
        if one.n != series.get(one.series, 0) + 1:
            found.append(f"{one.number}: does not follow number {series.get(one.series, 0)} of {one.series}")
        found += [f"{one.number}: {fault}" for fault in _faults_inside(one)]
        last, expected, series[one.series] = one.chain, one.seq + 1, one.n
    return found


def _faults_inside(kept: Kept) -> list[str]:
    try:
        document = decoded(kept.document)
    except msgspec.MsgspecError:
        return ["the document cannot be read"]
    found = []
    if document.number != kept.number or document.due_nano != kept.due_nano:
        found.append("the document says another number or amount than its row")
    if isinstance(document, Invoice):
        wrong = wrong_sums(document.statement)
        found += [wrong] if wrong else []
    elif document.net_nano + document.tax_nano + document.rounding_nano != document.due_nano:
        found.append("the credit note does not add up")
    return found


def checked_period(text: str) -> str:
    """Return a month as it is written everywhere, YYYY-MM. Raise ValueError."""
    if not _PERIOD.fullmatch(text):
        raise ValueError("expected a month like 2026-11")
    return text


def bounds_of(period: str) -> tuple[int, int]:
    """Return the first Unix millisecond of a month, in UTC, and the first after it."""
    year, month = int(period[:4]), int(period[5:])
    begin = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


def series_of(prefix: str, at_ms: int) -> str:
    """Return the series that a document of this moment is numbered in: one a prefix and year, UTC."""
    return f"{prefix}-{datetime.fromtimestamp(at_ms / 1000, UTC).year}"


def number_of(series: str, n: int) -> str:
    """Return the number of a document: its series, and its place there with five digits or more."""
    return f"{series}-{n:05d}"


class Settled:
    """Tell which invoice bills a consumption, given all invoices there are. An invoice bills its own month, and of months that
    had one of the same customer before it what was booked since; whose a request was is asked of the rules of that time."""

    def __init__(self, invoices: Iterable[Kept], members: dict[str, tuple[Customer, ...]]) -> None:
        self._members = members
        self._of: dict[tuple[str, str], list[Kept]] = {}
        self._months: dict[tuple[str, str], int] = {}  # customer and month -> place of its invoice
        for one in sorted(invoices, key=lambda kept: kept.seq):
            self._of.setdefault((one.membership, one.customer), []).append(one)
            self._months[one.customer, one.period] = one.seq

    def by(self, used: Consumption) -> str:
        """Return the number of the invoice that bills it; "": it is open."""
        if not used.epoch:
            return ""
        for digest_of_members, customers in self._members.items():
            customer = customer_of(customers, used.facts)
            for one in self._of.get((digest_of_members, customer), ()) if customer else ():
                if one.upto_seq >= used.epoch and self._covers(one, used.month):
                    return one.number
        return ""

    def months(self, customer: str) -> list[str]:
        """Return the months that a customer has invoices of."""
        return sorted(month for name, month in self._months if name == customer)

    def watermark(self, customer: str, month: str) -> int:
        """Return the row up to which the consumption of a customer's month is billed by invoices of that customer."""
        every = (one for (_, name), found in self._of.items() if name == customer for one in found)
        return max((one.upto_seq for one in every if self._covers(one, month)), default=0)

    def _covers(self, one: Kept, month: str) -> bool:
        if month == one.period:
            return True
        own = self._months.get((one.customer, month))
        return month < one.period and own is not None and own < one.seq


class Left(msgspec.Struct, frozen=True):
    """Hold what of an invoice has not been credited, in nano-units of its currency, and which lines have been."""

    due_nano: int
    net_nano: int
    tax_nano: int
    lines: frozenset[int]


def left_of(invoice: Invoice, notes: Iterable[CreditNote]) -> Left:
    """Return what credit notes have left of an invoice."""
    found = invoice.statement
    due, net, tax, lines = found.due_nano, found.net_nano, found.tax_nano, set[int]()
    for one in notes:
        due, net, tax = due - one.due_nano, net - one.net_nano, tax - one.tax_nano
        lines |= {line.n for line in one.lines}
    return Left(due, net, tax, frozenset(lines))


class Wish(msgspec.Struct, frozen=True):
    """Say what is to be credited: lines, an amount with tax in whole cents of the invoice's currency, or with neither all
    that is left."""

    lines: tuple[int, ...] = ()
    amount_nano: int | None = None
    reason: str = ""


def credited(invoice: Invoice, notes: Sequence[CreditNote], wish: Wish, number: str, at_ms: int) -> CreditNote:
    """Return a credit note against an invoice with these notes before it. Raise Refused, also when it would be above what is
    left."""
    left = left_of(invoice, notes)
    rate, currency = invoice.statement.tax_basis_points, invoice.statement.currency
    if left.due_nano <= 0:
        raise Refused(f"nothing of {invoice.number} is left to be credited")
    lines: tuple[Credited, ...] = ()
    if wish.lines:
        if wish.amount_nano is not None:
            raise Refused("name lines or an amount, not both")
        lines = tuple(_line_credited(invoice, left, n) for n in sorted(set(wish.lines)))
        net = sum(line.amount_nano for line in lines)
        tax = tax_of(net, rate)
        due = cents_of(net + tax, currency)
    elif wish.amount_nano is not None:
        due = wish.amount_nano
        tax = due - (due * BASIS_POINTS * 2 + BASIS_POINTS + rate) // (2 * (BASIS_POINTS + rate))
        net = due - tax
    else:
        due, net, tax = left.due_nano, left.net_nano, left.tax_nano
    unit = unit_nano(currency)
    if due <= 0 or due % unit:
        least = (
            "one cent or more, in whole cents" if currency == USD else f"{money(unit, currency)} or more, in whole ones"
        )
        raise Refused(f"a credit note is of {least}")
    if due > left.due_nano:
        most = money(left.due_nano, currency)
        raise Refused(f"{money(due, currency)} is more than what is left of {invoice.number}: {most}")
    return CreditNote(
        number=number,
        credits=invoice.number,
        customer=invoice.customer,
        issuer=invoice.issuer,
        period=invoice.period,
        issued_at_ms=at_ms,
        currency=currency,
        exchanged=invoice.statement.exchanged,
        lines=lines,
        net_nano=net,
        tax_basis_points=rate,
        tax_nano=tax,
        rounding_nano=due - net - tax,
        due_nano=due,
        reason=wish.reason[:MOST_REASON],
    )


def _line_credited(invoice: Invoice, left: Left, n: int) -> Credited:
    line = next((one for one in invoice.statement.lines if one.n == n), None)
    if line is None:
        raise Refused(f"{invoice.number} has no line {n}")
    if n in left.lines:
        raise Refused(f"line {n} of {invoice.number} has been credited")
    if not line.amount_nano:
        raise Refused(f"line {n} of {invoice.number} has no amount")
    return Credited(n, line.amount_nano)


def money(nano: int, currency: str = USD) -> str:
    """Return nano-units as an amount of a currency: as many places as it is paid with where that is exact, else nine."""
    text = usd_exact(abs(nano))
    if nano % unit_nano(currency) == 0:
        text = text[: -(9 - DIGITS.get(currency, 2))].rstrip(".")
    return ("-" if nano < 0 else "") + (f"${text}" if currency == USD else f"{text} {currency}")


def currency_of(document: bytes) -> str:
    """Return the currency of a document that `encoded` wrote. Raise msgspec.MsgspecError when it is none."""
    found = decoded(document)
    return (found.statement if isinstance(found, Invoice) else found).currency


def nano_of_usd(text: str) -> int:
    """Return an amount of any currency, written as a decimal, in nano-units. Raise ValueError when they are not whole, or less
    than 0."""
    try:
        value = Decimal(text.strip().lstrip("$")) * NANO_PER_USD
        if not value.is_finite() or value != value.to_integral_value() or not 0 <= value < 10**18:
            raise ValueError
    except (InvalidOperation, ValueError):
        raise ValueError("expected an amount in dollars like 12.50") from None
    return int(value)

"""Again: what an invoice is made of that bills credited usage anew."""

from __future__ import annotations

import msgspec

from pointsman.control.billing.draft import every, facts_of, firsts, members_behind, rate_of
from pointsman.core.billing import Billing
from pointsman.core.converted import converted
from pointsman.core.corrected import anew, behind, groups_of, open_lines
from pointsman.core.invoice import (
    INVOICE,
    Corrects,
    Invoice,
    Kept,
    NoSuch,
    Refused,
    Settled,
    bounds_of,
    decoded,
    invoice_of,
)
from pointsman.core.statement import Statement, TooManyLines, stated
from pointsman.stores.invoices import Consumed
from pointsman.stores.ledger import Reader


class Again(msgspec.Struct, frozen=True):
    """Hold the invoice that is corrected, what of it, and the statement of that."""

    kept: Kept
    corrects: Corrects
    statement: Statement


def again(rules: Billing, reader: Reader, number: str, at_ms: int) -> Again:
    """Return what would bill the credited usage of an invoice anew: by the rules of now, and at their rate of exchange. Raise
    NoSuch, Refused."""
    documents = [*every(reader)]
    kept = next((one for one in documents if one.number == number and one.kind == INVOICE), None)
    if kept is None:
        raise NoSuch(f"there is no invoice {number}")
    invoices = {one.number: invoice_of(one.document) for one in documents if one.kind == INVOICE}
    invoice = invoices[number]
    lines = open_lines(invoice, [decoded(one.document) for one in documents if one.credits == number])
    members = members_behind(reader, firsts(documents))
    groups = [name for one in _chain(invoice, invoices) for name in groups_of(one)]
    months = {line.period for line in invoice.statement.lines}
    span = bounds_of(min(months))[0], bounds_of(max(months))[1]
    used = reader.consumed(Consumed(facts_of(rules, groups, members), *span, 0, reader.newest()))
    found = behind(invoice, used, invoices, Settled(firsts(documents), members))
    try:
        made = stated(rules, kept.customer, kept.period, found, groups_of(invoice))
    except TooManyLines as error:
        raise Refused(str(error)) from None
    statement = converted(anew(made, invoice, lines), rate_of(rules, kept.customer, at_ms))
    return Again(kept, Corrects(number, lines), statement)


def still_open(corrects: Corrects, kept: Kept, related: list[Kept]) -> None:
    """Raise Refused when a line was billed anew meanwhile."""
    documents = [decoded(one.document) for one in related if one.number != kept.number]
    if not {*corrects.lines} <= {*open_lines(invoice_of(kept.document), documents)}:
        raise Refused(f"lines of {kept.number} were billed anew meanwhile: look again")


def _chain(invoice: Invoice, invoices: dict[str, Invoice]) -> list[Invoice]:
    found = [invoice]
    while found[-1].corrects:
        found.append(invoices[found[-1].corrects.number])
    return found

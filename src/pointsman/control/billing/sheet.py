"""Sheet: what people read of an invoice, credit note or statement, in words and figures, before it is HTML or PDF."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from pointsman.core.billing import TAG, Issuer
from pointsman.core.exchange import Exchanged
from pointsman.core.invoice import CreditNote, Document, Invoice, Party, money
from pointsman.core.pricing import usd_exact
from pointsman.core.statement import Line, Statement

Cells = tuple[str, ...]
STATES = {"measured": "", "estimated": "estimated", "unpriced": "no price known"}


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a page: a head of labels and values, who it is from and to, a warning, a table, its sums, a rate of exchange, and a
    note. A column whose title begins with `>` holds numbers."""

    title: str
    number: str
    head: tuple[tuple[str, str], ...]
    issuer: Cells
    customer: Cells
    warning: str
    columns: Cells
    rows: tuple[Cells, ...]
    sums: tuple[tuple[str, str], ...]
    rate: str
    note: str

    @property
    def end(self) -> str:
        """Return what stands below the sums, line by line."""
        return "\n".join(filter(None, (self.rate, self.note)))


def sheet_of(document: Document) -> Sheet:
    """Return a document's page."""
    return _of_invoice(document) if isinstance(document, Invoice) else _of_credit_note(document)


def warning_of(found: Statement) -> str:
    """Return what has to be said of a statement before its figures; "" when there is nothing."""
    parts = []
    if found.unpriced_requests:
        parts.append(f"no price is known of {many(found.unpriced_requests)}: listed, and in no total")
    if found.estimated_requests:
        parts.append(f"the charge of {many(found.estimated_requests)} is estimated: on lines of their own")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def amount(nano: int | None) -> str:
    """Return nano-dollars with all nine places, so that a column adds up; "-" where nobody knows."""
    return "-" if nano is None else ("-" if nano < 0 else "") + usd_exact(abs(nano))


def many(requests: int) -> str:
    """Return a number of requests in words."""
    return f"{count(requests)} request{'' if requests == 1 else 's'}"


def count(value: int) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,}".replace(",", " ")


def what(line: Line) -> str:
    """Return what a line is of, in words."""
    if line.kind == "minimum":
        return f"Minimum of {line.group['markup']}"
    values = [f"{name.removeprefix(TAG)} {value or '-'}" for name, value in line.group.items()]
    marks = [STATES[line.state], f"late usage of {line.period}" if line.kind == "late" else ""]
    return " · ".join([*values, *filter(None, marks)])


def rate(basis_points: int) -> str:
    return f"{basis_points / 100:g} %"


def figure(nano: int, currency: str) -> str:
    """Return an amount that is in whole cents, or what else its currency is paid in, without a sign of the currency."""
    return money(nano, currency).replace("$", "").removesuffix(f" {currency}")


def rate_told(given: Exchanged | msgspec.UnsetType) -> str:
    """Return the rate of exchange of a document, in words; "" for one in dollars."""
    if not given:
        return ""
    return f"Reckoned in USD; {given.told} ({given.source}), fixed on {day_of(given.fixed_ms)}."


def _due(nano: int, currency: str) -> str:
    return f"{money(nano)} USD" if currency == "USD" else money(nano, currency)


def day_of(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _of_invoice(given: Invoice) -> Sheet:
    found = given.statement
    charge = ("> Cost", "> Markup") if given.print_markup else ("> Charge",)
    issued = (("Issued", day_of(given.issued_at_ms)),) if given.number else ()
    return Sheet(
        title="Invoice" if given.number else "Statement",
        number=given.number,
        head=(
            *issued,
            *((("Corrects", given.corrects.number),) if given.corrects else ()),
            ("Period", found.period),
            ("Due", _due(found.due_nano, found.currency)),
        ),
        issuer=_party(given.issuer.title, given.issuer),
        customer=_party(given.customer.name, given.customer),
        warning=warning_of(found),
        columns=("#", "What", "> Requests", "> Tokens", *charge, "> Discount", "> Amount"),
        rows=tuple(_row(line, apart=given.print_markup) for line in found.lines),
        sums=_sums(found),
        rate=rate_told(found.exchanged),
        note=given.notes,
    )


def _row(line: Line, *, apart: bool) -> Cells:
    known = line.cost_nano is not None
    charge = (line.cost_nano or 0) + (line.markup_nano or 0) if known else None
    middle = (amount(line.cost_nano), amount(line.markup_nano)) if apart else (amount(charge),)
    figures = (count(line.requests), count(line.quantity))
    return (str(line.n), what(line), *figures, *middle, amount(line.discount_nano), amount(line.amount_nano))


def _sums(found: Statement) -> tuple[tuple[str, str], ...]:
    rows = [("Subtotal", amount(found.subtotal_nano))]
    rows += [(f"Discount: {part.name}", amount(-part.amount_nano)) for part in found.discounts]
    rows += [("Net", amount(found.net_nano))]
    rows += [(f"Tax, {rate(found.tax_basis_points)}", amount(found.tax_nano)), ("Total", amount(found.total_nano))]
    rows += [
        ("Rounding", amount(found.rounding_nano)),
        (f"Due, {found.currency}", figure(found.due_nano, found.currency)),
    ]
    return tuple(rows)


def _of_credit_note(given: CreditNote) -> Sheet:
    rows = [(str(line.n), f"Line {line.n} of {given.credits}", amount(line.amount_nano)) for line in given.lines]
    rows = rows or [("1", f"Of {given.credits}", amount(given.net_nano))]
    sums = [("Net", amount(given.net_nano)), (f"Tax, {rate(given.tax_basis_points)}", amount(given.tax_nano))]
    sums += [
        ("Rounding", amount(given.rounding_nano)),
        (f"Credited, {given.currency}", figure(given.due_nano, given.currency)),
    ]
    credit = _due(given.due_nano, given.currency)
    return Sheet(
        title="Credit note",
        number=given.number,
        head=(
            ("Issued", day_of(given.issued_at_ms)),
            ("Invoice", given.credits),
            ("Period", given.period),
            ("Credited", credit),
        ),
        issuer=_party(given.issuer.title, given.issuer),
        customer=_party(given.customer.name, given.customer),
        warning="",
        columns=("#", "What", "> Amount"),
        rows=tuple(rows),
        sums=tuple(sums),
        rate=rate_told(given.exchanged),
        note=given.reason,
    )


def _party(name: str, given: Party | Issuer) -> Cells:
    tax = f"Tax number {given.tax_id}" if given.tax_id else ""
    return tuple(filter(None, (name, *given.address, given.email, tax)))

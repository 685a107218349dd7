"""Forms: a document as JSON, CSV, HTML or PDF."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from pointsman.control.billing.page import html_of
from pointsman.control.billing.pdf import pdf_of
from pointsman.control.billing.sheet import sheet_of
from pointsman.core.billing import TAG
from pointsman.core.invoice import CreditNote, Document, Invoice, encoded
from pointsman.core.statement import Line

MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
}
_FIRST = ("number", "customer", "issued", "currency", "rate", "period", "line", "kind", "state")
_MONEY = ("cost_nano", "markup_nano", "discount_nano", "amount_nano")
_LAST = ("requests", "input_tokens", "output_tokens", "quantity", "unit", *_MONEY)
_ACTIVE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take for a formula


def rendered(document: Document, form: str, font: str = "") -> bytes:
    """Return a document in one of MEDIA. Raise NoLibrary, Refused."""
    if form == "json":
        return encoded(document)
    if form == "csv":
        return _csv(document)
    sheet = sheet_of(document)
    return pdf_of(sheet, font) if form == "pdf" else html_of(sheet).encode()


def csv_of(columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return rows as CSV (RFC 4180) in UTF-8. Text that a spreadsheet would take for a formula gets a quote in front."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*columns], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: plain(value) for name, value in row.items()} for row in rows)
    return file.getvalue().encode()


def plain(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula; figures stay as they are."""
    if isinstance(value, str) and value.startswith(_ACTIVE) and not _is_figure(value):
        return "'" + value
    return value


def _is_figure(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()


def _csv(document: Document) -> bytes:
    """Return the lines, and tax and rounding as lines of their own: the amounts add up to what is due."""
    of = document.statement if isinstance(document, Invoice) else document
    base = {
        "number": document.number,
        "customer": document.customer.id,
        "issued": document.issued_at_ms,
        "currency": of.currency,
        "rate": of.exchanged.told if of.exchanged else "",
        "period": document.period,
    }
    groups: dict[str, None] = {}
    if isinstance(document, Invoice):
        found = document.statement
        groups = dict.fromkeys(name.removeprefix(TAG) for line in found.lines for name in line.group)
        rows = [{**base, **_line(line)} for line in found.lines]
        rest = (("tax", found.tax_nano), ("rounding", found.rounding_nano))
    else:
        rows, rest = [{**base, **row} for row in _credited(document)], (
            ("tax", document.tax_nano), ("rounding", document.rounding_nano)
        )  # fmt: skip
    rows += [{**base, "kind": kind, "amount_nano": nano} for kind, nano in rest]
    columns = (*_FIRST, *(f"group.{name}" for name in groups), *_LAST)
    return csv_of(columns, rows)


def _line(line: Line) -> dict[str, object]:
    made: dict[str, object] = {"line": line.n, "kind": line.kind, "period": line.period, "state": line.state}
    made |= {f"group.{name.removeprefix(TAG)}": value for name, value in line.group.items()}
    return made | {name: value for name in _LAST if (value := getattr(line, name)) is not None}


def _credited(document: CreditNote) -> list[dict[str, object]]:
    if not document.lines:
        return [{"kind": "credit", "amount_nano": document.net_nano}]
    return [{"line": one.n, "kind": "credit", "amount_nano": one.amount_nano} for one in document.lines]

"""Invoices as people and programs get them: JSON, CSV, HTML and PDF say the same, to the nano-dollar; FOCUS has the columns of
its specification."""

from __future__ import annotations

import builtins
import csv
import io
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pypdf
import pytest
from billing_books import LATER_MS, MONTH, RULES, biller, book

from pointsman.control.billing.forms import csv_of, rendered
from pointsman.control.billing.outbox import MOST_TAKEN, taken
from pointsman.core import focus
from pointsman.core.billing import Billing, Customer
from pointsman.core.invoice import CreditNote, Invoice, NoLibrary, Refused, Wish, decoded, encoded, invoice_of

FOCUS = json.loads((Path(__file__).parent / "focus-1.4-columns.json").read_text())
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.fixture
def invoice(tmp_path: Path) -> Invoice:
    book(tmp_path)
    book(tmp_path, first=100, organisations=("acme",), charge_nano=-1, charge_state="unpriced")
    kept, _ = biller(tmp_path).issue("acme", MONTH, "me", LATER_MS, allow_unpriced=True)
    return invoice_of(kept.document)


@pytest.fixture
def note(tmp_path: Path, invoice: Invoice) -> CreditNote:
    kept = biller(tmp_path).credit(invoice.number, Wish(lines=(1,), reason="Späße <i>"), "me", LATER_MS)
    made = decoded(kept.document)
    assert isinstance(made, CreditNote)
    return made


def figure(nano: int) -> str:
    return f"{Decimal(nano) / 10**9:.9f}"


def test_json_is_the_document_itself(invoice: Invoice) -> None:
    assert rendered(invoice, "json") == encoded(invoice)
    told = json.loads(rendered(invoice, "json"))
    assert list(told) == sorted(told) and told["kind"] == "invoice" and told["format"] == 1


def test_csv_adds_up_to_what_is_due_and_holds_no_formula(invoice: Invoice, note: CreditNote) -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(invoice, "csv").decode())))
    assert sum(int(row["amount_nano"] or 0) for row in rows) == invoice.due_nano
    assert [row["kind"] for row in rows[-2:]] == ["tax", "rounding"]
    assert {row["group.env"] for row in rows} == {"", "'=prod"}
    [unpriced] = {row["amount_nano"] for row in rows if row["state"] == "unpriced"}
    assert unpriced == ""
    credit = csv.DictReader(io.StringIO(rendered(note, "csv").decode()))
    assert sum(int(row["amount_nano"]) for row in credit) == note.due_nano
    assert csv_of(["a"], [{"a": "-5"}, {"a": "-x"}]) == b"a\r\n-5\r\n'-x\r\n"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_html_stands_alone_and_escapes_what_others_wrote(invoice: Invoice, note: CreditNote) -> None:
    for document in (invoice, note):
        page = _Page()
        page.feed(rendered(document, "html").decode())
        assert page.loaded == [] and not page.tags & {"script", "link", "img", "b", "i", "due"}
        assert "Acme <b>Ltd</b>" in page.text and document.number in page.text
    page = _Page()
    page.feed(rendered(invoice, "html").decode())
    for line in invoice.statement.lines:
        assert line.amount_nano is None or figure(line.amount_nano) in page.text
    assert figure(invoice.statement.net_nano) in page.text and "Payable & <due>." in page.text
    assert "No price is known of 6 requests: listed, and in no total" in page.text


def pdf_text(data: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)


def test_the_pdf_says_what_the_json_says(invoice: Invoice) -> None:
    text = pdf_text(rendered(invoice, "pdf"))
    found = json.loads(rendered(invoice, "json"))["statement"]
    figures = re.findall(r"-?\d+\.\d{9}", text)
    amounts = [line["amount_nano"] for line in found["lines"] if line["amount_nano"] is not None]
    sums = ("subtotal_nano", "net_nano", "tax_nano", "total_nano", "rounding_nano")
    for nano in (*amounts, *(found[name] for name in sums)):
        assert figure(nano) in figures
    assert f"{Decimal(found['due_nano']) / 10**9:.2f}" in text.split()
    assert sum(Decimal(figure(nano)) for nano in amounts) == Decimal(figure(found["net_nano"]))
    for word in (invoice.number, "Router & Söhne", "Werkstraße 1", "Acme <b>Ltd</b>", "no price known", "page 1"):
        assert word in text


def test_the_pdf_of_a_document_is_the_same_bytes_each_time(invoice: Invoice, note: CreditNote) -> None:
    for document in (invoice, note):
        assert rendered(document, "pdf") == rendered(document, "pdf")
    assert note.number in pdf_text(rendered(note, "pdf"))


def test_a_long_invoice_goes_over_pages_with_its_head_on_each(tmp_path: Path, invoice: Invoice) -> None:
    line = next(line for line in invoice.statement.lines if line.amount_nano)
    name = {"model": "a-model-with-a-name-that-is-much-longer-than-a-column-of-a-page-could-ever-be-on-paper" * 2}
    lines = tuple(msgspec.structs.replace(line, n=n + 1, group=name if n == 7 else line.group) for n in range(200))
    found = msgspec.structs.replace(invoice.statement, lines=lines)
    text = pdf_text(rendered(msgspec.structs.replace(invoice, statement=found), "pdf"))
    assert len(re.findall("page [0-9]+", text)) == text.count("Requests") > 3
    assert text.count(figure(line.amount_nano or 0)) >= 200


def test_letters_that_the_font_does_not_have_are_told_and_another_font_prints_them(invoice: Invoice) -> None:
    strange = msgspec.structs.replace(invoice.customer, name="Zażółć Ελλάδα")
    document = msgspec.structs.replace(invoice, customer=strange)
    with pytest.raises(Refused, match=r"has not .*\(U\+03BB\).*: set billing.font to a TrueType file"):
        rendered(document, "pdf")
    assert DEJAVU.is_file(), "install fonts-dejavu-core, which chromium brings"
    assert "Zażółć Ελλάδα" in pdf_text(rendered(document, "pdf", str(DEJAVU)))
    with pytest.raises(Refused, match="cannot be used as a font"):
        rendered(document, "pdf", __file__)


def test_without_the_library_it_is_said_what_to_install(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "reportlab":
            raise ImportError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NoLibrary, match=r"pip install 'pointsman\[billing\]'"):
        rendered(invoice, "pdf")
    assert rendered(invoice, "html")


def test_cost_and_markup_are_apart_only_where_the_operator_says_so(tmp_path: Path) -> None:
    book(tmp_path)
    for apart in (False, True):
        found = biller(tmp_path, msgspec.structs.replace(RULES, print_markup=apart))
        page = rendered(found.paper(found.statement("globex", MONTH)), "html").decode()
        assert ('<th class="number" scope="col">Markup</th>' in page) is apart


def test_the_columns_of_focus_are_those_of_the_specification() -> None:
    ours = [name for name in focus.COLUMNS if not name.startswith("x_")]
    assert set(ours) == {*FOCUS["mandatory"], *FOCUS["others"]} and FOCUS["version"] == focus.VERSION
    assert ours == sorted(ours) and focus.COLUMNS[len(ours) :] == tuple(
        sorted(name for name in focus.COLUMNS if name.startswith("x_"))
    )


def test_the_rows_of_focus_keep_to_the_specification(tmp_path: Path) -> None:
    book(tmp_path)
    book(tmp_path, first=100, organisations=("acme",), charge_nano=-1, charge_state="unpriced")
    found = biller(tmp_path)
    rows = list(found.focus(MONTH))
    for row in rows:
        for name, rule in FOCUS["mandatory"].items():
            value = row[name]
            assert value or rule["nulls"], name
            assert not value or value in rule.get("values", [value])
            if value and rule["type"] == "decimal":
                Decimal(value)
            elif value and rule["type"] == "time":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
        usage = row["ChargeCategory"] == "Usage"
        assert bool(row["ConsumedQuantity"]) is bool(row["ConsumedUnit"]) is bool(row["PricingUnit"]) is usage
        assert not usage or isinstance(json.loads(row["Tags"]), dict)
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    for name in ("acme", "globex"):
        due = found.statement(name, MONTH).statement.due_nano
        assert sum(Decimal(row["BilledCost"]) for row in rows if row["BillingAccountId"] == name) * 10**9 == due
    tags = {row["Tags"] for row in rows if row["ChargeCategory"] == "Usage"}
    assert tags == {"{}", '{"env": "=prod"}'}


def test_what_belongs_to_nobody_is_told_apart(tmp_path: Path) -> None:
    book(tmp_path)
    only = Billing(customers=(Customer(name="acme", where=(("organisation", "acme"),)),))
    found = biller(tmp_path, only).period(MONTH)
    assert [one.statement.customer for one in found.stated] == ["acme"]
    assert (found.nobody.requests, found.nobody.cost_nano) == (6, 6 * 123_456_789 + 15)
    assert not any(row["BillingAccountId"] == "" for row in biller(tmp_path, only).focus(MONTH))


def test_word_of_what_was_issued_is_left_once_for_the_notices(
    tmp_path: Path, invoice: Invoice, note: CreditNote
) -> None:
    found = taken(tmp_path)
    assert [(one.kind, one.subject, one.what) for one in found] == [
        ("invoice_issued", invoice.number, "issued"),
        ("credit_note_issued", note.number, "issued"),
    ]
    assert f"invoice of ${Decimal(invoice.due_nano) / 10**9:.2f} to acme for 2026-11" in found[0].text
    assert f"to acme against {invoice.number}" in found[1].text
    assert taken(tmp_path) == [] and MOST_TAKEN >= 2
    biller(tmp_path).issue("acme", MONTH, "me", LATER_MS)
    assert taken(tmp_path) == []  # it was issued before

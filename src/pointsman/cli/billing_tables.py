"""The tables that the commands `billing ...` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.control.billing.biller import Period
    from pointsman.core.invoice import Document, Kept


def show_document(document: Document) -> None:
    """Print an invoice, credit note or statement."""
    from rich.text import Text

    from pointsman.control.billing.sheet import sheet_of
    from pointsman.control.figures import clean

    sheet, console = sheet_of(document), _console()
    to = f" to {clean(sheet.customer[0])}" if sheet.customer else ""
    facts = " · ".join(f"{name.lower()} {value}" for name, value in sheet.head)
    console.print(Text(f"{sheet.title} {sheet.number}".strip() + to, style="bold"), soft_wrap=True)
    console.print(Text(facts), soft_wrap=True)
    if sheet.warning:
        console.print(Text(sheet.warning, style="yellow"), soft_wrap=True)
    _table(console, sheet.columns, sheet.rows)
    width = max(len(name) for name, _ in sheet.sums)
    figures = max(len(value) for _, value in sheet.sums)
    for name, value in sheet.sums:
        console.print(Text(f"  {clean(name):<{width}}  {value:>{figures}}"), soft_wrap=True)
    if sheet.rate:
        console.print(Text(sheet.rate), soft_wrap=True)


def show_period(month: str, found: Period) -> None:
    """Print a line for each customer, and what is nobody's."""
    import typer

    from pointsman.control.billing.sheet import amount, count
    from pointsman.core.invoice import money

    if not found.stated and not found.nobody.requests:
        typer.echo(f"No requests in {month}.")
        return
    rows = []
    for one in found.stated:
        told = one.statement
        figures = [amount(value) for value in (told.cost_nano, told.markup_nano, told.discount_nano)]
        unpriced = count(told.unpriced_requests) if told.unpriced_requests else "-"
        due = money(told.due_nano, told.currency)
        rows.append([told.customer, count(told.requests), unpriced, *figures, due, one.invoice or "-"])
    nobody = found.nobody
    if nobody.requests:
        unpriced = count(nobody.unpriced_requests) if nobody.unpriced_requests else "-"
        rows.append(["(nobody's)", count(nobody.requests), unpriced, amount(nobody.cost_nano), "-", "-", "-", "-"])
    titles = ("customer", "> requests", "> un-\npriced", "> cost", "> markup", "> discount", "> due", "invoice")
    _table(_console(), titles, rows)


def show_kept(found: Sequence[Kept]) -> None:
    """Print a line for each document."""
    from pointsman.cli.store import when
    from pointsman.core.invoice import CREDIT_NOTE, currency_of, money

    rows = [
        [
            one.number,
            one.customer,
            one.period,
            when(one.issued_at_ms),
            money(-one.due_nano if one.kind == CREDIT_NOTE else one.due_nano, currency_of(one.document)),
            one.credits or "-",
        ]
        for one in found
    ]
    _table(_console(), ("number", "customer", "period", "issued", "> due", "of"), rows)


def _console() -> Any:
    from rich.console import Console

    from pointsman.cli.ledger import WIDTH

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _table(console: Any, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pointsman.control.figures import clean

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        number = title.startswith("> ")
        name = title.removeprefix("> ").lower()
        made.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        made.add_row(*[Text(clean(cell)) for cell in row])
    console.print(made)

"""The command `limits`: how the quotas of a running router stand, as its workers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, print_json

if TYPE_CHECKING:
    from pointsman.core.reading import Reading


def limits(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    data: Data = DATA,
) -> None:
    """Show how the quotas stand. What is used, held for requests under way, and left, and when the window ends. Counters that
    nobody has asked for since the start are not listed."""
    from pointsman.control.measures import readings

    rows = readings(data)
    if not rows:
        fail(f"no quota has been asked for on {data}: there are none in the config, or no request has come yet.", 2)
    if as_json:
        import msgspec

        print_json([msgspec.structs.asdict(row) for row in rows])
        return
    _show(rows)


def _show(rows: list[Reading]) -> None:
    import time

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pointsman.control.figures import clean
    from pointsman.core.quotas import span

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("quota")
    table.add_column("who")
    for name in ("limit", "used", "held", "left", "resets in"):
        table.add_column(name, justify="right")
    now_ms = time.time() * 1000
    for row in rows:
        amounts = [_amount(row.measure, amount) for amount in (row.limit, row.used, row.held, row.left)]
        resets = span(int(max(0.0, row.resets_ms - now_ms)) * 1000) if row.used or row.held else "-"
        cells = (clean(row.quota), clean(row.subject) or "-", *amounts, resets)
        table.add_row(*[Text(cell) for cell in cells], style="bold" if row.left <= 0 else "")
    console.print(table)


def _amount(measure: str, amount: int) -> str:
    from pointsman.core.pricing import usd

    return usd(amount) if measure == "usd" else str(amount)

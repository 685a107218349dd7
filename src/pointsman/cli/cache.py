"""The command `cache`: how often answers to similar questions were wrong, and where the thresholds stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, print_json

if TYPE_CHECKING:
    from pointsman.control.similar import Row


def cache(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    data: Data = DATA,
) -> None:
    """Show how often answers to similar questions were wrong. For each route that gives them, and how near they must be
    now. A route is listed from its first verdict on."""
    import msgspec

    from pointsman.control.similar import similar_rows

    rows = similar_rows(data)
    if not rows:
        fail(f"no answer to a similar question has been judged on {data} yet: no route has `semantic`, or no check.", 2)
    if as_json:
        print_json([msgspec.structs.asdict(row) for row in rows])
        return
    _show(rows)


def _show(rows: list[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pointsman.control.figures import clean

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("route")
    for name in ("threshold", "judged", "wrong", "95 % interval", "bound", "in all", "changed"):
        table.add_column(name, justify="right")
    for row in rows:
        cells = (
            clean(row.route),
            "off" if row.off else f"{row.threshold:.3f}",
            str(row.judged),
            str(row.wrong),
            f"{row.wrong_low:.2%} to {row.wrong_high:.2%}",
            f"{row.wrong_hits:.2%}",
            f"{row.wrong_ever} of {row.judged_ever}",
            f"{row.tightened} up, {row.eased} down",
        )
        table.add_row(*[Text(cell) for cell in cells], style="bold" if row.off else "")
    console.print(table)

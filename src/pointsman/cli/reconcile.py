"""The command `reconcile`: a provider's own account of our usage against the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, ledger, print_json

if TYPE_CHECKING:
    from pointsman.core.reconcile import Residual


def reconcile(
    file: Annotated[
        Path, typer.Argument(help="The provider's export: JSON of OpenAI's or Anthropic's Admin API, or CSV.")
    ],
    provider: Annotated[
        list[str],
        typer.Option("--provider", help="Our provider whose account it is of, as in the config; may be repeated."),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Of a CSV file, OURS=THEIRS: day, model, requests, input_tokens, cached_tokens, output_tokens, usd.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.0, max=100.0, help="Percent of a figure that may be left over.")
    ] = 0.0,
    every: Annotated[bool, typer.Option("--all", help="Show the days and models that agree, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with exact figures.")] = False,
    data: Data = DATA,
) -> None:
    """Match a provider's usage export with the ledger. By UTC day and model, and what is left over and why. Exit code
    0: nothing beyond the tolerance, 1: something, 2: it could not be done."""
    from pointsman.core.reconcile import residuals, total
    from pointsman.dialects.exports import CSV_COLUMNS, ExportError, read_export

    columns = {}
    for one in column or []:
        ours, _, theirs = one.partition("=")
        if ours not in CSV_COLUMNS or not theirs:
            fail(f"--column {one}: expected OURS=THEIRS with OURS one of {', '.join(CSV_COLUMNS)}.", 2)
        columns[ours] = theirs
    try:
        told = read_export(file.read_bytes(), columns)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.", 2)
    except ExportError as error:
        fail(f"{file}: {error}.", 2)
    if not told:
        fail(f"{file} tells of no usage at all.", 2)
    days = sorted({one.day for one in told})
    with ledger(data) as reader:
        booked = reader.booked(tuple(provider), days[0], days[-1])
    found = residuals(told, booked)
    beyond = [one for one in found if one.beyond(tolerance / 100.0)]
    if as_json:
        print_json({"from": days[0], "to": days[-1], "beyond": len(beyond), "rows": found, "total": total(found)})
    else:
        _show(found if every else beyond, total(found), f"{days[0]} to {days[-1]}, {', '.join(provider)}")
        agree = len(found) - len(beyond)
        typer.echo(
            f"{agree} of {len(found)} days and models agree" + (f" within {tolerance:g} %." if tolerance else ".")
        )
    raise typer.Exit(1 if beyond else 0)


def _show(rows: list[Residual], sums: Residual, title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pointsman.control.figures import clean

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("day / model", overflow="fold")
    for name in ("", "requests", "input", "cached", "output", "USD"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in (*rows, sums):
        place = Text(row.day if row is sums else f"{row.day}\n{clean(row.model)}")
        cells = [
            _cells(row, measure)
            for measure in ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano")
        ]
        table.add_row(place, Text("told\nbooked\nleft over"), *[Text(cell) for cell in cells])
    console.print(table)
    for row in rows:
        for cause in row.causes:
            console.print(Text(f"{row.day} {clean(row.model)}: {cause}."), soft_wrap=True)


def _cells(row: Residual, measure: str) -> str:
    return "\n".join(
        _figure(value, measure)
        for value in (getattr(row.told, measure), getattr(row.booked, measure), row.left(measure))
    )


def _figure(value: int | None, measure: str) -> str:
    if value is None:
        return "-"
    if measure != "cost_nano":
        return f"{value:,}".replace(",", " ")
    return f"{'-' if value < 0 else ''}{abs(value) // 10**9}.{abs(value) % 10**9:09d}"

"""The command `report`: any measures by any two dimensions and time, over the ledger or an export of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli import policytest
from pointsman.cli.ledger import DATA, WIDTH, Data, fail, ledger, print_json

if TYPE_CHECKING:
    from pointsman.control.saving import Against
    from pointsman.stores.report import Asker, Report

Texts = list[str] | None


def report(
    measure: Annotated[
        Texts, typer.Option("--measure", "-m", help="What to show: requests, cost, latency ...; see --list.")
    ] = None,
    by: Annotated[Texts, typer.Option("--by", help="Group by a dimension, or tag:NAME; up to two.")] = None,
    every: Annotated[str, typer.Option("--every", help="And by UTC time: hour, day, week or month.")] = "",
    where: Annotated[Texts, typer.Option("--where", help="NAME=VALUE; again for another value.")] = None,
    since: Annotated[str, typer.Option("--since", help="From when: 24h, 7d, 4w, or a date (UTC).")] = "30d",
    until: Annotated[str, typer.Option("--until", help="Before when, as --since. Default: now.")] = "",
    order: Annotated[str, typer.Option("--order", help="A measure, the highest first, or a dimension.")] = "",
    most: Annotated[int, typer.Option("--most", help="Rows, at most.")] = 100,
    of: Annotated[str, typer.Option("--of", help="requests, or attempts: each send to a provider.")] = "requests",
    against: Annotated[
        str, typer.Option("--against", help="Beside it what a deployment, the dearest or the cheapest would have cost.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Take the prices of --against of this config. Default: of the ledger."),
    ] = None,
    over: Annotated[Path | None, typer.Option("--over", help="An export (Parquet) in place of the ledger.")] = None,
    memory_mib: Annotated[int, typer.Option("--memory-mib", help="With --over: memory for DuckDB.")] = 4_096,
    threads: Annotated[int, typer.Option("--threads", help="With --over: threads; 0: one for each processor.")] = 0,
    limit_s: Annotated[float, typer.Option("--limit-s", help="Seconds that one question to it may take.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with exact figures.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, money in US dollars.")] = False,
    known: Annotated[bool, typer.Option("--list", help="List measures and dimensions.")] = False,
    data: Data = DATA,
) -> None:
    """Show what was booked, by any two dimensions and time. Cost, tokens, latency, errors, failovers, cache and feedback."""
    import time

    from pointsman.control.questions import csv_of, plain, question_of
    from pointsman.stores.report import ReportError

    if known:
        _list(of)
        return
    given = {"measure": measure or [], "by": by or [], "where": where or [], "every": [every], "since": [since]}
    given |= {"until": [until], "order": [order], "most": [str(most)], "of": [of]}
    try:
        question = question_of(given, time.time_ns() // 1_000_000)
        with _asker(over, data, (memory_mib, threads), limit_s) as asker:
            found, compared = _asked(asker, question, against, config)
    except ReportError as error:
        fail(f"--{error.what}: {error}.", 2)
    if as_json:
        print_json(plain(found, {} if compared is None else {"against": compared}))
    elif as_csv:
        typer.echo(csv_of(found), nl=False)
    else:
        _show(found, compared)


@contextlib.contextmanager
def _asker(over: Path | None, data: Path, bounds: tuple[int, int], limit_s: float) -> Iterator[Asker]:
    """Open what is asked. Whatever is wrong with it is told, with exit code 2."""
    if over is None:
        with ledger(data, limit_s) as reader:
            yield reader
        return
    from pointsman.stores.duck import Bounds
    from pointsman.stores.ledger import LedgerError
    from pointsman.stores.report_parquet import ParquetReader

    if bounds[0] < 64 or bounds[1] < 0:
        fail("--memory-mib is at least 64, --threads at least 0.", 2)
    try:
        with ParquetReader(over, limit_s, Bounds(memory_mib=bounds[0], threads=bounds[1])) as parquet:
            yield parquet
    except LedgerError as error:
        fail(f"{error}.", 2)


def _asked(asker: Asker, question: Any, against: str, config: Path | None) -> tuple[Report, Against | None]:
    if not against:
        return asker.report(question), None
    from pointsman.control.saving import compared, policy_of

    policy = policy_of(asker.newest_policy()) if config is None else policytest.policy_of(config)
    return compared(asker, question, policy, against)


def _show(found: Report, compared: Against | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(WIDTH, 12 * len(found.columns))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_footer=bool(found.rows))
    groups = len(found.columns) - len(found.total)
    for place, column in enumerate(found.columns):
        if place < groups:
            table.add_column(column.name, footer="total" if place == 0 else "", overflow="fold")
        else:
            footer = _figure(found.total[place - groups], column.unit)
            table.add_column(_title(column.name), footer=Text(footer), justify="right", no_wrap=True)
    for row in found.rows if groups else [found.total]:
        table.add_row(*[Text(_figure(value, column.unit)) for value, column in zip(row, found.columns, strict=True)])
    console.print(table)
    if groups and not found.rows:
        typer.echo("Nothing was booked of that in this time.")
    if found.cut:
        typer.echo(f"The first {len(found.rows)} rows; the total is over all. --most shows more.")
    if compared is not None:
        names = ", ".join(f"{route or 'no route'}: {name}" for route, name in compared.deployments.items())
        typer.echo(f"Against {compared.wished} ({names or 'nothing has a price'}), prices of config {compared.config}:")
        typer.echo(f"{compared.assumption}. `no_price` and `not_compared` are requests left out.")


def _title(name: str) -> str:
    """Return the heading of a measure, in lines: units are told by the figures."""
    name = name.replace("nano_per", "cost_per").replace("_nano", "")
    return name.replace("_us", "").replace("_tokens", "").replace("_", "\n", 1)


def _figure(value: Any, unit: str) -> str:
    from pointsman.control.figures import clean, count, milliseconds, money

    if value is None:
        return "-"
    if unit == "nano":
        return ("-" if value < 0 else "") + money(abs(round(value)))
    show: dict[str, Callable[[Any], str]] = {
        "text": lambda text: clean(text) or "-",
        "count": count,
        "tokens": count,
        "us": milliseconds,
        "share": lambda share: f"{share:.2%}",
        "tokens_per_s": lambda rate: f"{rate:.1f}",
        "score": lambda score: f"{score:.2f}",
    }
    return show[unit](value)


def _list(of: str) -> None:
    from pointsman.stores.report import MEASURES, dimensions_of, measures_of

    base = "attempts" if of == "attempts" else "requests"
    for name in measures_of(base):  # type: ignore[arg-type]  # one of the two
        typer.echo(f"{name:22} {MEASURES[name].unit:13} {MEASURES[name].told}")
    typer.echo(f"\nby: {', '.join(dimensions_of(base))}, tag:NAME")  # type: ignore[arg-type]

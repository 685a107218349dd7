"""The command `usage`: what was asked, answered and charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, ledger, print_json
from pointsman.control.figures import clean, count, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.stores.ledger import UsageRow


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="Group by route, model, provider, key, team, day, outcome, arm, tag:NAME ...; up to two."
        ),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="From when: 24h, 7d, 4w, or a date (UTC).")] = "30d",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with exact figures.")] = False,
    data: Data = DATA,
) -> None:
    """Show requests, tokens, cost, errors, times, feedback, by group."""
    import time

    from pointsman.control.period import since_ms
    from pointsman.control.reports import group_names, usage_of, usage_report
    from pointsman.stores.ledger import UsageQuery

    try:
        groups = group_names(by or ["route"])
    except ValueError as error:
        fail(f"--by: {error}.", 2)
    try:
        start_ms = since_ms(since, time.time_ns() // 1_000_000)
    except ValueError as error:
        fail(f"--since {since}: {error}.", 2)
    with ledger(data) as reader:
        found = usage_of(reader, UsageQuery(by=groups, since_ms=start_ms))
    if as_json:
        print_json(usage_report(found))
        return
    if found.total.requests:
        _show(groups, found.rows, found.total)
    else:
        typer.echo(f"No requests in {data} since {since}.")
    if found.feedback.unmatched:
        given, lost = found.feedback.given, found.feedback.unmatched
        typer.echo(f"Feedback: {lost} of {given} given since then name no request or session that is in the ledger.")


def _show(groups: tuple[str, ...], rows: list[UsageRow], total: UsageRow) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    columns = [column for column in _COLUMNS if column.always or column.show(total) != "-"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2 - len(groups), 0, 0), show_footer=True)
    for i, name in enumerate(groups):
        table.add_column(name, footer=Text("total" if i == 0 else ""), overflow="fold")
    for column in columns:
        table.add_column(column.title, footer=Text(column.show(total)), justify="right", no_wrap=True)
    for row in rows:
        cells = [Text(clean(name) or "-") for name in row.group]
        table.add_row(*cells, *[Text(column.show(row)) for column in columns])
    console.print(table)


class _Column(NamedTuple):
    title: str
    show: Callable[[UsageRow], str]
    always: bool = True  # or only when the total has something to show


def _ttft(row: UsageRow) -> str:
    p50, p95 = row.ttft_p50_us, row.ttft_p95_us
    return "-" if p50 is None or p95 is None else f"{round(p50 / 1000)} / {round(p95 / 1000)}"


def _implicit(row: UsageRow) -> str:
    return "-" if row.implicit is None else f"{row.implicit:.2f}/{count(row.implicit_count)}"


def _feedback(row: UsageRow) -> str:
    return "-" if row.feedback is None else f"{row.feedback:.2f}/{count(row.feedback_count)}"


def _some(value: int, text: str) -> str:
    return text if value else "-"


_COLUMNS = (
    _Column("calls", lambda r: count(r.requests)),
    _Column("in", lambda r: count(r.input_tokens)),
    _Column("cached", lambda r: _some(r.cached_tokens, count(r.cached_tokens)), always=False),
    _Column("out", lambda r: count(r.output_tokens)),
    _Column("cost", lambda r: money(r.measured_nano)),
    _Column("estimated", lambda r: _some(r.estimated_nano, money(r.estimated_nano)), always=False),
    _Column("un-\npriced", lambda r: _some(r.unpriced, f"+{count(r.unpriced)}"), always=False),
    _Column("errors", lambda r: _some(r.errors, count(r.errors))),
    _Column("fail-\nover", lambda r: _some(r.failovers, count(r.failovers)), always=False),
    _Column("de-\ngraded", lambda r: _some(r.degraded, count(r.degraded)), always=False),
    _Column("hits", lambda r: _some(r.hits, count(r.hits)), always=False),
    _Column("saved", lambda r: _some(r.hits, money(r.saved_nano)), always=False),
    _Column("ttft in ms\np50 / p95", _ttft),
    _Column("feed-\nback", _feedback, always=False),
    _Column("impli-\ncit", _implicit, always=False),
)

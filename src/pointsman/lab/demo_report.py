"""What the demo shows: tables of what went where and how fast, the outage, the bill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pointsman.core.pricing import usd
from pointsman.lab.demo_bill import Audit
from pointsman.lab.demo_traffic import ROUTES, Result

WIDTH = 100
QUARTERS = 4


def console() -> Console:
    """Return where the demo writes: at most 100 columns wide, and as wide when it is no terminal."""
    made = Console(highlight=False)
    made.width = min(made.width, WIDTH) if made.is_terminal else WIDTH
    return made


class Bar:
    """Show how far the traffic is: a live bar on a terminal, a line at each quarter elsewhere."""

    def __init__(self, out: Console, progress: Progress, total: int) -> None:
        self._out, self._progress, self._total = out, progress, total
        self._task = progress.add_task("", total=total, note="all providers up")
        self._done = self._errors = 0

    def done(self, result: Result) -> None:
        self._done += 1
        self._errors += bool(result.error)
        self._progress.update(self._task, advance=1)
        step = self._total // QUARTERS
        if not self._out.is_terminal and step and self._done % step == 0:
            self._out.print(f"  {self._done:4} of {self._total} answered, {self._errors} errors")

    def note(self, text: str) -> None:
        """Say what happens to the providers."""
        self._progress.update(self._task, note=text)
        if not self._out.is_terminal:
            self._out.print(f"  {text}")


@contextmanager
def bar(out: Console, total: int) -> Iterator[Bar]:
    """Show progress while the block runs."""
    columns = (
        TextColumn("  asking"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[yellow]{task.fields[note]}"),
    )
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        yield Bar(out, progress, total)


def title(out: Console, text: str, more: str = "") -> None:
    """Print a section's title."""
    out.print()
    out.print(Text.assemble((text, "bold cyan"), (f"  {more}" if more else "", "dim")))


def routed(out: Console, results: list[Result], strategies: dict[str, str]) -> None:
    """Show which deployment answered what, by route and category."""
    names = _deployments(results)
    table = _table("route", "strategy", "category", *(">" + name.replace("-", "\n", 1) for name in names))
    shown = ""
    for category, route in sorted(ROUTES.items(), key=lambda pair: list(strategies).index(pair[1])):
        counts = Counter(result.deployment for result in results if result.category == category)
        if not counts:
            continue
        most = max(counts.values())
        cells = [Text(str(counts[name] or "·"), style=_shade(counts[name], most)) for name in names]
        first = route != shown
        table.add_row(route if first else "", strategies[route] if first else "", category, *cells)
        shown = route
    total = Counter(result.deployment for result in results)
    table.add_section()
    table.add_row("all", "", "", *(str(total[name]) for name in names), style="bold")
    out.print(table)
    out.print(
        " [dim]Who cannot answer is left out first (window, tools, images, health); the strategy ranks the rest.[/dim]"
    )


def latency(out: Console, results: list[Result]) -> None:
    """Show what clients waited, by the deployment that answered."""
    table = _table(
        "answered by", ">answers", ">first event\np50", ">\np95", ">whole answer\np50", ">\np95", ">moved\nhere"
    )
    for name in _deployments(results):
        mine = [result for result in results if result.deployment == name]
        first = [result.first_ms for result in mine if result.first_ms]
        total = [result.total_ms for result in mine]
        table.add_row(
            name,
            str(len(mine)),
            *(_ms(first, share) for share in (0.5, 0.95)),
            *(_ms(total, share) for share in (0.5, 0.95)),
            str(sum(result.attempts > 1 for result in mine) or "·"),
        )
    out.print(table)


def outage(out: Console, results: list[Result], audit: Audit) -> None:
    """Show what the outage did, to the router and to its clients."""
    failed = sum(bool(result.error) for result in results)
    colour = "red" if failed or not audit.failed_over else "green"
    out.print(
        f"  [bold {colour}]{len(audit.failed_over)} requests failed over to another deployment; clients saw {failed} "
        f"errors[/bold {colour}]"
    )
    if audit.moved_on:
        out.print(
            f"  [dim]{audit.moved_on} more went on because the first one's wire cannot say what they asked.[/dim]"
        )
    for (route, error), count in Counter((r.route, r.error) for r in results if r.error).most_common(5):
        out.print(Text(f"  {count} x {route}: {error}", style="red"))


def bill(out: Console, audit: Audit) -> None:
    """Show that the bill is right, and what it would have been."""
    verdict = "[bold green]equal[/bold green]" if audit.equal else "[bold red]they differ[/bold red]"
    out.print(f"  booked   ${usd(audit.billed_nano, 9):<12} {audit.requests} ledger rows")
    out.print(f"  served   ${usd(audit.served_nano, 9):<12} the providers' own log, request by request: {verdict}")
    for line in audit.wrong[:10]:
        out.print(Text(f"  {line}", style="red"))
    saved = 1 - audit.billed_nano / audit.dearest_nano if audit.dearest_nano else 0.0
    out.print(
        f"  dearest  ${usd(audit.dearest_nano, 9):<12} had all gone to {audit.dearest}: "
        f"[bold green]{saved:.0%} saved[/bold green]"
    )
    out.print(
        "  [dim]An upper bound: the same tokens at that model's price; another model would say more or less.[/dim]"
    )


def command(out: Console, words: Iterable[str], output: str) -> None:
    """Show a command as typed, and what it printed."""
    out.print(Text.assemble(("  $ ", "dim"), ("pointsman " + " ".join(words), "bold")))
    for line in output.strip("\n").splitlines():
        out.print(Text(line.rstrip()), soft_wrap=True)


def _deployments(results: list[Result]) -> list[str]:
    return sorted({result.deployment for result in results if result.deployment})


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return table


def _shade(count: int, most: int) -> str:
    return "dim" if not count else "bold green" if count == most else "yellow"


def _ms(values: list[float], share: float) -> str:
    """Return a percentile (nearest rank) in milliseconds; a dot when there is nothing."""
    if not values:
        return "·"
    return f"{sorted(values)[max(0, math.ceil(len(values) * share) - 1)]:,.0f} ms"

"""The command `status`: how every deployment stands now, as the workers of a data folder see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, print_json

if TYPE_CHECKING:
    from pointsman.core.standing import Standing, Standings


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Show how every deployment stands: breaker, failures, times. Exit code 0: all may be sent to, 1: some not, 2: no
    router is running there."""
    from pointsman.control.measures import standings

    parts = standings(data)
    if not parts:
        fail(f"no router is running on {data}. Start `pointsman serve` there, or name its folder with --data DIR.", 2)
    from pointsman.core.standing import merged

    rows = merged(parts)
    if as_json:
        print_json({"workers": parts})
    else:
        _show(rows, parts)
    raise typer.Exit(1 if any(away for _, away in rows) else 0)


def _show(rows: list[tuple[Standing, int]], parts: list[Standings]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pointsman.control.figures import clean

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    versions = ", ".join(sorted({part.config for part in parts}))
    workers = f"{len(parts)} worker{'s' if len(parts) != 1 else ''}"
    busy = max(part.load.get("pressure", 0.0) for part in parts)
    console.print(f"{workers}, config {versions}, {busy:.0%} busy", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("deployment", "provider", "state", "failed"):
        table.add_column(name, no_wrap=name == "state")
    for name in ("ok", "ttft", "p95", "tok/s", "seen"):
        table.add_column(name, justify="right")
    for one, away in rows:
        state = "healthy" if one.breaker == "closed" else one.breaker.replace("_", " ")
        if one.again_ms:
            state += f" for {one.again_ms / 1000:.0f} s"
        if away and len(parts) > 1:
            state += f" ({away}/{len(parts)})"
        if one.breaker == "closed" and one.share < 1.0:
            state = f"ramping up, {one.share:.0%}"
        failed = f"{one.failures} x {one.last_failure}" if one.failures else one.last_failure
        if 0 < one.unreachable < one.failures:
            failed += f", {one.unreachable} x unreachable"
        cells = (
            clean(one.deployment),
            clean(one.provider),
            state,
            failed or "-",
            "-" if one.success is None else f"{one.success:.1%}",
            f"{one.ttft_ms:.0f} ms" if one.measured_s_ago is not None else "-",
            "-" if one.ttft_p95_ms is None else f"{one.ttft_p95_ms:.0f} ms",
            "-" if one.tokens_per_s is None else f"{one.tokens_per_s:.0f}",
            str(one.sampled),
        )
        table.add_row(*[Text(cell) for cell in cells], style="" if one.breaker == "closed" else "bold")
    console.print(table)

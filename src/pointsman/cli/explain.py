"""The command `explain`: why a request went where it went, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, ledger, print_json
from pointsman.control.figures import bar, clean, dollars, judged, milliseconds, told

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from pointsman.control.explanation import Candidate, Explanation
    from pointsman.stores.ledger import Reader

TIME_LINE = "time line"


def explain(
    request_id: Annotated[str, typer.Argument(help="An id, its unique beginning, or the x-request-id of the client.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Explain one request. Every candidate with reason, score and probability; attempts, tokens, price, times."""
    from pointsman.control import explanation

    with ledger(data) as reader:
        entry = reader.entry(_the_one(reader, request_id, data))
    assert entry is not None
    made = explanation.explain(entry)
    if as_json:
        print_json(made)
    else:
        _show(made)


def _the_one(reader: Reader, text: str, data: Path) -> str:
    """Return the id that is meant; tell what else there is when it is none or several, with exit code 1."""
    found = reader.find(text)
    if not found:
        waiting = _still_running(data, text)
        fail(waiting or f"{text}: no request of this id is in {data}. `pointsman tail` shows the latest.", 1)
    if len(found) > 1:
        fail(f"{text}: several requests have this id or begin with it:\n" + "\n".join(f"  {id}" for id in found), 1)
    return found[0]


def _still_running(data: Path, text: str) -> str:
    """Return what the journal knows of a request that is not booked yet; "" if nothing."""
    from pointsman.core.entry import Admitted, decode_records
    from pointsman.stores.journal import read_all

    for payload in read_all(data / "journal"):
        try:
            records = decode_records(payload)
        except ValueError:
            continue
        for record in records:
            if type(record) is Admitted and (record.id.startswith(text) or record.client_id == text):
                return f"{record.id} is not booked yet: it is still running, or the control process is behind."
    return ""


def _show(made: Explanation) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(f"[bold]{made.id}[/bold]  {_when(made.request)}", soft_wrap=True)
    for sentence in made.why:
        console.print(clean(sentence), markup=False)
    if made.candidates:
        console.print(candidates_table(made.candidates, made.facts))
    if made.attempts:
        console.print(_attempts(made.attempts, made.request["total_us"]))
        for a in made.attempts:
            if a["message"]:
                console.print(f"  {clean(a['deployment'])}: {clean(a['message'])}", markup=False, soft_wrap=True)
    for name, text in told(made.request).items():
        console.print(f"{name:10} {text}", markup=False, soft_wrap=True)
    for given in made.feedback:
        about, score, who, words = judged(given)
        line = f"{'feedback':10} {score} for this {about}, {who}, {_when(given)}"
        console.print(line + (f": {words}" if words else ""), markup=False, soft_wrap=True)


def _when(row: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(row["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold"
    )
    for column in columns:
        side: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=side, no_wrap=column == TIME_LINE)
    return table


def candidates_table(candidates: list[Candidate], facts: dict[str, Any]) -> Table:
    """Return the candidates of a decision as a table, those of the plan first; what was measured only if anything was."""
    from rich.text import Text

    from pointsman.control.explanation import REASONS

    needs = f", needs {', '.join(facts['needs'])}" if facts["needs"] else ""
    title = f"Candidates for about {facts['input_tokens_estimated']} input tokens{needs}"
    measured = any(c.measured_s_ago is not None for c in candidates)
    speeds = (">ttft", ">tok/s", "measured") if measured else ()
    table = _table(title, ">plan", "deployment", ">probability", ">score", *speeds, "state")
    for c in candidates:
        state = REASONS.get(c.reason, c.reason) if c.reason else c.breaker.replace("closed", "healthy")
        seen = (
            f"{c.ttft_ms:.0f} ms",
            f"{c.tokens_per_s:.0f}",
            "never: prior" if c.measured_s_ago is None else f"{c.measured_s_ago:.1f} s before",
        )
        cells = (
            str(c.rank or "-"),
            clean(c.deployment),
            "-" if c.probability is None else f"{c.probability:.3f}",
            "-" if c.score is None else f"{c.score:.4g}",
            *(seen if measured else ()),
            state + (f", last: {c.last_failure}" if c.last_failure else ""),
        )
        table.add_row(*[Text(cell) for cell in cells], style="bold" if c.rank == 1 else "dim" if c.rank is None else "")
    return table


def _attempts(attempts: list[dict[str, Any]], total_us: int) -> Table:
    from rich.text import Text

    columns = ("deployment", TIME_LINE, ">ttft", ">total", "outcome", ">in", ">out", ">charge")
    table = _table(f"Attempts over {milliseconds(total_us)}", *columns)
    for a in attempts:
        outcome = a["outcome"] + (f" {a['status']}" if a["status"] not in (0, 200) else "")
        cells = (
            clean(a["deployment"]),
            bar(a, total_us),
            milliseconds(a["ttft_us"]),
            milliseconds(a["total_us"]),
            outcome,
            str(a["input_tokens"]) if a["usage_source"] != "unknown" else "-",
            str(a["output_tokens"]) if a["usage_source"] != "unknown" else "-",
            dollars(a["charge_nano"]),
        )
        table.add_row(*[Text(cell) for cell in cells])
    return table

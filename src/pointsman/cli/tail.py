"""The command `tail`: requests as they are booked, one line each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, ledger
from pointsman.control.figures import clean, dollars, milliseconds

POLL_S = 0.2
MOST_AT_ONCE = 1_000


def tail(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, max=MOST_AT_ONCE, help="Begin with the last N.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until interrupted, or stop.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    data: Data = DATA,
) -> None:
    """Show decisions as they are booked. Which deployment was drawn and why, how it ended, what it cost."""
    import shutil
    import time
    from contextlib import suppress

    width = 0 if as_json else max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    with suppress(KeyboardInterrupt), ledger(data) as reader:
        rows = reader.recent(max(lines, 1))
        seen = rows[-1]["seq"] if rows else 0
        if not as_json and lines:
            typer.echo(head(width))
        _print(_in_time(rows) if lines else [], width)
        while follow:
            rows = reader.recent(MOST_AT_ONCE, after=seen)
            if rows:
                _print(_in_time(rows), width)
                seen = rows[-1]["seq"]
            else:
                time.sleep(POLL_S)


def _in_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as they came in: those of several workers are booked one worker after the other."""
    return sorted(rows, key=lambda row: (row["at_ms"], row["seq"]))


SHORT_ID = 20  # characters shown of an id: enough for `explain` to know it by
_LINE = "{time:8} {outcome:9} {choice:{wide}} {ttft:>7} {total:>7} {cost:>9} {id}"
_FIXED = len(_LINE.format(time="", outcome="", choice="", wide=0, ttft="", total="", cost="", id="")) + SHORT_ID


def head(width: int) -> str:
    """Return the names of the columns."""
    names = {name: name for name in ("time", "outcome", "ttft", "total", "cost", "id")}
    return _LINE.format(choice="route → reason, probability", wide=width - _FIXED, **names)


def _print(rows: list[dict[str, Any]], width: int) -> None:
    """Print rows as lines of `width` columns; 0: as JSON."""
    import msgspec

    for row in rows:
        if not width:
            typer.echo(msgspec.json.encode(row).decode())
        else:
            typer.secho(line(row, width), fg=None if row["outcome"] == "ok" else "yellow")


def line(row: dict[str, Any], width: int) -> str:
    """Return one request as one line of `width` columns; `~` marks an estimated charge."""
    wide = width - _FIXED
    return _LINE.format(
        time=datetime.fromtimestamp(row["at_ms"] / 1000).strftime("%H:%M:%S"),
        outcome=_fit(row["outcome"], 9),
        choice=_fit(f"{row['route']} → {_choice(row)}", wide),
        wide=wide,
        ttft=milliseconds(row["ttft_us"]),
        total=milliseconds(row["total_us"]),
        cost=("~" if row["charge_state"] == "estimated" else "") + dollars(row["charge_nano"]),
        id=row["id"][:SHORT_ID],
    )


def _choice(row: dict[str, Any]) -> str:
    """Return why a deployment was drawn, and with what probability; after a failover, which one answered instead; and the
    rung of the ladder that did, if one did."""
    if row["outcome"] == "degraded":
        return f"{row['arm']} degraded:{row['degraded']}".lstrip()
    if row["deployment"] != row["planned"] and row["attempts"]:
        return f"{row['planned']} » {row['deployment']}"
    chance = "" if row["probability"] is None or row["probability"] >= 1.0 else f" {row['probability']:.2f}"
    arm = f"{row['arm']} " if row["arm"] else ""
    return f"{arm}{row['reason']}{chance}" + (f", {row['attempts']} sends" if row["attempts"] > 1 else "")


def _fit(text: str, width: int) -> str:
    text = clean(text)
    return text if len(text) <= width else text[: width - 1] + "…"

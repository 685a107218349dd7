"""The command `notices`: what was told to which channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, Data, fail, ledger, print_json

if TYPE_CHECKING:
    from pointsman.core.notice import Noted

MOST = 10_000


def notices(
    kind: Annotated[str, typer.Option("--kind", help="Only of this kind.")] = "",
    since: Annotated[str, typer.Option("--since", help="90s, 30m, 24h, 7d, 4w, or an ISO date or time (UTC).")] = "",
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=MOST, help="Show the newest N.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    data: Data = DATA,
) -> None:
    """Show what was told to which channels, the newest first. And what was not. Exit code 2: the ledger cannot be asked."""
    import time

    from pointsman.control.bodies import notice_reply
    from pointsman.control.period import since_ms
    from pointsman.core.notice import KINDS
    from pointsman.stores.notices import Wish, listed

    if kind and kind not in KINDS:
        fail(f"--kind {kind}: expected one of {', '.join(KINDS)}.", 2)
    try:
        start_ms = since_ms(since, time.time_ns() // 1_000_000) if since else 0
    except ValueError as error:
        fail(f"--since {since}: {error}.", 2)
    with ledger(data) as reader:
        found, _ = listed(reader.ask, Wish(kind=kind, since_ms=start_ms, most=lines))
    if as_json:
        print_json([notice_reply(one) for one in found])
    elif found:
        _show(found)
    else:
        typer.echo("Nothing has happened that is told." if not (kind or since) else "None is like that.")


def _show(found: list[Noted]) -> None:
    from rich.markup import escape

    from pointsman.cli.store import table, when
    from pointsman.control.figures import clean

    rows = [[when(one.at_ms), one.notice.kind, *(escape(clean(text)) for text in (_said(one), _channels(one)))]
            for one in found]  # fmt: skip
    table(["at (UTC)", "kind", "what", "channels"], rows)


def _said(one: Noted) -> str:
    from pointsman.cli.store import when

    return one.notice.text + (f" (and {one.repeated} more, the last at {when(one.last_ms)})" if one.repeated else "")


def _channels(one: Noted) -> str:
    told = [
        f"{name}: {each.state.replace('_', ' ')}{f', {each.reason}' if each.reason else ''}"
        for name, each in one.told.items()
    ]
    return "; ".join(told) or "-"

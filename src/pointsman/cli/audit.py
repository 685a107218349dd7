"""The command `audit`: who changed what, and whether the log of it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json
from pointsman.cli.store import looking, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.stores.callers import Acting, AuditRow

VERIFY = "verify"


def audit(
    what: Annotated[str | None, typer.Argument(help="`verify`: look whether nothing was changed or taken out.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=100_000, help="Show the last N rows.")] = 20,
    head: Annotated[str | None, typer.Option("--head", help="With verify: a hash that was noted, to be found.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = DATA,
) -> None:
    """Show the audit log, or verify it. Exit code 1: it does not hold, 2: there is none."""
    if what not in (None, VERIFY):
        fail(f"{what}: `pointsman audit` shows the log, `pointsman audit verify` verifies it.", 2)
    with looking(data) as acting:
        rows = list(_rows(acting))
    if what == VERIFY:
        _verify(rows, head, as_json)
    elif as_json:
        from pointsman.control.bodies import audit_reply

        print_json([audit_reply(row) for row in rows[-lines:]])
    else:
        for row in rows[-lines:]:
            _show(row)


def _rows(acting: Acting) -> Iterator[AuditRow]:
    from pointsman.stores.callers import MOST_LISTED, Page

    after = 0
    while rows := acting.audit(Page(after, MOST_LISTED)):
        yield from rows
        after = rows[-1].seq


def _verify(rows: list[AuditRow], head: str | None, as_json: bool) -> None:
    from pointsman.stores.audit import broken_at

    broken, last = broken_at(rows)
    lost = head is not None and all(row.hash != head for row in rows)
    if as_json:
        print_json({"ok": not broken and not lost, "rows": len(rows), "broken_at": broken or None, "head": last})
    elif broken:
        typer.echo(f"Row {broken} does not follow from the rows before it: something was changed, taken out or put in.")
    elif lost:
        typer.echo(
            "All rows hold, but none has the hash that was noted: the end was cut off, or all were written anew."
        )
    else:
        typer.echo(f"All {len(rows)} rows hold. The last hash is {last}: note it elsewhere.")
    if broken or lost:
        raise typer.Exit(1)


def _show(row: AuditRow) -> None:
    from pointsman.control.figures import clean

    typer.echo(clean(f"{row.seq:6}  {when(row.at_ms)}  {row.actor:28}  {row.action:20}  {row.target}  {_changes(row)}"))


def _changes(row: AuditRow) -> str:
    """Return what differs between before and after, short."""
    import msgspec

    before, after = (msgspec.json.decode(text) or {} for text in (row.before, row.after))
    flat: tuple[dict[str, Any], ...] = tuple({**one, **one.pop("settings", {})} for one in (before, after))
    old, new = flat
    changed = (
        [name for name in new if new[name] != old.get(name)]
        if old
        else [name for name in ("name", "version") if name in new]
    )
    return ", ".join(f"{name}={new[name]}" for name in changed) or str(old.get("name", ""))

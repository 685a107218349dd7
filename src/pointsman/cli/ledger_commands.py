"""The commands `ledger export` and `ledger prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, ledger, print_json, stores_of

if TYPE_CHECKING:
    from pointsman.core.retention import Retention
    from pointsman.stores.export import Range
    from pointsman.stores.export_columns import Manifest, Part

ledger_app = typer.Typer(help="Export the ledger, and delete what is old.", no_args_is_help=True)


@ledger_app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="The folder of the export; made if it is not there.")],
    since: Annotated[str, typer.Option("--since", help="From this UTC day on: 7d, or a date. Default: all.")] = "",
    until: Annotated[str, typer.Option("--until", help="Before this UTC day. Default: all that are closed.")] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="Let retention wait for this export no more, and end.")
    ] = False,
    memory_mib: Annotated[int, typer.Option("--memory-mib", min=64, help="Memory for DuckDB.")] = 1_024,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads; 0: one for each processor.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Write closed days of the ledger as Parquet, a folder a day. A second run goes on where the first one ended."""
    import os
    import time

    from pointsman.stores.duck import Bounds
    from pointsman.stores.export import Exporter

    os.umask(0o077)
    now_ms = time.time_ns() // 1_000_000
    wished = _range(since, until, now_ms)
    if forget:
        _note(data, out, None, now_ms)
        typer.echo(f"Retention waits for {out} no more.")
        return
    done: list[Part] = []
    with ledger(data, 600.0) as reader:
        try:
            found = Exporter(reader, out, Bounds(memory_mib=memory_mib, threads=threads), done.append).run(
                now_ms, wished
            )
        except OSError as error:
            fail(f"{out}: {error.strerror or error}.", 2)
    if wished is None:
        _note(data, out, found, now_ms)
    if as_json:
        print_json(found)
    else:
        _told(out, found, done)


@ledger_app.command()
def prune(
    config: Annotated[Path, typer.Argument(help="The config file, with server.retention.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Delete now what `server.retention` lets go. The router does so by itself from time to time."""
    import time

    from pointsman.cli.policytest import policy_of
    from pointsman.stores.ledger_retention import due

    rules, now_ms = policy_of(config).listener.retention, time.time_ns() // 1_000_000
    if not rules.deletes:
        fail(f"{config} keeps everything: server.retention has no days.", 2)
    with ledger(data, 600.0) as reader:
        found, kept = due(reader.ask, rules, now_ms)
    if not dry_run:
        found = _pruned(data, rules, now_ms)
    if as_json:
        print_json({"dry_run": dry_run, "rows": found, "kept_for": kept.holder})
        return
    for table, count in found.items():
        typer.echo(f"{table:10} {count:>12,} {'to be ' if dry_run else ''}deleted")
    if kept.holder:
        typer.echo(
            f"Kept for {kept.holder}: requests from seq {kept.requests} on, feedback from seq {kept.feedback} on."
        )


def _pruned(data: Path, rules: Retention, now_ms: int) -> dict[str, int]:
    import time

    from pointsman.cli.store import user
    from pointsman.control import owed
    from pointsman.stores.ledger import LedgerError
    from pointsman.stores.ledger_retention import prune
    from pointsman.stores.private import PrivateError

    found: dict[str, int] = {}
    try:
        writer = stores_of(data).writer()
        try:
            for table, count in prune(writer, rules, now_ms):
                found[table] = found.get(table, 0) + count
                time.sleep(0.02)  # so that who books gets its turn
        finally:
            writer.close()
    except (LedgerError, PrivateError) as error:
        fail(f"{error}.", 2)
    finally:
        if found:
            owed.note(stores_of(data), f"cli: {user()}", "ledger.prune", "ledger", found)
    return found


def _range(since: str, until: str, now_ms: int) -> Range | None:
    """Return the days that are wished; None: all."""
    from pointsman.control.period import since_ms
    from pointsman.stores.browsing import DAY_MS
    from pointsman.stores.export import Range

    if not since and not until:
        return None
    made: dict[str, int] = {}
    for name, text in (("since", since), ("until", until)):
        try:
            made[name] = since_ms(text, now_ms) // DAY_MS * DAY_MS if text else 0
        except ValueError as error:
            fail(f"--{name} {text}: {error}.", 2)
    return Range(made["since"], made["until"] or 1 << 62)


def _note(data: Path, out: Path, found: Manifest | None, now_ms: int) -> None:
    """Note in the ledger how far an export is, or that it is none any more. A reader of PostgreSQL may not: that is told."""
    from pointsman.stores.ledger import LedgerError
    from pointsman.stores.ledger_retention import forget_export, note_export
    from pointsman.stores.private import PrivateError

    try:
        writer = stores_of(data).writer()
        try:
            if found is None:
                forget_export(writer, str(out.resolve()))
            else:
                seqs = (found.swept.get("requests", 0), found.swept.get("feedback", 0))
                note_export(writer, str(out.resolve()), seqs, now_ms)
        finally:
            writer.close()
    except (LedgerError, PrivateError) as error:
        typer.echo(f"Retention does not know of this export: {error}.", err=True)


def _told(out: Path, found: Manifest, done: list[Part]) -> None:
    def rows(parts: Any, table: str) -> int:
        return sum(part.rows for part in parts if part.table == table)

    days = sorted({part.day for part in done})
    if not done:
        typer.echo(f"Nothing to do: {out} has every closed day.")
    else:
        size = sum(part.bytes for part in done)
        told = ", ".join(f"{rows(done, table):,} {table}" for table in ("requests", "attempts", "feedback"))
        typer.echo(f"{days[0]} to {days[-1]}: {told} in {len(done)} files of {size / 1e6:.1f} MB.")
    typer.echo(f"In all {rows(found.parts, 'requests'):,} requests. Ask with: pointsman report --over {out}")

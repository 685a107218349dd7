"""The commands `config history`, `show`, `diff` and `rollback`: the config versions that were served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.stores.versions import Entry, Versions

RUNNING = "running"
BEFORE = ".before"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def history(as_json: Json = False, data: Data = DATA) -> None:
    """List the config versions that were served, the newest first. Exit code 2: there is no such list."""
    versions, entries = _entries(data)
    running = _running(data, entries)
    rows: list[dict[str, Any]] = [
        {**entry, "running": entry["version"] == running, "text": versions.text(entry["version"]) is not None}
        for entry in reversed(entries)
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(_line(row))


def show(
    version: Annotated[str, typer.Argument(help="A version or its unique beginning; `running`.")] = RUNNING,
    data: Data = DATA,
) -> None:
    """Print the text of a version. Exit code 1: no such version, or no text of it, 2: there are none."""
    versions, entries = _entries(data)
    name = _the_one(version, data, entries)
    text = _text(versions, entries, name)
    if _entry(entries, name)["redacted"]:
        typer.echo(f"version {name}: secrets that stood in the text are shown as ***", err=True)
    typer.echo(text, nl=False)


def diff(
    a: Annotated[str, typer.Argument(help="A version or its beginning, a file, or `running`.")],
    b: Annotated[str, typer.Argument(help="The same.")],
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Show what differs between two configs. Exit code 0: nothing, 1: something, 2: one of them cannot be read."""
    import difflib

    from pointsman.cli.compare import changes
    from pointsman.control.figures import clean

    (name_a, old), (name_b, new) = _config(a, data), _config(b, data)
    found = changes(old, new)
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), name_a, name_b, lineterm=""))
    if as_json:
        print_json({"a": name_a, "b": name_b, "changes": found, "diff": lines})
    else:
        for line in [*map(str, found), *([""] if found and lines else []), *lines]:
            typer.echo(clean(line))
    raise typer.Exit(1 if lines else 0)


def rollback(
    version: Annotated[str, typer.Argument(help="A version or its unique beginning; `running`.")],
    file: Annotated[Path, typer.Argument(help="The config file to write it to.")],
    data: Data = DATA,
) -> None:
    """Put a version's text back into the config file. Exit code 1: it cannot be served, 2: a file cannot be written."""
    import getpass
    import hashlib
    import os

    from pointsman.cli.check import print_error
    from pointsman.config.load import load_text
    from pointsman.config.problem import ConfigError
    from pointsman.stores.versions import replace

    versions, entries = _entries(data)
    name = _the_one(version, data, entries)
    text = _text(versions, entries, name)
    if _entry(entries, name)["redacted"]:
        why = "it was kept without the secrets that stood in its text"
        fail(f"version {name} cannot be put back: {why}. Secrets written as ${{NAME}} or {{file: path}} allow it.", 1)
    target = file.resolve()
    try:
        load_text(text, str(file), os.environ, beside=target.parent)
    except ConfigError as error:
        print_error(error)
        fail(f"{file} is not changed: version {name} is not valid any more.", 1)
    try:
        mode = _set_aside(target)
        versions.intend(hashlib.sha256(text.encode()).hexdigest(), f"{getpass.getuser()}, rollback")
        replace(target, text.encode(), mode)
    except OSError as error:
        fail(f"{error.filename or file}: cannot be written: {error.strerror}.", 2)
    typer.echo(f"{file} holds version {name} again; what it held before is in {target}{BEFORE}.")
    typer.echo("A router that serves this file takes it within two seconds.")


def _set_aside(file: Path) -> int:
    """Keep what a file holds now beside it; return its permissions."""
    from pointsman.stores.versions import replace

    if not file.exists():
        return 0o600
    mode = file.stat().st_mode & 0o777
    replace(file.with_name(file.name + BEFORE), file.read_bytes(), mode)
    return mode


def _entries(data: Path) -> tuple[Versions, list[Entry]]:
    from pointsman.stores.versions import Versions

    versions = Versions(data)
    try:
        entries = versions.entries()
    except OSError as error:
        fail(f"{versions.folder}: cannot be read: {error.strerror}.", 2)
    if not entries:
        fail(f"no config version was served from {data}. Name the folder of `pointsman serve` with --data DIR.", 2)
    return versions, entries


def _running(data: Path, entries: Sequence[Entry]) -> str:
    from pointsman.stores.versions import outcome

    return str(outcome(data).get("version", entries[-1]["version"]))


def _the_one(text: str, data: Path, entries: Sequence[Entry], code: int = 1) -> str:
    """Return the version that is meant; tell what else there is when it is none or several."""
    if text == RUNNING:
        return _running(data, entries)
    found = list(dict.fromkeys(entry["version"] for entry in entries if text and entry["version"].startswith(text)))
    if not found:
        fail(f"{text}: no such version. `pointsman config history` lists them.", code)
    if len(found) > 1 and text not in found:
        fail(f"{text}: several versions begin so: {', '.join(found[:10])}.", code)
    return text if text in found else found[0]


def _entry(entries: Sequence[Entry], version: str) -> Entry:
    """Return the newest entry of a version."""
    return next(entry for entry in reversed(entries) if entry["version"] == version)


def _text(versions: Versions, entries: Sequence[Entry], version: str, code: int = 1) -> str:
    text = versions.text(version)
    if text is None:
        entry = _entry(entries, version)
        if not entry["sha256"]:
            fail(f"version {version} was made from the environment: it has no text.", code)
        fail(
            f"the text of version {version} is not kept{' because of its secrets' if entry['redacted'] else ''}.", code
        )
    return text


def _config(text: str, data: Path) -> tuple[str, str]:
    """Return how a config is called, and its text without literal secrets: a file, or a version."""
    from pointsman.cli.redact import redacted
    from pointsman.config.document import read_text
    from pointsman.config.problem import ConfigError

    if text != RUNNING and Path(text).is_file():
        try:
            kept, _ = redacted(read_text(Path(text)))
        except ConfigError as error:
            fail(str(error), 2)
        if not kept:
            fail(
                f"{text}: is not valid YAML, or its secrets cannot be told from the rest. `pointsman check` says more.",
                2,
            )
        return text, kept
    versions, entries = _entries(data)
    name = _the_one(text, data, entries, 2)
    return name, _text(versions, entries, name, 2)


def _line(row: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    from pointsman.control.figures import clean

    at = datetime.fromtimestamp(row["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    notes = [
        "running" if row["running"] else "",
        "redacted" if row["redacted"] else "",
        "" if row["text"] else "no text",
    ]
    words = f"{row['version']:12}  {at}  {row['author']:16}  {row['trigger']:9}  {row['source']}"
    told = ", ".join(note for note in notes if note)
    return clean(f"{words}  ({told})" if told else words)

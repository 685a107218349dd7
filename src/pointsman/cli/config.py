"""The commands under `config`: the JSON Schema of the file, and the versions that were served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pointsman.cli.versions import diff, history, rollback, show

config_app = typer.Typer(help="The config file and its versions.", no_args_is_help=True)
for command in (history, show, diff, rollback):
    config_app.command()(command)


@config_app.callback()
def _group() -> None:
    """The config file and its versions."""


@config_app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="Write it here instead of printing it.")] = None,
) -> None:
    """Print the JSON Schema of the config file. Exit code 2: the file cannot be written."""
    import msgspec

    from pointsman.config.schema import json_schema

    text = msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        typer.echo(f"{out}: cannot be written: {error.strerror}.", err=True)
        raise typer.Exit(2) from None

"""The commands under `config`: the JSON Schema of the file, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

config_app = typer.Typer(help="The config file.", no_args_is_help=True)


@config_app.callback()
def _group() -> None:
    """The config file."""


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

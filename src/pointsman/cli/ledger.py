"""What the commands that read the ledger share: the option that says where it is, and opening it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from pointsman.stores.choose import Stores
    from pointsman.stores.ledger import Reader

WIDTH = 100  # columns when the output is no terminal
Data = Annotated[Path, typer.Option("--data", help="The folder that `pointsman serve` keeps its data in.")]
DATA = Path(".pointsman")


def stores_of(data: Path) -> Stores:
    """Return the stores of the router with this data folder. A bad URL in the environment is told, with exit code 2."""
    import os

    from pointsman.stores.choose import stores_at

    try:
        return stores_at(data, os.environ)
    except ValueError as error:
        fail(f"{error}.", 2)


@contextmanager
def ledger(data: Path, limit_s: float = 60.0) -> Iterator[Reader]:
    """Open the ledger of the router with this data folder; no question may take longer than `limit_s`.
    Whatever is wrong with it is told, with exit code 2."""
    from pointsman.stores.choose import LEDGER_VARIABLE
    from pointsman.stores.ledger import LedgerAway, LedgerError, LedgerMissing

    try:
        with stores_of(data).reader(limit_s) as reader:
            yield reader
    except LedgerAway as error:
        fail(f"{error}. If it needs a password, set {LEDGER_VARIABLE} to the URL with it, or PGPASSWORD.", 2)
    except LedgerMissing as error:
        fail(f"{error}. Start `pointsman serve` there, or name its folder with --data DIR.", 2)
    except LedgerError as error:
        fail(f"{error}.", 2)


def fail(message: str, code: int) -> NoReturn:
    """Tell what is wrong and end the command."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

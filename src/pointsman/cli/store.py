"""What the commands that use the key store share: opening it, finding a key, times and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.cli.ledger import WIDTH, fail, stores_of

if TYPE_CHECKING:
    from pointsman.stores.callers import Acting, StoredKey


@contextmanager
def changing(data: Path) -> Iterator[Acting]:
    """Open the key store to change it, in the name of who runs the command; workers are told. What cannot be is told with
    exit code 1, what is wrong with the store with 2."""
    from pointsman.control import keystore
    from pointsman.stores.callers import CallersError, Unavailable
    from pointsman.stores.choose import CALLERS_VARIABLE
    from pointsman.stores.private import PrivateError

    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with keystore.acting(stores_of(data), f"cli: {user()}") as acting:
            yield acting
    except (Unavailable, PrivateError) as error:
        hint = f" If it needs a password, set {CALLERS_VARIABLE} to the URL with it, or PGPASSWORD."
        fail(f"{error}.{hint if stores_of(data).shares_callers else ''}", 2)
    except CallersError as error:
        fail(f"{error}.", 1)
    except OSError as error:
        fail(f"{data}: cannot be used: {error.strerror}.", 2)


@contextmanager
def looking(data: Path) -> Iterator[Acting]:
    """Open the key store to look only: a folder without one is told, with exit code 2."""
    if not stores_of(data).has_callers():
        fail(f"there is no key store in {data}. Name the folder of `pointsman serve` with --data DIR.", 2)
    with changing(data) as acting:
        yield acting


def every(ask: Callable[..., tuple[list[Any], int]]) -> Iterator[Any]:
    """Yield all of a list, page by page."""
    from pointsman.stores.callers import MOST_LISTED, Page

    after = 0
    while True:
        rows, after = ask(page=Page(after, MOST_LISTED))
        yield from rows
        if not after:
            return


def found_key(acting: Acting, text: str) -> StoredKey:
    """Return the key with this id, or booked as this name. Raise NotThere."""
    from pointsman.stores.callers import NotThere

    found: StoredKey | None = next((key for key in every(acting.keys) if text in (key.id, key.label)), None)
    if found is None:
        raise NotThere(f"{text}: there is no such key; `pointsman keys list` lists them")
    return found


def moment(text: str | None) -> int | None:
    """Return Unix milliseconds of a time to come as people write it. What cannot be read is told, with exit code 1."""
    import time

    from pointsman.control.period import until_ms

    try:
        return None if text is None else until_ms(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        fail(f"{text}: {error}.", 1)


def when(at_ms: int | None) -> str:
    """Return a time in UTC, to the minute; `-` for none."""
    from datetime import UTC, datetime

    return "-" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def table(titles: list[str], rows: list[list[Any]]) -> None:
    """Print a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH + 40
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def user() -> str:
    """Return who runs the command."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

"""The key store of a data folder, opened by the control process and the command line: its pepper, and telling the workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.stores import callers_file
from pointsman.stores.callers import Acting, Unavailable
from pointsman.stores.callers_sqlite import FILE, SqliteCallers
from pointsman.stores.private import pepper_of


def opened(data: Path, *, create: bool = False) -> SqliteCallers:
    """Open the key store; `create` it, and its pepper, if it is not there. Raise Unavailable, PrivateError."""
    if create:
        callers_file.prepare(data)
    path = data / FILE
    # A pepper is made before the store, never for one that is there: its keys would be of no use.
    pepper = pepper_of(data, os.environ, make=create and not path.exists())
    if pepper is None:
        why = "its pepper is missing: bring back the file `pepper`, or set POINTSMAN_PEPPER"
        raise Unavailable(f"{path}: {why if path.exists() else 'there is no key store'}")
    return SqliteCallers(path, pepper, create=create)


@contextmanager
def acting(data: Path, actor: str, organisation: str = "") -> Iterator[Acting]:
    """Open the store for somebody, and publish what was changed. A change that is made but cannot be published is told on
    standard error, not raised: the control process publishes it as soon as it can."""
    with opened(data, create=True) as store:
        before = store.revision()
        yield store.acting(actor, organisation)
        try:
            if store.revision() != before:
                callers_file.publish(data, store.published)
        except Unavailable as error:
            print(f"pointsman: the change is made, but not in force yet: {error}", file=sys.stderr)

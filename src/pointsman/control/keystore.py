"""The key store of a router, opened by the control process and the command line: its pepper, and telling the workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from pointsman.stores import callers_file
from pointsman.stores.callers import Acting, Store, Unavailable
from pointsman.stores.choose import Stores
from pointsman.stores.private import pepper_of


def opened(stores: Stores, *, create: bool = False) -> Store:
    """Open the key store; `create` it, and its pepper, if it is not there. Raise Unavailable, PrivateError."""
    if create and not stores.shares_callers:
        callers_file.prepare(stores.data)
    pepper = pepper_of(stores.data, os.environ)
    if pepper is None and create and stores.lacks_pepper():
        # A pepper is made before the store, never for one that is there: its keys would be of no use.
        pepper = pepper_of(stores.data, os.environ, make=True)
    if pepper is None:
        why = "its pepper is missing: bring back the file `pepper`, or set POINTSMAN_PEPPER"
        where = "the key store" if stores.shares_callers else str(stores.data / callers_file.STORE)
        raise Unavailable(f"{where}: {why if stores.has_callers() else 'there is no key store'}")
    return stores.open_callers(pepper, create=create)


@contextmanager
def acting(stores: Stores, actor: str, organisation: str = "") -> Iterator[Acting]:
    """Open the store for somebody, and publish what was changed. A change that is made but cannot be published is told on
    standard error, not raised: the control process publishes it as soon as it can."""
    with closing(opened(stores, create=True)) as store:
        before = store.revision()
        yield store.acting(actor, organisation)
        try:
            if store.revision() != before:
                callers_file.publish(stores.data, store.published)
        except Unavailable as error:
            print(f"pointsman: the change is made, but not in force yet: {error}", file=sys.stderr)

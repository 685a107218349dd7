"""Keeper: sees to it that workers know what the key store says, and the store which keys are used.

Whoever changes the store publishes it; the Keeper publishes what somebody could not, and mends what was damaged. While the
store cannot be read, what was published before stands (fault 83).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from pointsman.control import keystore
from pointsman.observe.log import LOG
from pointsman.stores import callers_file
from pointsman.stores.callers import CallersError, Store, Unavailable
from pointsman.stores.choose import Stores
from pointsman.stores.private import PrivateError

LOOK_S = 0.5  # between two looks at the store
USED_S = 5.0  # between two looks at which keys were used
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Keeper:
    """Look after the key store of a router; one thread at a time. `failed` is called for every failure."""

    def __init__(self, stores: Stores, failed: Callable[[], None]) -> None:
        self._stores, self._data, self._failed = stores, stores.data, failed
        self._store: Store | None = None
        self._revision = -1  # that was published last
        self._stamp: tuple[int, ...] | None = None
        self._seen = False
        self._said = ""
        self._used: dict[str, int] = {}
        self._used_due_s = 0.0

    def step(self) -> None:
        """Look once. What goes wrong is counted, and said once; the next step tries again."""
        try:
            self._step()
            self._said = ""
        except (CallersError, PrivateError) as error:
            self.close()
            self._failed()
            if str(error) != self._said:
                self._said = str(error)
                LOG.warning("key_store_failed", f"the key store: {error}; the keys known before go on")

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _step(self) -> None:
        # Asked before we look whether it is there: a store is made before anything of it is published.
        was_there = self._was_there()
        if not self._stores.has_callers():
            self.close()
            if was_there:
                raise Unavailable(f"{self._data / callers_file.STORE} is gone")
            return
        self._seen = True
        if self._store is None:
            self._store = keystore.opened(self._stores, create=self._stores.shares_callers)
            self._stamp = None  # what was published before may be of another store
        if not self._is_published(self._store.revision()):
            self._revision = callers_file.publish(self._data, self._store.published).revision
            self._stamp = callers_file.stamp(self._data)
        if time.monotonic() >= self._used_due_s:
            self._used_due_s = time.monotonic() + USED_S
            self._note_used(self._store)

    def _was_there(self) -> bool:
        """Tell whether there was a store: one that we saw, or one of which something was published before we could."""
        if not self._seen and callers_file.stamp(self._data) is not None:
            with contextlib.suppress(Unavailable):
                return callers_file.read(self._data) != callers_file.NOTHING
        return self._seen

    def _is_published(self, revision: int) -> bool:
        stamp = callers_file.stamp(self._data)
        if stamp is None or self._stamp is None:
            return False
        if stamp != self._stamp:  # somebody else has published
            with contextlib.suppress(Unavailable):
                self._revision, self._stamp = callers_file.read(self._data).revision, stamp
        return self._stamp == stamp and self._revision == revision

    def _note_used(self, store: Store) -> None:
        news: dict[str, int] = {}
        for path in (self._data / "run").glob("used-*.msgpack"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                for name, day in msgspec.msgpack.decode(path.read_bytes(), type=dict[str, int]).items():
                    if day > max(self._used.get(name, 0), news.get(name, 0)):
                        news[name] = day
        if news:
            store.used({name: (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d") for name, day in news.items()})
            self._used |= news

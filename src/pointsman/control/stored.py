"""Stored: the control process deletes stored bodies when their time has come, and Footprints that nobody needs any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pointsman.control.pump import Counts
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores.bodies import Bodies, encrypts
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError
from pointsman.stores.ledger_signals import forget
from pointsman.stores.private import PrivateError

EVERY_S = 1.0
FORGET_EVERY_S = 600.0


class StoredBodies(threading.Thread):
    """Delete what is due as long as this process lives. What is deleted before its time, for want of room, is counted and
    said."""

    def __init__(self, stores: Stores, policy: Callable[[], Policy], counts: Counts) -> None:
        super().__init__(name="bodies", daemon=True)
        self._stores, self._policy, self._counts = stores, policy, counts
        self._bodies = Bodies(stores.data)
        self._said = ""
        self._forgot_s = time.monotonic()

    def run(self) -> None:
        if any(route.bodies is not None for route in self._policy().routes.values()) and not encrypts():
            LOG.warning(
                "not_kept", "stored bodies are not encrypted: install pointsman[oidc], which brings the library"
            )
        while True:
            self.step(time.time_ns() // 1_000_000)
            time.sleep(EVERY_S)

    def step(self, now_ms: int) -> None:
        """Delete what is due now, in Unix milliseconds. What goes wrong is said once, and tried again."""
        try:
            self._bodies.expire(now_ms)
            dropped = self._bodies.bound(self._policy().listener.bodies.max_bytes)
            if dropped:
                self._counts.bodies_dropped += dropped
                LOG.warning(
                    "not_kept", f"{dropped} files of stored bodies went before their time: server.bodies.max_bytes"
                )
            if time.monotonic() - self._forgot_s > FORGET_EVERY_S:
                self._forgot_s = time.monotonic()
                self.forget(now_ms)
            self._said = ""
        except (OSError, LedgerError, PrivateError) as error:
            text = f"stored bodies: {error}; it is tried again"
            if text != self._said:
                LOG.warning("not_kept", text)
            self._said = text

    def forget(self, now_ms: int) -> None:
        """Delete Footprints that nobody needs any more. Raise LedgerError, PrivateError."""
        writer = self._stores.writer()
        try:
            with writer.changing() as db:
                forget(db, now_ms)
        finally:
            writer.close()

"""Retention in the control process: now and then, what the config lets go is deleted from the ledger, in small pieces with
pauses, so that booking goes on between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pointsman.control import keystore
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores.callers import CallersError
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError
from pointsman.stores.ledger_retention import prune
from pointsman.stores.private import PrivateError

FIRST_S = 60.0  # after the start: there is other work to do
EVERY_S = 600.0
PAUSE_S = 0.1  # after each transaction


class Keeping(threading.Thread):
    """Delete what is older than the config says, as long as this process lives. `deleted` counts rows; requests go with their
    attempts and decisions, which are not counted. What is deleted is noted in the audit log, once a round."""

    def __init__(self, stores: Stores, policy: Callable[[], Policy]) -> None:
        super().__init__(name="retention", daemon=True)
        self.deleted = 0
        self._stores, self._policy = stores, policy
        self._said = ""

    def run(self) -> None:
        time.sleep(FIRST_S)
        while True:
            self.step(time.time_ns() // 1_000_000)
            time.sleep(EVERY_S)

    def step(self, now_ms: int, pause_s: float = PAUSE_S) -> dict[str, int]:
        """Delete all that is due; return how many rows of each table. What goes wrong is said once, and tried again later."""
        rules, found = self._policy().listener.retention, dict[str, int]()
        if not rules.deletes:
            return found
        try:
            writer = self._stores.writer()
            try:
                for table, count in prune(writer, rules, now_ms):
                    found[table] = found.get(table, 0) + count
                    self.deleted += count
                    time.sleep(pause_s)
            finally:
                writer.close()
            self._said = ""
        except (LedgerError, PrivateError, OSError) as error:
            self._tell(f"retention: {error}; it is tried again")
        if found:
            self._note(found)
        return found

    def _note(self, found: dict[str, int]) -> None:
        try:
            with keystore.acting(self._stores, "retention") as acting:
                acting.note("ledger.prune", "ledger", found)
        except (CallersError, PrivateError, OSError) as error:
            self._tell(f"the audit log has no row of what retention deleted ({found}): {error}")

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            LOG.warning("retention_failed", text)

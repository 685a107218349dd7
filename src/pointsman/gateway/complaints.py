"""Complaints: what a worker says on standard error, as `observe/log.py` writes it."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import msgspec

from pointsman.core.policy import Policy
from pointsman.core.secret import secrets_of
from pointsman.observe.log import LOG, MOST_BYTES, Log
from pointsman.strategies.guard import GUARDS

_words = msgspec.json.Encoder(order="deterministic").encode


class Complaints:
    """Say what needs a look. `lost` counts what nobody took."""

    def __init__(self, log: Log = LOG) -> None:
        self._log = log

    @property
    def lost(self) -> int:
        return self._log.lost

    def adopt(self, policy: Policy, number: int) -> None:
        """Write as a config version wants it."""
        settings = policy.listener.log
        self._log.configure(f"worker {number}", settings.format, settings.level, secrets_of(policy))
        GUARDS.tell = lambda text: self.say(text, "plugin_disabled")

    def say(self, text: str, event: str, **fields: Any) -> None:
        self._log.warning(event, text, **fields)

    def alert(self, told: dict[str, Any]) -> None:
        """Say an alert (docs/resilience.md)."""
        self.say("alert" if self._log.json else f"alert {_words(told).decode()}", "alert", **told)

    def look(self) -> None:
        self._log.look()

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what asyncio has nobody else to tell."""
        error = context.get("exception")
        lines = "" if error is None else "".join(traceback.format_exception(error))
        text = f"{context.get('message', 'an error')}\n{lines[-MOST_BYTES // 2 :]}".rstrip()
        self._log.error("exception", text)


COMPLAINTS = Complaints()

"""Notice book: keeps what the channels were told, and what became of it, in the ledger's database.

It belongs to the thread that tells, which is held up by a database that hangs only after it has told; where it cannot be
written it waits here, bounded, and is tried again. A notice that is found again and again is one row that counts: a new one
when a channel is told again, or after QUIET_S.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from pointsman.core.notice import QUIET_S, Noted, Notice, Quiet, State, Told
from pointsman.observe.log import LOG
from pointsman.stores import notices
from pointsman.stores.choose import FOLDER, Stores
from pointsman.stores.ledger import LedgerError
from pointsman.stores.private import PrivateError, kept

AGAIN_S = 30.0  # after a failure
REPEATS_S = 30.0  # how often rows are written of which nothing but the count has changed
MOST_UNWRITTEN = 1_000
MOST_LAST = 1_000  # notices whose repeats are counted
ID_BYTES = 12  # random, of an id


class NoticeBook:
    """Keep notices. `clock` gives seconds that never go back."""

    def __init__(self, stores: Stores, clock: Callable[[], float] = time.monotonic) -> None:
        self._stores, self._clock = stores, clock
        self._quiet = Quiet(QUIET_S)
        self._last: dict[tuple[str, str, str], Noted] = {}
        self._unwritten: dict[str, Noted] = {}  # by id
        self._lost = 0
        self._soon = True  # more than counts has changed, or what waited before this start is not ended yet
        self._begun = False
        self._due_s = float("-inf")
        self._counts_due_s = float("-inf")
        self._said = ""

    def add(self, notice: Notice, takers: Iterable[str], quiet: Iterable[str]) -> Noted:
        """Keep a notice that these channels shall be told of, and these not again; return what is kept of it."""
        now_ms, key = _now_ms(), (notice.kind, notice.subject, notice.what)
        told = dict.fromkeys(takers, Told("waiting", now_ms))
        fresh = bool(self._quiet.passing([notice], self._clock()))
        last = self._last.pop(key, None)
        if last is not None and not told and not fresh:
            self._last[key] = last
            last.repeated, last.last_ms = last.repeated + 1, now_ms
            self._change(last)
            return last
        told |= dict.fromkeys(quiet, Told("held_back", now_ms))
        made = Noted(f"ntc_{secrets.token_hex(ID_BYTES)}", now_ms, notice, now_ms, told=told)
        self._last[key] = made
        if len(self._last) > MOST_LAST:
            del self._last[next(iter(self._last))]
        self._change(made, soon=True)
        return made

    def told(self, noted: Iterable[Noted], channel: str, state: State, tries: int = 0, reason: str = "") -> None:
        """Note what became of notices in a channel."""
        made = Told(state, _now_ms(), tries, reason)
        for one in noted:
            one.told[channel] = made
            self._change(one, soon=True)

    def write(self) -> None:
        """Write what has changed, if it is time. Never raises: what goes wrong is said once, and tried again."""
        now_s = self._clock()
        if now_s < self._due_s or not (self._soon or (self._unwritten and now_s >= self._counts_due_s)):
            return
        try:
            with closing(self._stores.writer()) as writer, writer.changing() as db:
                router = kept(self._stores.data / FOLDER, make=False) or ""
                if not self._begun:
                    notices.end(db, router, _now_ms())
                if self._unwritten:
                    notices.keep(db, self._unwritten.values(), router)
        except (LedgerError, PrivateError, OSError) as error:
            self._due_s = now_s + AGAIN_S
            self._tell(f"notices are told, but not kept: {error}; it is tried again")
            return
        if self._lost:
            self._tell(f"{self._lost} notices were told, but not kept")
        self._unwritten.clear()
        self._soon, self._begun, self._lost, self._said = False, True, 0, ""
        self._counts_due_s = now_s + REPEATS_S

    def _change(self, one: Noted, *, soon: bool = False) -> None:
        self._unwritten.setdefault(one.id, one)
        self._soon = self._soon or soon
        if len(self._unwritten) > MOST_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
            self._lost += 1

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            LOG.warning("not_kept", text)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

"""Callers: the keys that are good now: those of the config, and those of the key store as they were last published.

The two tables of digests are replaced whole, and a new generation makes every connection look its caller up again; a look-up
asks no store, also that of a key that nobody has (fault 75). What cannot be read changes nothing: the keys of before go on,
which is said and counted (fault 83). Keys of the store end on time without anybody's word.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.keys import CLIENT, digest, is_key, mark_of, peppered
from pointsman.core.policy import OWN_FILE, Key, Policy
from pointsman.core.tokens import TokenError, is_token
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.stores import callers_file
from pointsman.stores.callers import NEVER_MS, Unavailable
from pointsman.stores.private import PrivateError, pepper_of
from pointsman.stores.tokens import Tokens

if TYPE_CHECKING:
    from pointsman.gateway.worker import Worker

DAY_MS = 86_400_000
USED = "used-"  # files of what was used, in the `run` folder
WRITE_USED_MS = 5_000.0
_CLIENT = CLIENT.encode()


class Callers:
    """Find who calls, for one worker. `open`: whoever comes without a key is let in; `policy`: that of the config, with the
    keys of the store; `errors`: how often what was published could not be taken; `wrong`: why the last token was not."""

    def __init__(self, worker: Worker, data: Path, number: int) -> None:
        self.errors = 0
        self.policy = worker.live.world.policy
        self.open = worker.live.world.open
        self._worker, self._data = worker, data
        self._used_file = data / "run" / f"{USED}{number}.msgpack"
        self._config: dict[bytes, Key] = {key.digest: key for key in self.policy.keys}
        self._stored: dict[bytes, Key] = {}
        self._pepper = b""
        self._published = callers_file.NOTHING
        self._stamp: tuple[int, ...] | None = None
        self._ends_ms = NEVER_MS  # when the next key ends
        self._day = worker.live.clock.wall_ms() // DAY_MS
        self._said = ""
        self._used: dict[str, int] = {}  # name -> day, since 1970
        self._write_ms = 0.0
        self.wrong: TokenError | None = None
        self._tokens = Tokens(data, str(number))
        self._issuers = self.policy.listener.issuers
        self._tokens.adopt(self._issuers)
        if callers_file.stamp(data) is None:
            if (data / callers_file.STORE).exists():
                self._complain("there is a key store, but nothing was published of it")
            elif self.policy.listener.callers != OWN_FILE:
                self._close()  # until the control process has asked the store
        self.look()

    def find(self, key: bytes) -> Key | None:
        """Return who calls with a key; None when nobody does."""
        if key.startswith(_CLIENT) and is_key(key, CLIENT):
            found = self._stored.get(peppered(self._pepper, key))
            if found is not None:
                self._used[found.name] = self._day
                return found
        mark = digest(key)
        known = self._config.get(mark)
        return known if known is not None or not is_token(key) else self._holder(key, mark)

    def _holder(self, token: bytes, mark: bytes) -> Key | None:
        """Return who has a token; None, with why in `wrong`, when it is not taken."""
        try:
            caller = self._tokens.find(token, mark, self._worker.live.clock.wall_ms()).key
        except TokenError as error:
            self.wrong = error
            return None
        if self._worker.gate.visit(caller):
            self._worker.generation = object()  # accounts were closed: who still has one is looked up again
        return caller

    def adopt(self, policy: Policy) -> None:
        """Take over the keys of a config version. Raise OSError when they cannot be counted together."""
        self._config, before = {key.digest: key for key in policy.keys}, self._config
        try:
            self._merge(policy)
        except OSError:
            self._config = before
            raise
        if policy.listener.issuers != self._issuers:
            self._issuers = policy.listener.issuers
            self._tokens.adopt(self._issuers)

    def look(self) -> None:
        """Take over what was published since the last look, and end what has ended: to be called every second or so."""
        now_ms = self._worker.live.clock.wall_ms()
        stamp = callers_file.stamp(self._data)
        if stamp is not None and stamp != self._stamp:
            self._stamp = stamp
            self._take(now_ms)
        elif stamp is None and self._stamp is not None:
            self._stamp = None
            self._complain("what was published of the key store is gone")
        elif now_ms >= self._ends_ms or now_ms // DAY_MS != self._day:
            self._table(now_ms)
        if self._issuers:
            self._look_at_tokens(now_ms)
        if self._used and now_ms >= self._write_ms:
            self._write_used(now_ms)

    def _look_at_tokens(self, now_ms: int) -> None:
        before = self._tokens.failure
        if self._tokens.look(now_ms):
            self._worker.generation = object()
        if self._tokens.failure and self._tokens.failure != before:
            self.errors += 1
            COMPLAINTS.say(f"{self._tokens.failure}; the keys of issuers known before go on", "keys_not_taken")

    def _take(self, now_ms: int) -> None:
        try:
            published = callers_file.read(self._data)
            pepper = pepper_of(self._data, os.environ) if published.mark else b""
            if pepper is None or (published.mark and mark_of(pepper) != published.mark):
                raise Unavailable("the keys of the key store were made with another pepper than the one that is here")
        except (Unavailable, PrivateError) as error:
            self._complain(str(error))
            return
        before = self._published, self._pepper
        self._published, self._pepper = published, pepper
        try:
            self._merge(self._worker.live.world.policy)
        except OSError as error:
            self._published, self._pepper = before
            self._complain(f"the keys of the key store cannot be counted: {error}")
            return
        self._said = ""
        self._table(now_ms)

    def _merge(self, policy: Policy) -> None:
        merged = policy
        if self._published.keys:
            named = {key.name for key in policy.keys}  # one of the config goes before one of the store
            stored = tuple(key for key in self._published.keys if key.name not in named)
            merged = msgspec.structs.replace(policy, keys=(*policy.keys, *stored))
        self._worker.gate.adopt(merged)
        self.policy = merged
        self.open = policy.listener.insecure_open and not self._published.closed

    def _table(self, now_ms: int) -> None:
        """Make the table of those that are good now; everybody is looked up again."""
        keys, good = self._published.keys, [one for one in self._published.secrets if one[2] > now_ms]
        self._stored = {mark: keys[place] for mark, place, _ in good}
        self._ends_ms = min((until_ms for _, _, until_ms in good), default=NEVER_MS)
        self._day = now_ms // DAY_MS
        self._worker.generation = object()

    def _complain(self, text: str) -> None:
        self.errors += 1
        if not self._published.revision:
            self._close()
        if text != self._said:
            self._said = text
            COMPLAINTS.say(f"{text}; the keys known before go on", "keys_not_taken")

    def _close(self) -> None:
        """Let nobody in without a key: there may be keys that we do not know."""
        self._published = msgspec.structs.replace(callers_file.NOTHING, closed=True)
        self.open, self._worker.generation = False, object()

    def _write_used(self, now_ms: int) -> None:
        """Tell the control process which keys were used; when that fails, a later file tells it."""
        self._write_ms = now_ms + WRITE_USED_MS
        fresh = self._used_file.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.msgpack.encode(self._used))
            fresh.replace(self._used_file)
        except OSError:
            return
        self._used = {name: day for name, day in self._used.items() if day == self._day}

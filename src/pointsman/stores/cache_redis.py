"""Cached answers in Redis, which routers on many machines share: `server.cache: redis://`. Bounded in time and bytes.

    pointsman:1:answer:<share>:<key>   a record (`cache_record.py`); Redis forgets it when its time is over
    pointsman:1:flight:<share>:<key>   the name of whoever is getting that answer, for a few seconds at a time

A look-up waits 50 ms at most. Five that fail in a row open the breaker: for a second nobody is kept waiting, then one look-up
tries again. Nothing here raises: what cannot be read is not there, and what went wrong is counted in `failed`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from hashlib import sha1
from typing import NamedTuple

from pointsman.core.address import address_of
from pointsman.stores.cache_memory import Answer
from pointsman.stores.cache_record import answer_of, record_of
from pointsman.stores.counters.link import Link
from pointsman.stores.counters.resp import Reply, RespFault, command
from pointsman.stores.counters.scripts import PREFIX

MOST_WAIT_S = 0.05
FAILURES = 5  # in a row open the breaker
OPEN_S = 1.0
SILENT_S = 5.0  # of failures, after which a connection is made anew
FLIGHT_MS = 3_000  # that a flight is known without being said again: so long a killed router holds others up
MOST_REPLY_BYTES = 8 << 20
ANSWER, FLIGHT = PREFIX + "answer:", PREFIX + "flight:"

# KEYS: the answer, the flight. ARGV: who would get it, for how long in milliseconds; an empty name only looks. What cannot be
# an answer is given as an empty one.
_LOOK = """
local size = redis.pcall('STRLEN', KEYS[1])
if type(size) == 'table' or size > 4194304 then return {''} end
if size > 0 then return {redis.call('GET', KEYS[1])} end
if ARGV[1] == '' then return {0} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1} end
return {0}
"""
# KEYS: the flight. ARGV: whose it is, for how long from now; 0: it has landed.
_GO_ON = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_SHA = {text: sha1(text.encode(), usedforsecurity=False).hexdigest() for text in (_LOOK, _GO_ON)}


class Look(NamedTuple):
    """Hold what a look-up found: the answer, or whether the one who looked is to get it. `claim`: the flight's name in Redis
    that is to be given back, "" when it is not known there."""

    answer: Answer | None
    mine: bool
    claim: str = ""


ALONE = Look(None, True)  # nobody can say who else is getting it
Then = Callable[[Look], None]


class _Asked:
    """Hold one look-up that waits. `then` is None when it no longer does."""

    __slots__ = ("claim", "due_s", "then")

    def __init__(self, claim: str, then: Then, due_s: float) -> None:
        self.claim = claim
        self.then: Then | None = then
        self.due_s = due_s


class RedisAnswers:
    """Keep answers by share and key, both hexadecimal, for all who use the same database. To be used on the event loop."""

    def __init__(self, url: str) -> None:
        self.failed = 0
        self._link = Link(address_of(url), self._connected, self._lost, MOST_REPLY_BYTES)
        self._asked: deque[_Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._in_a_row = 0
        self._again_s = 0.0  # when an open breaker lets one look-up through
        self._failing_s = 0.0  # since when nothing was heard; 0.0: it answers
        self._name = os.urandom(6).hex()
        self._number = 0

    def open(self) -> None:
        """Begin to connect."""
        self._link.open()

    def look(self, share: str, key: str, then: Then, *, claims: bool = True) -> Look | None:
        """Return what there is, or None: it is then given to `then` within MOST_WAIT_S. With `claims` the first who looks
        for an answer that is not there is to get it."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if not self._tries(now_s):
            return ALONE
        self._number += 1
        claim = f"{self._name}-{self._number}" if claims else ""
        asked = _Asked(claim, then, now_s + MOST_WAIT_S)
        self._asked.append(asked)
        place = f"{share}:{key}"
        self._run(_LOOK, (ANSWER + place, FLIGHT + place), (claim, FLIGHT_MS), partial(self._told, asked, place))
        if self._timer is None:
            self._timer = loop.call_later(MOST_WAIT_S, self._expire)
        return None

    def put(self, share: str, key: str, answer: Answer, most_bytes: int, now_ms: int) -> None:
        """Keep an answer that takes no more than `most_bytes`, in place of an earlier one."""
        left_ms = answer.until_ms - now_ms
        if answer.size > most_bytes or left_ms <= 0:
            return
        if not self._link.is_up or self._in_a_row >= FAILURES:
            self.failed += 1
            return
        self._link.send(command("SET", f"{ANSWER}{share}:{key}", record_of(answer), "PX", left_ms), self._heard)

    def go_on(self, share: str, key: str, claim: str) -> None:
        """Say that we are still getting an answer."""
        self._flight(share, key, claim, FLIGHT_MS)

    def land(self, share: str, key: str, claim: str) -> None:
        """Say that we are no longer getting it: it is there, or it will not come."""
        self._flight(share, key, claim, 0)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._link.close()

    # --- inside
    def _flight(self, share: str, key: str, claim: str, for_ms: int) -> None:
        if claim and self._link.is_up:
            self._run(_GO_ON, (f"{FLIGHT}{share}:{key}",), (claim, for_ms), self._heard)

    def _tries(self, now_s: float) -> bool:
        """Tell whether Redis is asked now."""
        if self._failing_s and now_s - self._failing_s > SILENT_S:
            self._failing_s = now_s
            self._link.close()  # it may be gone without a word
        if not self._link.is_up:
            if now_s >= self._again_s:
                self._again_s = now_s + OPEN_S
                self._link.open()
            return False
        if self._in_a_row >= FAILURES:
            if now_s < self._again_s:
                return False
            self._again_s = now_s + OPEN_S
        return True

    def _run(
        self, script: str, keys: tuple[str, ...], parts: tuple[str | int, ...], done: Callable[[Reply], None]
    ) -> None:
        self._link.send(command("EVALSHA", _SHA[script], len(keys), *keys, *parts), done)

    def _told(self, asked: _Asked, place: str, reply: Reply) -> None:
        then, asked.then = asked.then, None
        if self._asked and self._asked[0] is asked:
            self._asked.popleft()
        self._heard(reply)
        found = reply[0] if isinstance(reply, list) and len(reply) == 1 else None
        if then is None:  # too late: whoever it was has gone on
            if found == 1:
                share, _, key = place.partition(":")
                self.land(share, key, asked.claim)
            return
        if isinstance(found, bytes):
            answer = answer_of(found)
            self.failed += answer is None
            then(Look(answer, answer is None))
        elif isinstance(found, int):
            then(Look(None, found == 1, asked.claim if found == 1 else ""))
        else:
            then(ALONE)

    def _heard(self, reply: Reply) -> None:
        """Note whether an answer is a good one."""
        if reply is None or isinstance(reply, RespFault):
            self._fail()
            if isinstance(reply, RespFault) and str(reply).startswith("NOSCRIPT"):
                self._load()
        else:
            self._in_a_row, self._failing_s = 0, 0.0

    def _fail(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self.failed += 1
        self._in_a_row += 1
        self._failing_s = self._failing_s or now_s
        if self._in_a_row == FAILURES:
            self._again_s = now_s + OPEN_S

    def _expire(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        while self._asked and (self._asked[0].due_s <= now_s or self._asked[0].then is None):
            asked = self._asked.popleft()
            then, asked.then = asked.then, None
            if then is not None:
                self._fail()
                then(ALONE)
        if self._asked:
            wait_s = max(0.001, self._asked[0].due_s - now_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    # --- the connection
    def _connected(self) -> None:
        self._in_a_row, self._failing_s = 0, 0.0
        self._load()

    def _load(self) -> None:
        for text in _SHA:
            self._link.send(command("SCRIPT", "LOAD", text), lambda reply: None)

    def _lost(self) -> None:
        """It is opened again by the next who looks."""

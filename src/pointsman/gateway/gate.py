"""Gate: who may come in. Bounds each key, and sheds the lower classes, and whoever has most, before a worker is full.

What it costs a request that is let in is a look at two numbers; everything else happens when something is short.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.policy import Key, Policy
from pointsman.core.priority import EARLY, FAIR, LOW, PRIORITIES, SHARES, fair_level, rank_of
from pointsman.dialects.said import PRIORITY_HEADER
from pointsman.gateway.answers import Refused
from pointsman.gateway.counts import Account, Counts
from pointsman.gateway.pressure import Memory, Pressure, memory_bytes

if TYPE_CHECKING:
    from pointsman.gateway.edge import Incoming

RETRIES = "x-stainless-retry-count"  # how often an SDK has tried this request before
MARGIN = 1.25  # what a key is granted beyond what it wanted, and one more: so it can come to want more
FADE = 0.99  # of what it wanted, with each sweep: halved in three and a half seconds
MOST_WAIT_S = (
    8  # that a refused client is told to wait; drawn, so that those refused together do not come back together
)


class Gate:
    """Decide whether one more request may come under way. `free`: below so many under way nobody is refused but who has
    all that its key may have; `accounts`: by key, where its requests are counted."""

    def __init__(self, policy: Policy, chance: Callable[[], float]) -> None:
        self.counts = Counts()
        self.pressure = Pressure(policy.limits.concurrent_requests)
        self.shed: dict[str, int] = dict.fromkeys(PRIORITIES, 0)  # requests refused, by class
        self._chance = chance
        self._memory = Memory(0)
        self._level = inf  # requests for each that a key may have under way
        self.accounts: dict[str, Account]
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Take over a config version's keys and limits. Raise OSError when the file of shared counts cannot be made."""
        limits = policy.limits
        self._default = limits.key_concurrency
        self.counts.adopt(policy.keys, limits.key_concurrency)
        self.accounts = self.counts.accounts
        self.pressure.most = limits.concurrent_requests
        most_bytes = memory_bytes(limits.memory_bytes, policy.listener.workers)
        if most_bytes != self._memory.most_bytes:
            self._memory.close()
            self._memory = Memory(most_bytes)
        self.sweep(0.0, 0)

    def visit(self, caller: Key) -> bool:
        """Count the requests of a caller who has no key; return whether others' accounts were closed for that."""
        return self.counts.visit(caller.name, caller.concurrency or self._default)

    def share(self, folder: Path, number: int, policy: Policy) -> None:
        """Count requests of a key together with the other workers, of which we are the one of this number."""
        self.counts.share(folder, number, policy.listener.workers)
        self.adopt(policy)

    # --- on the way in
    def stops_body(self, incoming: Incoming, active: int, *, chat: bool) -> Refused | None:
        """Return why the large body of this request is not read; None when it is. `chat`: it would come under way. What is
        wrong with it otherwise is told when it is whole."""
        if self.pressure.short:
            wait_s = 1 + int(self._chance() * MOST_WAIT_S)
            return Refused(503, "there is no memory for a large body now", "overloaded", retry_after_s=wait_s)
        try:
            return (
                self.turns_away(incoming, incoming.caller, active)
                if chat and isinstance(incoming.caller, Key)
                else None
            )
        except KeyError:
            return None

    def turns_away(self, incoming: Incoming, key: Key, active: int, named: str | None = None) -> Refused | None:
        """Return why this request may not come in; None when it may. `active` requests are under way; `named` is the class
        that its body names: if its head names one too, the lower one counts. Raise KeyError when there is no such class."""
        account = self.accounts.get(key.name)
        if account is not None and account.is_full():
            why = f"this key has {account.limit} requests under way, as many as it may; wait for one to end"
            return Refused(429, why, "too_many_concurrent_requests", retry_after_s=1)
        given = incoming.headers.get(PRIORITY_HEADER)
        rank = rank_of(named, key.rank) if named is not None else key.rank
        rank = rank_of(given.decode("latin-1"), rank) if given is not None else rank
        if account is not None:
            account.wanted = max(account.wanted, account.under_way + 1.0)
        room = self.pressure.requests() * SHARES[rank]
        if active < room and not (
            account is not None and active >= room * EARLY and self._has_its_share(account, rank)
        ):
            return None
        self.shed[PRIORITIES[rank]] += 1
        again = rank == LOW or incoming.headers.get(RETRIES, b"0") != b"0"
        why = f"the router has too much to do for a request of class {PRIORITIES[rank]}; try again later"
        wait_s = 1 + int(self._chance() * MOST_WAIT_S)
        return Refused(503, why, "overloaded", retry_after_s=wait_s, final=again)

    def _has_its_share(self, account: Account, rank: int) -> bool:
        """Tell whether the key has its fair share of the room of its class: in proportion to what it may have under way."""
        most = min(self._level * account.limit, self.pressure.requests() * FAIR)
        return account.under_way >= max(1.0, most * SHARES[rank])

    # --- the worker's sweep
    def sweep(self, lag_ms: float, active: int) -> None:
        """Measure, and work out from where on somebody is refused."""
        pressure = self.pressure
        pressure.note(lag_ms, self._memory.share(), active)
        self.free = int(pressure.requests() * SHARES[LOW] * EARLY)
        if active < self.free:
            self._level = inf
            return
        claims = []
        for one in self.accounts.values():
            if one.under_way > one.wanted:
                one.wanted = float(one.under_way)
            if one.wanted:
                claims.append((one.wanted * MARGIN + 1.0, float(one.limit)))
                one.wanted = one.wanted * FADE if one.wanted > 0.5 else 0.0
        self._level = fair_level(claims, pressure.requests() * FAIR)

    def told(self, active: int) -> dict[str, float]:
        """Return how much there is to do, for people: 1.0 is full."""
        room, pressure = self.pressure.requests(), self.pressure
        return {
            "pressure": round(active / room, 3) if room else 1.0,
            "active": active,
            "room": int(room),
            "lag_ms": round(pressure.lag_ms, 1),
            "memory": round(pressure.memory, 3),
        }

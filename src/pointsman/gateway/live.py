"""Live: the mutable state of one worker: what was measured of each deployment, chance and ids."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from pointsman.core.filters import health
from pointsman.core.health import UNKNOWN, State, breaker, cooled, failed, is_calm, probing, succeeded
from pointsman.core.ids import request_id
from pointsman.core.outcome import Kind, Outcome
from pointsman.gateway.world import World

ENTROPY_BYTES = 4096


class Clock:
    """Read time. One object, so that a simulation can put another in its place."""

    monotonic = staticmethod(time.monotonic)
    wall_ns = staticmethod(time.time_ns)

    def now_ms(self) -> float:
        """Return milliseconds of the monotonic clock."""
        return self.monotonic() * 1000.0

    def wall_ms(self) -> int:
        """Return Unix milliseconds."""
        return self.wall_ns() // 1_000_000


class Live:
    """Fold outcomes into states. States are kept by deployment name, so they survive a new World."""

    def __init__(self, world: World, clock: Clock, seed: int, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.clock = clock
        self.chance = random.Random(seed)  # of decisions and jitter: to be replayed, so seeded
        self._entropy = entropy  # of ids: not to be guessed
        self._unguessed = b""
        self._spent = 0
        self.draw: Callable[[int], int] = self.chance.getrandbits
        self.random: Callable[[], float] = self.chance.random
        self.states: list[State] = []
        self.calm = False  # no state speaks against a send; may be False too long, never True too long
        self._groups: list[list[int]] = []
        self.adopt(world, {})

    def adopt(self, world: World, kept: dict[str, State]) -> None:
        """Take over a new World; deployments of the same name keep their state."""
        deployments = world.policy.deployments
        self.world = world
        self.states = [kept.get(d.name, UNKNOWN) for d in deployments]
        groups: dict[str, list[int]] = {}
        for i, d in enumerate(deployments):
            provider = world.policy.providers[d.provider]
            groups.setdefault(provider.quota_group or provider.name, []).append(i)
        by_deployment = {i: members for members in groups.values() for i in members}
        self._groups = [by_deployment[i] for i in range(len(deployments))]

    def new_id(self) -> str:
        return request_id(self.clock.wall_ms(), self.id_bytes())

    def id_bytes(self) -> bytes:
        """Return eight bytes nobody can guess: from `entropy`, fetched in bulk."""
        at = self._spent
        if at >= len(self._unguessed):
            self._unguessed, at = self._entropy(ENTROPY_BYTES), 0
        self._spent = at + 8
        return self._unguessed[at : at + 8]

    def look(self) -> None:
        """See whether the troubles have passed: called by the worker's sweep."""
        if not self.calm:
            now_ms = self.clock.now_ms()
            self.calm = all(is_calm(state, now_ms) for state in self.states)

    def usable(self, deployment: int) -> bool:
        """Tell whether the deployment's state lets a send through now."""
        return not health(self.states[deployment], self.clock.now_ms())

    def sending(self, deployment: int, due_ms: float) -> None:
        """Note that an attempt starts: to a half-open deployment it is the one probe, until `due_ms`."""
        state = self.states[deployment]
        if state.ejections:
            self.states[deployment] = probing(state, due_ms)

    def ended(self, deployment: int, outcome: Outcome, now_ms: float, ttft_ms: float, tps: float | None) -> None:
        """Fold the end of an attempt. A 429 cools the whole quota group (fault 16)."""
        state = self.states[deployment]
        if outcome.kind is Kind.OK:
            self.states[deployment] = succeeded(state, now_ms, ttft_ms, tps)
            return
        self.calm = False  # until a look tells better
        limits = self.world.limits
        self.states[deployment] = failed(state, now_ms, outcome, limits, self.chance.random())
        if outcome.kind is Kind.RATE_LIMITED:
            for member in self._groups[deployment]:
                self.states[member] = cooled(self.states[member], now_ms, outcome.retry_after_ms)

    def health(self) -> dict[str, str]:
        """Return each deployment's breaker state by name."""
        now_ms = self.clock.now_ms()
        return {d.name: breaker(s, now_ms) for d, s in zip(self.world.policy.deployments, self.states, strict=True)}

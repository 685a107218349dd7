"""Live: the mutable state of one worker: what was measured of each deployment, chance and ids."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from pointsman.core.filters import health, is_last_resort
from pointsman.core.health import (
    TPS_PRIOR,
    UNKNOWN,
    State,
    breaker,
    cooled,
    failed,
    is_calm,
    probing,
    succeeded,
    waited,
)
from pointsman.core.ids import request_id
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.request import Features
from pointsman.core.routing import Surroundings
from pointsman.core.sketch import Sketch
from pointsman.core.standing import Standing, standing_of
from pointsman.dialects.allowance import Allowance
from pointsman.gateway.affinity import Affinity
from pointsman.gateway.alerts import Alerts
from pointsman.gateway.clock import Clock
from pointsman.gateway.limits import Quotas
from pointsman.gateway.loads import Load
from pointsman.gateway.measured import Measured
from pointsman.gateway.quota import BURST, Hedges, QuotaGroup
from pointsman.gateway.spending import Spending
from pointsman.gateway.world import Place, World
from pointsman.stores.cache_memory import Memory

if TYPE_CHECKING:
    from pointsman.gateway.attempt import Attempt

ENTROPY_BYTES = 4096
PROBE_GRACE_MS = 200.0  # an attempt that is overdue is ended by a sweep, a little later
THIN_MS = 2.0  # successes that follow one another faster are folded together, unless they are slower than expected
_pack = msgspec.msgpack.Encoder().encode


class Live:
    """Fold outcomes into states, which a deployment keeps across Worlds as long as it is the same (Endpoint.place).

    `states` stand in the order of the present World. What a request of an earlier World reports is looked up by place:
    it is folded into that deployment's state, or into none if the deployment is gone, never into another's.
    """

    def __init__(self, world: World, clock: Clock, seed: int, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.clock = clock
        self.world = world
        self.chance = random.Random(seed)  # of decisions and jitter: to be replayed, so seeded
        self._entropy = entropy  # of ids: not to be guessed
        self._unguessed = b""
        self._spent = 0
        self.draw: Callable[[int], int] = self.chance.getrandbits
        self.random: Callable[[], float] = self.chance.random
        self.states: list[State] = []
        self.packed: list[Raw] = []  # the states as the journal has them: they change more rarely than they are written
        self.calm = False  # no state speaks against a send; may be False too long, never True too long
        self.affinity = Affinity()
        self.answers = Memory()  # for the ladders
        self.spending = Spending()
        self.measured = Measured((), [])
        self.hedges = Hedges()
        self.alerts = Alerts()
        self.quotas = Quotas(world.policy, clock)
        self._allowances: dict[
            str, dict[str, tuple[Allowance, float]]
        ] = {}  # by deployment and measure, and since when
        self._groups: dict[str, QuotaGroup] = {}  # by name
        self._group_of: list[QuotaGroup] = []
        self._index: dict[Place, int] = {}
        self._loads: dict[int, Load] = {}  # by index: of deployments that take only so many attempts at a time
        self.adopt(world)

    def adopt(self, world: World) -> None:
        """Take over a new World; deployments that are still the same keep their state."""
        deployments = world.policy.deployments
        old = list(self._index)  # in the order of the states
        kept = dict(zip(old, self.states, strict=True))
        places = [endpoint.place for endpoint in world.endpoints]
        rulers = {endpoint.place: endpoint.ruler for endpoint in self.world.endpoints}
        for endpoint in world.endpoints:
            endpoint.ruler = rulers.get(endpoint.place, endpoint.ruler)
        self.world = world
        self._index = {place: i for i, place in enumerate(places)}
        self.states = [kept.get(place, UNKNOWN) for place in places]
        self.packed = [Raw(_pack(state)) for state in self.states]
        self._allowances = {name: known for name, known in self._allowances.items() if name in world.names}
        now_ms = self.clock.now_ms()
        sketches = dict(zip(old, self.measured.sketches, strict=True))
        self.measured = Measured(
            [(d.wire.model, d.provider) for d in deployments],
            [sketches.get(place) or Sketch(now_ms) for place in places],
        )
        self.spending.tracked = world.tracked
        self.quotas.adopt(world.policy)
        world.resolver.reach.answered_since = self.answered_since
        self.calm = False  # until a look tells better
        before, self._groups, self._group_of = self._groups, {}, []
        for i, d in enumerate(deployments):
            provider = world.policy.providers[d.provider]
            name = provider.quota_group or provider.name
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = QuotaGroup([], now_ms)
                group.tries = before[name].tries if name in before else group.tries
            group.members.append(i)
            self._group_of.append(group)
        self._adopt_loads(world, {place: self._loads[i] for i, place in enumerate(old) if i in self._loads})

    def _adopt_loads(self, world: World, kept: dict[Place, Load]) -> None:
        self._loads = {}
        for i, endpoint in enumerate(world.endpoints):
            concurrency = endpoint.deployment.concurrency
            if concurrency is not None:
                endpoint.load = self._loads[i] = kept.get(endpoint.place) or Load()
                endpoint.load.allow(concurrency, world.policy.listener.workers)
            self._put(i, self.states[i])

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

    def surroundings(self, active: int) -> Surroundings:
        """Return what routing may ask of this worker; `active` requests are under way in it."""
        world = self.world
        return Surroundings(
            world.options,
            world.policy.listener.time_zone,
            lambda: dict(zip(world.names, self.states, strict=True)),
            active,
            self.spending.total,
            self.affinity.find,
            self.random,
        )

    def refresh(self) -> None:
        """Bring what was measured in the last minute into the states: called by the worker once a second."""
        for index, state in self.measured.refresh(self.states, self.clock.now_ms()):
            self._put(index, state)
        self.alerts.look(self.world, self.states)
        self.spending.exchange(self.clock.wall_ms())
        self.quotas.tick()

    def usable(self, world: World, deployment: int) -> bool:
        """Tell whether a World's deployment may be tried now, beyond the first try: its state lets a send through, and if it
        has just failed, its quota group has a try left."""
        at, now_ms = self._at(world, deployment), self.clock.now_ms()
        if at < 0:
            return self._group(world, deployment).may_retry(now_ms)  # what is known of it went with a reload
        state = self.states[at]
        if health(state, now_ms) and not is_last_resort(state, now_ms):
            return False
        return not state.why or self._group_of[at].may_retry(now_ms)

    def at_ease(self, world: World, deployment: int) -> bool:
        """Tell whether a World's deployment and its quota group are far from any trouble, so that it may take a hedge."""
        at = self._at(world, deployment)
        if at < 0:
            return False
        state, group = self.states[at], self._group_of[at]
        return not state.why and is_calm(state, self.clock.now_ms()) and group.tries >= BURST / 2

    def waited(self, world: World, attempt: Attempt, now_ms: float) -> None:
        """Fold an attempt that was given up for another one before it had content."""
        at = self._at(world, attempt.step.deployment)
        if at >= 0:
            self._put(at, waited(self.states[at], now_ms, now_ms - attempt.started_ms))

    def retried(self, world: World, deployment: int) -> None:
        """Note that a client's SDK tries again by itself: it counts among our own tries (fault 71)."""
        at = self._at(world, deployment)
        if at >= 0:
            self._group_of[at].retried()

    def sending(self, world: World, deployment: int, due_ms: float) -> float:
        """Note that an attempt starts that is not the first of its request, or goes to a half-open deployment. Return until
        when it is that one's probe, 0.0 if it is none: no other starts before it has ended, or has content, at `due_ms` or
        with the sweep after."""
        at = self._at(world, deployment)
        if at < 0:
            self._group(world, deployment).retried()
            return 0.0
        if self.states[at].why:
            self._group_of[at].retried()
        state = self.states[at]
        if not state.ejections or (state.soft and health(state, self.clock.now_ms())):
            return 0.0  # not ejected, or sent to because it still answers most
        self._put(at, probing(self.states[at], due_ms + PROBE_GRACE_MS))
        return due_ms + PROBE_GRACE_MS

    def ended(
        self, world: World, attempt: Attempt, outcome: Outcome, now_ms: float, measured: tuple[float, float | None]
    ) -> None:
        """Fold the end of an attempt: time to first content in milliseconds, tokens per second. A 429 cools the whole quota
        group (fault 16). Of an ejected deployment only the failure of the probe is news, or of a send that was the last
        resort: it may fail altogether."""
        deployment, (ttft_ms, tps) = attempt.step.deployment, measured
        if attempt.endpoint.load is not None:
            self.given_back(world, attempt, ttft_ms if outcome.kind is Kind.OK else None)
        if world is not self.world:
            deployment = self._at(world, deployment)
            if deployment < 0:
                return
        state, group = self.states[deployment], self._group_of[deployment]
        if group.tries < BURST:
            group.sent()
        if outcome.kind is Kind.OK:
            if not attempt.streams and state.tps != TPS_PRIOR:  # in one piece: without the time it took to write it
                ttft_ms = max(0.1 * ttft_ms, ttft_ms - outcome.usage.output_tokens * 1000.0 / state.tps)
            tallies = self.measured
            tallies.sketches[deployment].add(ttft_ms)
            quiet = not state.failures and not state.ejections and tps is None
            if quiet and now_ms - state.measured_ms < THIN_MS and ttft_ms <= state.ttft_ms:
                tallies.uncounted[deployment] += 1  # one more of many, and no news: counted with the next
                return
            state = succeeded(state, now_ms, ttft_ms, tps, 1.0 + tallies.uncounted[deployment])
            tallies.uncounted[deployment] = 0
            self._put(deployment, state)
            return
        self.calm = False  # until a look tells better
        limits = self.world.limits
        if not state.ejections or attempt.probe or (state.soft and now_ms < state.open_until_ms):
            until_ms = state.probe_until_ms
            state = failed(state, now_ms, outcome, limits, self.chance.random())
            if until_ms != attempt.probe and state.ejections:
                state = probing(state, until_ms)  # of another one, which is still under way
            self._put(deployment, state)
            self.alerts.failed(self.world, deployment, outcome.kind, state.open_until_ms - now_ms)
        if outcome.kind is Kind.RATE_LIMITED:
            for member in group.members:
                self._put(member, cooled(self.states[member], now_ms, outcome.retry_after_ms))

    def begun(self, world: World, attempt: Attempt) -> None:
        """Note that an attempt starts to a deployment that takes only so many at a time."""
        load, at = attempt.endpoint.load, self._at(world, attempt.step.deployment)
        assert load is not None
        load.under_way += 1
        if at >= 0 and load.is_full is not self.states[at].full:
            self._put(at, self.states[at])

    def given_back(self, world: World, attempt: Attempt, ttft_ms: float | None = None) -> None:
        """Note that such an attempt has ended, or was never made; `ttft_ms`: it was answered, after so long."""
        load, at = attempt.endpoint.load, self._at(world, attempt.step.deployment)
        if load is None:
            return
        if ttft_ms is not None:
            load.answered(ttft_ms, self.clock.now_ms(), self.chance.random())
        load.under_way -= 1
        if at >= 0 and load.is_full is not self.states[at].full:
            self._put(at, self.states[at])

    def _put(self, index: int, state: State) -> None:
        load = self._loads.get(index) if self._loads else None
        full = load is not None and load.is_full
        if full is not state.full:
            state = msgspec.structs.replace(state, full=full)
        if full:
            self.calm = False  # until a look tells better
        self.states[index] = state
        self.packed[index] = Raw(_pack(state))

    def allowed(self, world: World, deployment: int, told: list[Allowance], features: Features) -> None:
        """Take over what a provider says is left of our quota there. A deployment with too little for another request like
        this one rests until there is enough, as after a 429, but nobody had to be refused to learn it."""
        at, now_ms = self._at(world, deployment), self.clock.now_ms()
        if at < 0:
            return
        needs = {
            "requests": 1,
            "input_tokens": features.input_tokens,
            "output_tokens": features.predicted_output_tokens,
        }
        needs["tokens"] = needs["input_tokens"] + needs["output_tokens"]
        wait_ms = max((one.wait_ms(needs[one.measure]) for one in told), default=0.0)
        known = self._allowances.setdefault(world.names[deployment], {})
        known.update({one.measure: (one, now_ms) for one in told})
        if wait_ms > 0.0:
            self.calm = False  # until a look tells better
            self._put(at, cooled(self.states[at], now_ms, math.ceil(wait_ms)))

    def answered_since(self, since_ms: float) -> bool:
        """Tell whether any provider has answered a request since then."""
        return any(state.measured_ms >= since_ms for state in self.states)

    def _at(self, world: World, deployment: int) -> int:
        """Return where the state of a World's deployment stands now; -1: the deployment is gone."""
        return deployment if world is self.world else self._index.get(world.endpoints[deployment].place, -1)

    def _group(self, world: World, deployment: int) -> QuotaGroup:
        """Return the quota group of a World's deployment by its name."""
        provider = world.policy.providers[world.policy.deployments[deployment].provider]
        name = provider.quota_group or provider.name
        return self._groups.setdefault(name, QuotaGroup([], self.clock.now_ms()))

    def standings(self) -> list[Standing]:
        """Return how every deployment stands now."""
        now_ms = self.clock.now_ms()
        deployments = zip(self.world.policy.deployments, self.states, strict=True)
        return [
            standing_of(one.name, one.provider, state, now_ms, self._allowed_now(one.name, now_ms))
            for one, state in deployments
        ]

    def _allowed_now(self, name: str, now_ms: float) -> dict[str, tuple[int, int, int]]:
        """Return what was last said of a deployment's quotas that have not been reset since."""
        return {
            measure: (one.limit, one.left, round(at_ms + one.reset_ms - now_ms))
            for measure, (one, at_ms) in self._allowances.get(name, {}).items()
            if now_ms < at_ms + one.reset_ms
        }

    def health(self) -> dict[str, str]:
        """Return each deployment's breaker state by name."""
        now_ms = self.clock.now_ms()
        return {d.name: breaker(s, now_ms) for d, s in zip(self.world.policy.deployments, self.states, strict=True)}

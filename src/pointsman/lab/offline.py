"""Offline: the decision of one request under a policy, without a router and without calling anybody.

The same `route` and `decide` as in the data plane, over states that are given instead of measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from pointsman.config.expressions import ruleset
from pointsman.core.decide import Decision, Plan, decide
from pointsman.core.entry import on_trail, plan_on_trail
from pointsman.core.explain import told
from pointsman.core.health import UNKNOWN, State, is_calm
from pointsman.core.options import Options, options_of
from pointsman.core.policy import Key, Policy
from pointsman.core.request import Request
from pointsman.core.routing import Asked, Stay, Surroundings, route
from pointsman.core.strategy import Snapshot
from pointsman.dialects.relay_request import read_features, read_head
from pointsman.dialects.said import read_said
from pointsman.dialects.traits import with_traits
from pointsman.strategies.plugins import strategies_of

NOW_MS = 1_000_000.0  # of the monotonic clock; only differences count
NOBODY = Key(name="test", digest=b"")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the surroundings of a request: states by deployment (those left out were never measured), who calls, when (Unix
    milliseconds), the draw in [0, 1), what routes have cost today, and where the conversation is."""

    states: dict[str, State] = {}
    caller: Key = NOBODY
    headers: dict[str, bytes] = {}
    wall_ms: int | None = None  # None: now
    seed: float = 0.5
    spent_nano: dict[str, int] = {}
    active: int = 0
    stay: Stay | None = None
    input_tokens: int | None = None  # in place of the estimate, for a text nobody wants to write


class Answered(msgspec.Struct, frozen=True):
    """Hold the whole decision of a request. `rungs` are what follows when no candidate answers."""

    asked: str
    options: Options
    plan: Plan
    decision: Decision

    def told(self) -> dict[str, Any]:
        """Return it as data, as POST /v1/route does."""
        return told(self.asked, self.options, self.plan, self.decision)


class Offline:
    """Decide requests under one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.routes: Mapping[str, Options] = options_of(policy, strategies_of(policy), ruleset)
        self._names = [d.name for d in policy.deployments]

    def decide(self, body: bytes, given: Given) -> Answered:
        """Return the decision of a chat request. Raise WireError when the body is none, KeyError when no route has its
        model's name."""
        head = read_head(body)
        features = read_features(head, body)
        if given.input_tokens is not None:
            features = structs.replace(features, input_tokens=given.input_tokens)
        options = self.routes[head.model]
        if options.route.hidden:
            raise KeyError(head.model)
        wall_ms = time.time_ns() // 1_000_000 if given.wall_ms is None else given.wall_ms
        if options.traits:
            features = with_traits(features, bytes(head.messages))
        said = read_said(head, body, given.headers, self.policy.listener.rule_headers)
        routed = route(Asked(options, said, features, given.caller, NOW_MS, wall_ms), self._around(given))
        options = routed.trail.options
        states = tuple(given.states.get(name, UNKNOWN) for name in self._names)
        calm = all(is_calm(state, NOW_MS) for state in states)
        snapshot = Snapshot(self.policy.version, NOW_MS, given.seed, options.states_of(states), calm, routed.detail)
        deadline_ms = NOW_MS + options.total_ms
        request = Request(
            "offline", "chat", options.route.name, routed.features, NOW_MS, deadline_ms, head.service_tier
        )
        plan, decision = decide(request, options, snapshot)
        decision = on_trail(decision, routed)
        plan = plan_on_trail(plan, routed)
        return Answered(head.model, options, plan, decision)

    def _around(self, given: Given) -> Surroundings:
        return Surroundings(
            self.routes,
            self.policy.listener.time_zone,
            lambda: {name: given.states.get(name, UNKNOWN) for name in self._names},
            given.active,
            lambda name, _: given.spent_nano.get(name, 0),
            lambda _, __: given.stay,
            lambda: given.seed,
        )

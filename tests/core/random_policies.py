"""Random policies with everything a route may have, and random requests on them: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from policy_makers import NOW_MS

from pointsman.config.expressions import ruleset
from pointsman.core.case import Said
from pointsman.core.entry import Admitted
from pointsman.core.health import State, is_calm
from pointsman.core.options import Options, options_of
from pointsman.core.policy import (
    Arm,
    Bounds,
    Deployment,
    Key,
    ModelFacts,
    Objective,
    Policy,
    Provider,
    Route,
    Rule,
    Rung,
    Split,
    Sticky,
    Wire,
)
from pointsman.core.pricing import Price, Rates, Window
from pointsman.core.request import Features, Request
from pointsman.core.routing import Asked, Routed, Stay, Surroundings, route
from pointsman.core.strategy import Snapshot
from pointsman.strategies import STRATEGIES

WALL_MS = 1_795_000_000_000
CONDITIONS = (
    'caller.team == "support"',
    "features.input_tokens > 4000",
    "features.tools || features.images",
    'request.user.startsWith("u1")',
    '"pro" in request.tags',
    "time.hour >= 8 && time.hour < 18",
    "budget.day_used > 0.5",
    'health.breaker["d0"] == "open"',
    'health.ttft_ms_p95["d0"] > 500.0',
    "load.active > 3",
    'request.temperature > 1.0 && "plan" in request.metadata',
)
FAILS = "request.metadata[request.user] == request.user"  # unless there is such a key


class Shape(NamedTuple):
    """Hold one policy, compiled."""

    policy: Policy
    routes: Mapping[str, Options]

    @property
    def asked(self) -> list[str]:
        """Return the names that clients may write."""
        return [name for name, one in self.policy.routes.items() if not one.hidden]


class Situation(NamedTuple):
    """Hold one request with all that its decision takes."""

    options: Options
    request: Request
    snapshot: Snapshot
    routed: Routed
    record: Admitted


def shape(chance: random.Random, *, may_fail: bool = False) -> Shape:
    """Return a policy of two to six deployments and four routes that lead to one another, never back."""
    deployments = tuple(_deployment(chance, f"d{i}") for i in range(chance.randint(2, 6)))
    routes = {f"r{i}": _route(chance, i, deployments, may_fail=may_fail) for i in range(4)}
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    policy = Policy(version="v1", source="test", providers={"p": provider}, deployments=deployments, routes=routes)
    return Shape(policy, options_of(policy, STRATEGIES, ruleset))


def situation(chance: random.Random, made: Shape) -> Situation:
    """Return a random request on a random route of a policy, at a random state of the world."""
    states = {d.name: _state(chance) for d in made.policy.deployments}
    asked = made.routes[chance.choice(made.asked)]
    spent = chance.choice((0, 10**6, 10**9, 10**12))
    names = list(states)
    stay = None if chance.random() < 0.5 else Stay(chance.choice(names), NOW_MS + 1, chance.choice((0, 500, 10**6)))
    around = Surroundings(
        made.routes,
        "UTC",
        lambda: states,
        chance.randint(0, 6),
        lambda name, wall_ms: spent,
        lambda key, now_ms: stay,
        chance.random,
    )
    user = chance.choice(("", "u1", "u1b", "u2"))
    said = Said(
        asked.label,
        chance.choice(("", "s1", "s2")),
        user,
        chance.choice((-1.0, 0.2, 1.5)),
        chance.choice(({}, {"plan": "pro"}, {user: user})),
        chance.choice(((), ("pro",))),
        {},
        b"[]",
    )
    features = _features(chance)
    caller = Key(name=chance.choice(("k1", "k2")), digest=b"", team=chance.choice(("", "support")))
    wall_ms = WALL_MS + chance.randrange(86_400_000)
    routed = route(Asked(asked, said, features, caller, NOW_MS, wall_ms), around)
    options = routed.trail.options
    detail = routed.detail if asked.detailed else None
    picked = options.states_of(tuple(states.values()))
    seed = chance.choice((0.0, chance.random(), 1.0 - 2**-53))
    calm = all(is_calm(state, NOW_MS) for state in states.values())
    found = Snapshot("v1", NOW_MS, seed, picked, calm, detail)
    attempts = chance.choice((None, 1, 2, 9))
    request = Request("req_1", "chat", options.route.name, features, NOW_MS, NOW_MS + 60_000, None, attempts)
    record = Admitted(request, "", wall_ms, caller.who, asked.route.name, found, routed.session, said.tags)
    return Situation(options, request, found, routed, record)


def _deployment(chance: random.Random, name: str) -> Deployment:
    rates = [Rates(input=chance.randrange(10**10), output=chance.randrange(10**11), cache_read=10**6) for _ in range(2)]
    windows = (Window(60, 720, rates[1]),) if chance.random() < 0.3 else ()
    price = Price(rates=rates[0], version="v1", source="test", windows=windows) if chance.random() < 0.8 else None
    facts: dict[str, Any] = {
        "context_tokens": chance.choice((None, 1_000, 8_000)),
        "max_output_tokens": chance.choice((None, 500)),
        "tools": chance.choice((None, True, False)),
        "modalities": chance.choice((None, ("text",), ("text", "image"))),
    }
    quality = chance.choice(({}, {"default": chance.random()}, {"code": chance.random(), "default": 0.5}))
    return Deployment(
        name=name, provider="p", wire=Wire(model=name), price=price, facts=ModelFacts(**facts), quality=quality
    )


def _route(chance: random.Random, index: int, deployments: tuple[Deployment, ...], *, may_fail: bool) -> Route:
    names = [d.name for d in deployments]
    behind = [f"r{i}" for i in range(index + 1, 4)]
    candidates = tuple(chance.sample(names, chance.randint(1, len(names))))
    strategy = chance.choice(sorted(STRATEGIES))
    weights = tuple(chance.uniform(0.1, 9) for _ in candidates) if strategy == "weighted" else ()
    rules = tuple(
        Rule(when=chance.choice(CONDITIONS), use=chance.choice(behind), place=f"t:{i}")
        for i in range(chance.randint(0, 3) if behind else 0)
    )
    if rules and may_fail and chance.random() < 0.3:
        rules = (*rules, Rule(when=FAILS, use=behind[0], place="t:9"))
    split = None
    if behind and chance.random() < 0.4:
        arms = tuple(Arm(name=f"a{i}", weight=chance.uniform(0.1, 5), use=chance.choice(behind)) for i in range(2))
        by = chance.choice(("request", "session", "user", "key"))
        split = Split(by=cast(Any, by), salt=f"r{index}", arms=arms)
    return Route(
        name=f"r{index}",
        candidates=candidates,
        strategy=strategy,
        weights=weights,
        attempts=chance.choice((None, 1, 2, 5)),
        unpriced=cast(Any, chance.choice(("allow", "deny"))),
        rules=rules,
        split=split,
        objective=Objective(quality=1, latency=chance.random(), cost=chance.random()),
        bounds=_bounds(chance) if chance.random() < 0.6 else None,
        explore=chance.choice((0.0, 0.0, 0.02, 0.5)),
        sticky=chance.choice((None, Sticky(by="session", ttl_s=60), Sticky(by="conversation", ttl_s=60))),
        degrade=_ladder(chance, names),
        max_output_tokens=chance.choice((None, 300)),
        params=chance.choice(({}, {"temperature": b"0.1"})),
    )


def _bounds(chance: random.Random) -> Bounds:
    demands: dict[str, Any] = {
        "quality_min": chance.choice((None, 0.4, 0.9)),
        "ttft_ms_p95": chance.choice((None, 400.0)),
        "nano_per_request": chance.choice((None, 10**6, 10**8)),
        "nano_per_day": chance.choice((None, 10**9)),
    }
    there = [name for name, value in demands.items() if value is not None]
    return Bounds(**demands, relax=tuple(chance.sample(there, chance.randint(0, len(there)))))


def _ladder(chance: random.Random, names: list[str]) -> tuple[Rung, ...]:
    rungs = [
        Rung(
            name=f"rung-{i + 1}",
            candidates=tuple(chance.sample(names, chance.randint(1, 2))),
            max_output_tokens=chance.choice((None, 100)),
        )
        for i in range(chance.choice((0, 0, 1, 2)))
    ]
    return (*rungs, Rung(name="reply", reply="Sorry.")) if chance.random() < 0.3 else tuple(rungs)


def _state(chance: random.Random) -> State:
    if chance.random() < 0.4:
        return State()
    soon = (0.0, 0.0, 0.0, NOW_MS - 5, NOW_MS + 5_000)
    return State(
        ttft_ms=chance.uniform(1, 3_000),
        tps=chance.uniform(1, 300),
        measured_ms=NOW_MS - chance.choice((0, 500, 20_000, 10**7)),
        ejections=chance.choice((0, 0, 0, 2)),
        open_until_ms=chance.choice(soon),
        probe_until_ms=chance.choice(soon),
        cool_until_ms=chance.choice(soon),
        ttft_p95_ms=chance.choice((0.0, 100.0, 401.0, 9_000.0)),
        sampled=chance.choice((0, 4, 5, 1_000)),
        prior_ms=chance.choice((800.0, 50.0)),
        slow_start_ms=10_000,
        ramp_until_ms=int(NOW_MS) + chance.choice((-5, -5, 100, 8_000, 10_000)),
        soft=chance.random() < 0.3,
    )


def _features(chance: random.Random) -> Features:
    return Features(
        input_tokens=chance.choice((1, 100, 900, 5_000, 100_000)),
        output_tokens=chance.choice((None, 1, 400, 900)),
        needs=chance.choice((0, 0, 0, 1, 8, 16)),
        choices=chance.choice((1, 1, 3)),
        stream=chance.random() < 0.5,
        code=chance.random() < 0.3,
        language=chance.choice(("", "en", "de")),
        turns=chance.randint(1, 5),
    )

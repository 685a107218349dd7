"""Options: a route's candidates with all that does not change within a config version, precomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.cachekey import Caching, caching_of
from pointsman.core.facts import Ruleset, RulesOf
from pointsman.core.health import State
from pointsman.core.policy import Bounds, Deployment, Hedge, Objective, Policy, Route, Rung
from pointsman.core.pricing import TOKENS_PER_RATE, Price
from pointsman.core.request import (
    BYTES_PER_TOKEN,
    CATEGORIES,
    NEED_AUDIO,
    NEED_FILE,
    NEED_IMAGE,
    NEED_JSON_SCHEMA,
    NEED_TOOLS,
    Features,
)
from pointsman.core.strategy import Detail, Strategy

if TYPE_CHECKING:
    from pointsman.core.strategy import Snapshot

_MODALITY_NEEDS = {"image": NEED_IMAGE, "audio": NEED_AUDIO, "file": NEED_FILE}
NO_BOUND = 1 << 60  # stands for an unknown window or output limit: unknown is not a no
UNKNOWN_QUALITY = -1.0
NO_DETAIL = Detail()
TRAITS = frozenset({"features.code", "features.language", "features.turns", "features.category"})


class Edit(msgspec.Struct, frozen=True):
    """Hold what a route changes in the request itself: members replaced, a text put first, the answer made smaller."""

    params: dict[str, bytes] = {}  # body member -> JSON
    prompt_prefix: str = ""
    max_output_tokens: int | None = None  # no more than this


class Option(msgspec.Struct, frozen=True):
    """Hold one candidate of one route. `lacks` are the NEED_ bits it is known not to meet; `tier` is 0, or the number of
    the ladder's rung that brings it, whose name is `rung`."""

    deployment: int  # index into Policy.deployments
    name: str
    weight: float
    lacks: int
    context_tokens: int  # NO_BOUND: unknown
    max_output_tokens: int  # NO_BOUND: unknown
    price: Price | None
    reason: str  # what the header says when this one is chosen among several
    tier: int = 0
    rung: str = ""
    aside: bool = False  # only `on` brings it: it is in no ranking
    output_cap_tokens: int = NO_BOUND  # the rung asks for no more, whatever the client asked for


class Step(msgspec.Struct, frozen=True, gc=False):
    """Hold one send a Plan may make."""

    position: int  # within the route's options
    deployment: int
    ttft_ms: float  # how long to wait for first content
    context_tokens: int  # NO_BOUND: unknown
    tier: int = 0
    edit: Edit | None = None
    whole_ms: float = 300_000.0  # how long to wait for an answer in one piece


class Options(msgspec.Struct, frozen=True):
    """Hold a route with its candidates in the operator's order, those of the ladder's rungs behind, and what holds for
    all of them together: a request within `lacks_any`, `least_context_tokens` and `least_output_tokens` passes every
    static filter at once."""

    route: Route
    label: str  # name of the route as the operator wrote it
    strategy: Strategy
    options: tuple[Option, ...]
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    positions: tuple[int, ...]  # without those that stand aside, which are behind
    on: dict[str, tuple[int, ...]]  # end of an attempt -> positions of those that go on then
    states_of: Callable[[Sequence[State]], tuple[State, ...]]  # picks the candidates' states from all deployments'
    lacks_any: int
    least_context_tokens: int
    least_output_tokens: int
    all_priced: bool
    attempts: int
    idle_ms: float
    total_ms: float
    retry_wait_ms: float  # longest wait before a resend
    most_nano: int  # that the attempts of a request may cost together before another is made
    adaptive: bool  # see Route.adaptive
    hedge: Hedge | None
    objective: Objective
    bounds: Bounds | None
    quality: tuple[tuple[float, ...], ...]  # by category and position; UNKNOWN_QUALITY
    flat_rates: tuple[tuple[int, int, int] | None, ...]  # input, output, request; None: the price is not that simple
    tier_starts: tuple[int, ...]  # position of the first candidate of each tier but the first
    rules: Ruleset | None
    last: tuple[Rung, ...]  # of the ladder, what comes when no candidate answered
    timed_prices: bool  # some price depends on the time of day
    plain: bool  # one tier, no bounds, nothing explored, nothing sticky: the strategy alone decides
    dynamic: bool  # rules or a split say where to go on
    detailed: bool  # a decision needs the snapshot's Detail
    facts: frozenset[str]  # names that the rules on the way from here look at
    traits: bool  # a decision needs Features.code, .language or .turns
    prefix_tokens: int  # that the route's prompt prefix adds to the input, about
    cache: Caching | None  # how answers are given again


NO_OBJECTIVE = Objective()


def options_of(
    policy: Policy, strategies: Mapping[str, Strategy], rules_of: RulesOf | None = None
) -> dict[str, Options]:
    """Return the Options of every route, by route name. `rules_of` compiles conditions, without it there must be none.
    Raise KeyError for a strategy that is not registered."""
    index = {d.name: i for i, d in enumerate(policy.deployments)}
    made = {
        name: _options(policy, route, index, (strategies[route.strategy], _ruleset(route, rules_of)))
        for name, route in policy.routes.items()
    }
    return {name: _with_reach(policy, made, options) for name, options in made.items()}


def reachable(routes: Mapping[str, Route], start: str) -> list[str]:
    """Return the routes that a request for `start` may come to by rules and splits, itself first; names that are no route
    are passed over."""
    seen: list[str] = []
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in routes:
            continue
        seen.append(name)
        route = routes[name]
        waiting += [rule.use for rule in route.rules]
        waiting += [arm.use for arm in route.split.arms] if route.split is not None else []
    return seen


def cost_nano(options: Options, position: int, features: Features, snapshot: Snapshot) -> int:
    """Return what the candidate at `position` is predicted to cost, in nano-dollars; -1 when its price is unknown.

    Input and predicted output at the rates of this minute; what the prompt cache of a sticky conversation's deployment
    is expected to hold counts at the rate of cache reads.
    """
    flat, detail = options.flat_rates[position], snapshot.detail or NO_DETAIL
    if flat is not None and detail.sticky != position:
        of_input, of_output, of_request = flat
        spent = features.input_tokens * of_input + features.predicted_output_tokens * of_output
        return spent // TOKENS_PER_RATE + of_request
    option = options.options[position]
    price = option.price
    if price is None:
        return -1
    output_tokens = features.predicted_output_tokens
    if option.output_cap_tokens * features.choices < output_tokens:
        output_tokens = option.output_cap_tokens * features.choices
    input_tokens = features.input_tokens
    if not price.tiers and not price.windows and detail.sticky != position:
        rates = price.rates
        return (input_tokens * rates.input + output_tokens * rates.output) // TOKENS_PER_RATE + rates.request
    rates = price.rates_for(input_tokens, None, detail.minute) or price.rates
    nano = input_tokens * rates.input + output_tokens * rates.output
    if detail.sticky == position and rates.cache_read is not None:
        nano -= min(detail.cached_tokens, input_tokens) * (rates.input - rates.cache_read)
    return nano // TOKENS_PER_RATE + rates.request


def costs_nano(options: Options, positions: Sequence[int], features: Features, snapshot: Snapshot) -> list[int]:
    """Return `cost_nano` of several candidates, for less work than one by one."""
    input_tokens, output_tokens = features.input_tokens, features.predicted_output_tokens
    flat, sticky = options.flat_rates, -1 if snapshot.detail is None else snapshot.detail.sticky
    return [
        (input_tokens * rates[0] + output_tokens * rates[1]) // TOKENS_PER_RATE + rates[2]
        if (rates := flat[position]) is not None and position != sticky
        else cost_nano(options, position, features, snapshot)
        for position in positions
    ]


def _flat(option: Option) -> tuple[int, int, int] | None:
    price = option.price
    if price is None or price.tiers or price.windows or option.output_cap_tokens != NO_BOUND:
        return None
    return price.rates.input, price.rates.output, price.rates.request


def _ruleset(route: Route, rules_of: RulesOf | None) -> Ruleset | None:
    if not route.rules:
        return None
    if rules_of is None:
        raise ValueError(f"route {route.name} has rules, and nothing here can compile them")
    return rules_of(tuple(rule.when for rule in route.rules))


def _options(policy: Policy, route: Route, index: dict[str, int], compiled: tuple[Strategy, Ruleset | None]) -> Options:
    strategy, rules = compiled
    options, edits = _candidates(policy, route, index)
    ranked = [option for option in options if not option.aside]
    lacks_any = 0
    for option in ranked:
        lacks_any |= option.lacks
    timed_prices = any(o.price is not None and o.price.windows for o in options)
    per_day = route.bounds is not None and route.bounds.nano_per_day is not None
    return Options(
        route=route,
        label=route.hidden or route.name,
        strategy=strategy,
        options=options,
        steps=tuple(_step(policy, route, p, (o, edit)) for p, (o, edit) in enumerate(zip(options, edits, strict=True))),
        names=tuple(o.name for o in options),
        positions=tuple(range(len(ranked))),
        on=_on(route, options),
        states_of=_picker([o.deployment for o in options]),
        lacks_any=lacks_any,
        least_context_tokens=min((o.context_tokens for o in ranked), default=NO_BOUND),
        least_output_tokens=min((o.max_output_tokens for o in ranked), default=NO_BOUND),
        all_priced=all(o.price is not None for o in ranked),
        attempts=route.attempts or policy.limits.attempts,
        idle_ms=float(route.idle_ms or policy.limits.idle_ms),
        total_ms=float(route.total_ms or policy.limits.total_ms),
        retry_wait_ms=float(policy.limits.retry_wait_ms),
        most_nano=NO_BOUND if route.bounds is None else route.bounds.nano_per_request or NO_BOUND,
        adaptive=route.adaptive,
        hedge=route.hedge,
        objective=route.objective or NO_OBJECTIVE,
        bounds=route.bounds,
        quality=_quality(policy, options),
        flat_rates=tuple(map(_flat, options)),
        tier_starts=tuple(p for p, o in enumerate(ranked) if p and o.tier != ranked[p - 1].tier),
        rules=rules,
        last=tuple(rung for rung in route.degrade if not rung.candidates),
        timed_prices=timed_prices,
        plain=route.bounds is None
        and not route.explore
        and route.sticky is None
        and not (ranked and ranked[-1].tier)
        and not any(edits),
        dynamic=bool(route.rules) or route.split is not None,
        detailed=bool(
            route.rules
            or route.split
            or route.sticky
            or route.prompt_prefix
            or timed_prices
            or per_day
            or strategy.plugin
        ),
        facts=rules.names if rules is not None else frozenset(),
        traits=_asks_quality(route) or strategy.plugin,
        prefix_tokens=ceil(len(route.prompt_prefix.encode()) / BYTES_PER_TOKEN),
        cache=caching_of(policy, route),
    )


def _with_reach(policy: Policy, made: Mapping[str, Options], options: Options) -> Options:
    """Return the Options with what a request must be asked before it takes the first step from here."""
    on_the_way = [made[name] for name in reachable(policy.routes, options.route.name)]
    facts = frozenset().union(*(one.facts for one in on_the_way))
    return msgspec.structs.replace(
        options,
        detailed=any(one.detailed for one in on_the_way),
        facts=facts,
        traits=any(one.traits for one in on_the_way) or bool(facts & TRAITS),
    )


def _asks_quality(route: Route) -> bool:
    """Tell whether the route looks at quality, which may differ between kinds of task."""
    floor = route.bounds is not None and route.bounds.quality_min is not None
    return floor or (route.objective is not None and route.objective.quality > 0.0) or route.strategy == "best"


def _candidates(policy: Policy, route: Route, index: dict[str, int]) -> tuple[tuple[Option, ...], list[Edit | None]]:
    """Return the candidates of the route and of its ladder's rungs, and what each changes in the request."""
    weights = route.weights or (1.0,) * len(route.candidates)
    cap = route.max_output_tokens
    own = Edit(route.params, route.prompt_prefix, cap)
    base = own if route.params or route.prompt_prefix or cap is not None else None
    alone = len(weights) == 1 and not route.degrade
    options: list[Option] = []
    edits: list[Edit | None] = []
    for name, weight in zip(route.candidates, weights, strict=True):
        reason = f"{'only' if alone else route.strategy}:{name}"
        option = _option(index[name], policy.deployments[index[name]], weight, reason)
        options.append(option if cap is None else msgspec.structs.replace(option, output_cap_tokens=cap))
        edits.append(base)
    for tier, rung in enumerate([rung for rung in route.degrade if rung.candidates], 1):
        smaller = cap if rung.max_output_tokens is None else min(rung.max_output_tokens, cap or NO_BOUND)
        edit = Edit(route.params, route.prompt_prefix, smaller) if smaller != cap else base
        for name in rung.candidates:
            option = _option(index[name], policy.deployments[index[name]], 1.0, f"{rung.name}:{name}")
            most = NO_BOUND if smaller is None else smaller
            options.append(msgspec.structs.replace(option, tier=tier, rung=rung.name, output_cap_tokens=most))
            edits.append(edit)
    for name in dict.fromkeys(one for names in route.on.values() for one in names):
        if name not in route.candidates:
            option = _option(index[name], policy.deployments[index[name]], 1.0, f"on:{name}")
            option = option if cap is None else msgspec.structs.replace(option, output_cap_tokens=cap)
            options.append(msgspec.structs.replace(option, aside=True))
            edits.append(base)
    return tuple(options), edits


def _on(route: Route, options: Sequence[Option]) -> dict[str, tuple[int, ...]]:
    at = {option.name: position for position, option in enumerate(options) if option.aside}
    at |= {name: position for position, name in enumerate(route.candidates)}
    return {kind: tuple(at[name] for name in names) for kind, names in route.on.items()}


def _quality(policy: Policy, options: Sequence[Option]) -> tuple[tuple[float, ...], ...]:
    tables = [policy.deployments[o.deployment].quality for o in options]
    return tuple(
        tuple(table.get(category, table.get("default", UNKNOWN_QUALITY)) for table in tables) for category in CATEGORIES
    )


def _picker(indexes: list[int]) -> Callable[[Sequence[State]], tuple[State, ...]]:
    if not indexes:
        return lambda states: ()
    if len(indexes) == 1:
        only = indexes[0]
        return lambda states: (states[only],)
    return itemgetter(*indexes)


def _step(policy: Policy, route: Route, position: int, given: tuple[Option, Edit | None]) -> Step:
    """Return the send to a candidate. It waits as the route says, else the deployment, else the limits."""
    (option, edit), limits = given, policy.limits
    chosen = policy.deployments[option.deployment]
    default_ms = limits.ttft_reasoning_ms if chosen.facts.reasoning else limits.ttft_ms
    return Step(
        position,
        option.deployment,
        float(route.ttft_ms or chosen.ttft_ms or default_ms),
        option.context_tokens,
        option.tier,
        edit,
        float(route.whole_ms or chosen.whole_ms or limits.whole_ms),
    )


def _option(index: int, deployment: Deployment, weight: float, reason: str) -> Option:
    facts = deployment.facts
    return Option(
        deployment=index,
        name=deployment.name,
        weight=weight,
        lacks=_lacks(deployment),
        context_tokens=facts.context_tokens or NO_BOUND,
        max_output_tokens=facts.max_output_tokens or NO_BOUND,
        price=deployment.price,
        reason=reason,
    )


def _lacks(deployment: Deployment) -> int:
    facts, bits = deployment.facts, 0
    if facts.modalities is not None:
        bits = sum(need for name, need in _MODALITY_NEEDS.items() if name not in facts.modalities)
    if facts.tools is False:
        bits |= NEED_TOOLS
    if facts.json_schema is False:
        bits |= NEED_JSON_SCHEMA
    return bits

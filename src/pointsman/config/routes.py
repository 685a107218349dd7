"""Routes: the settings of a route as a core Route, and the routes that every deployment brings by itself."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from pointsman.config import known, prices, route_schema
from pointsman.config.build import Build, Spot
from pointsman.config.endings import compile_endings, named_in
from pointsman.config.fields import NAME
from pointsman.config.ladder import compile_ladder
from pointsman.config.problem import Place
from pointsman.config.seen import compile_bodies, compile_signals
from pointsman.core.embedding import LOCAL
from pointsman.core.policy import Bounds, Cache, Deployment, Hedge, Objective, Route, Semantic, Sticky
from pointsman.strategies.plugins import checked_strategy

# Member of a body that `params` may not set -> why.
NOT_PARAMS = {
    **dict.fromkeys(("model", "messages", "stream", "stream_options", "pointsman"), "is written by the router itself."),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "would pass by the filters: write `max_output`."),
    **dict.fromkeys(("n", "tools", "response_format"), "would ask a model for what the filters do not know of."),
}

# Name of a demand in the file -> in core.policy.Bounds.
DEMANDS = {
    "quality_floor": "quality_min",
    "ttft_ms_p95": "ttft_ms_p95",
    "usd_per_request": "nano_per_request",
    "usd_per_day": "nano_per_day",
}


def compile_settings(build: Build, name: str, given: route_schema.Settings, spot: Spot) -> Route:
    """Return the Route of a name, without rules and split; what is wrong with its settings is noted."""
    candidates, weights, weighted = _candidates(build, given, spot)
    waits = given.timeouts or route_schema.Timeouts()
    strategy = _strategy(build, given, spot, weighted=weighted)
    return Route(
        name=name,
        candidates=tuple(candidates),
        strategy=strategy,
        fallback=_fallback(build, given, spot, strategy),
        weights=tuple(weights) if weighted or strategy == "weighted" else (),
        attempts=given.attempts,
        ttft_ms=waits.ttft_ms,
        whole_ms=waits.whole_ms,
        idle_ms=waits.idle_ms,
        total_ms=waits.total_ms,
        adaptive=waits.adaptive or False,
        hedge=_hedge(build, given, spot),
        continuation=given.continuation or False,
        unpriced=given.unpriced or "allow",
        objective=_objective(build, given, spot),
        bounds=_bounds(build, given, spot),
        explore=given.explore or 0.0,
        sticky=_sticky(given.sticky),
        degrade=compile_ladder(build, given.degrade or [], spot, tuple(candidates)),
        on_empty=given.on_empty or "next",
        on=compile_endings(build, given, spot),
        params=_params(build, given, spot),
        prompt_prefix=given.prompt_prefix or "",
        max_output_tokens=given.max_output,
        tags=tuple(given.tags or ()),
        cache=_cache(build, given.cache, spot),
        signals=compile_signals(given.signals),
        bodies=compile_bodies(build, given.store_bodies, spot),
    )


def check_name(build: Build, name: str, candidates: Iterable[str]) -> None:
    """Refuse a route with the name of a deployment that it does not hold."""
    if name in build.named("deployments") and name not in candidates:
        message = f"a deployment has this name, so the route must hold it among its candidates: {name}."
        build.problem(("routes", name), message, "Or name the route otherwise.", key=True)


def _candidates(build: Build, given: route_schema.Settings, spot: Spot) -> tuple[list[str], list[float], bool]:
    candidates: list[str] = []
    weights: list[float] = []
    weighted = False
    valid = build.named("deployments")
    if given.candidates == []:
        build.problem(spot.of("candidates"), "is empty: a route needs a candidate.")
    for index, entry in enumerate(given.candidates or ()):
        at: Place = (*spot.of("candidates"), index)
        deployment, weight = next(iter(entry.items())) if isinstance(entry, dict) else (entry, 1.0)
        weighted = weighted or isinstance(entry, dict)
        if deployment not in valid:
            build.unknown(at, "deployment", deployment, valid)
        elif deployment in candidates:
            build.problem(at, f"{build.document.shown(at, deployment)} is listed twice.")
        if weight <= 0:
            build.problem((*at, deployment), "a weight must be more than 0.")
        candidates.append(deployment)
        weights.append(weight)
    return candidates, weights, weighted


def _strategy(build: Build, given: route_schema.Settings, spot: Spot, *, weighted: bool) -> str:
    default = "objective" if given.objective else "weighted" if weighted else "priority"
    strategy = given.strategy or default
    at = spot.of("strategy" if given.strategy else "objective")
    if given.strategy and strategy not in known.strategies():
        build.unknown(at, "strategy", strategy, known.strategies())
    elif strategy not in known.STRATEGIES and (fault := checked_strategy(strategy)):
        build.problem(at, f'the plug-in "{strategy}" cannot be used: {fault}.')
    elif given.objective and strategy != "objective":
        build.problem(at, f'"{strategy}" does not use an objective.', "Leave `strategy` or `objective` out.")
    elif strategy == "objective" and not given.objective:
        build.problem(at, "needs `objective` with its weights.")
    elif weighted and strategy in known.STRATEGIES and strategy != "weighted":
        build.problem(at, f'the candidates have weights, which "{strategy}" does not use.')
    return strategy


def _fallback(build: Build, given: route_schema.Settings, spot: Spot, strategy: str) -> str:
    fallback, at = given.fallback or "priority", spot.of("fallback")
    allowed = set(known.STRATEGIES) - {"objective"}
    if fallback not in allowed:
        build.unknown(at, "fallback", fallback, allowed)
    elif given.fallback and strategy in known.STRATEGIES and not spot.inherits("fallback"):
        build.problem(at, f'is for strategies of plug-ins; "{strategy}" does not fail.', "Leave it out.")
    return fallback


def _objective(build: Build, given: route_schema.Settings, spot: Spot) -> Objective | None:
    wanted = given.objective
    if wanted is None:
        return None
    at = spot.of("objective")
    if not (wanted.quality or wanted.latency or wanted.cost):
        build.problem(at, "has no weight above 0.", "Write some of quality, latency and cost.")
    return Objective(
        quality=wanted.quality,
        latency=wanted.latency,
        cost=wanted.cost,
        half_nano=_nano(build, (*at, "half_usd"), wanted.half_usd) or 1,
        half_ms=wanted.half_ms,
    )


def _nano(build: Build, at: Place, usd: float | None) -> int | None:
    value = None if usd is None else prices.nano(Decimal(repr(usd)))
    if usd is not None and value is None:
        build.problem(at, "is finer than a billionth of a dollar.")
    return value


def _bounds(build: Build, given: route_schema.Settings, spot: Spot) -> Bounds | None:
    limits, at = given.limits or route_schema.RouteLimits(), spot.of("limits")
    demands = {
        "quality_min": given.quality_floor,
        "ttft_ms_p95": limits.ttft_ms_p95,
        "nano_per_request": _nano(build, (*at, "usd_per_request"), limits.usd_per_request),
        "nano_per_day": _nano(build, (*at, "usd_per_day"), limits.usd_per_day),
    }
    relax: list[str] = []
    for index, name in enumerate(given.relax or ()):
        place = (*spot.of("relax"), index)
        if demands[DEMANDS[name]] is None:
            if not spot.inherits("relax"):  # a rule that replaces `limits` need not repeat `relax`
                build.problem(place, f'there is no "{name}" to give up.', "Write the demand, or leave it out here.")
        elif DEMANDS[name] in relax:
            build.problem(place, f'"{name}" is listed twice.')
        else:
            relax.append(DEMANDS[name])
    if all(demand is None for demand in demands.values()):
        return None
    return msgspec.convert({**demands, "relax": relax}, Bounds)


def _sticky(given: Literal["session", "conversation"] | route_schema.Sticky | None) -> Sticky | None:
    if given is None:
        return None
    wanted = given if isinstance(given, route_schema.Sticky) else route_schema.Sticky(by=given)
    return Sticky(by=wanted.by, ttl_s=wanted.ttl)


def _cache(build: Build, given: float | route_schema.Cache | None, spot: Spot) -> Cache | None:
    if given is None:
        return None
    wanted = given if isinstance(given, route_schema.Cache) else route_schema.Cache(ttl=given)
    semantic = _semantic(build, wanted.semantic, (*spot.of("cache"), "semantic"))
    return Cache(ttl_s=wanted.ttl, scope=wanted.scope, max_bytes=wanted.max_bytes, pace=wanted.pace, semantic=semantic)


def _semantic(build: Build, given: route_schema.Semantic | None, at: Place) -> Semantic | None:
    if given is None:
        return None
    if given.embeddings != LOCAL and given.embeddings not in build.named("deployments"):
        build.unknown((*at, "embeddings"), "deployment", given.embeddings, {LOCAL, *build.named("deployments")})
    return Semantic(
        embeddings=given.embeddings,
        threshold=given.threshold or (0.7 if given.embeddings == LOCAL else 0.92),
        wrong_hits=given.wrong_hits,
        check=given.check,
        max_entries=given.max_entries,
    )


def _hedge(build: Build, given: route_schema.Settings, spot: Spot) -> Hedge | None:
    if given.hedge is None:
        return None
    if len(given.candidates or ()) < 2 and not spot.inherits("hedge"):
        build.problem(spot.of("hedge"), "needs a second candidate to send to.")
    wanted = given.hedge if isinstance(given.hedge, route_schema.Hedge) else route_schema.Hedge()
    return Hedge(after_ms=wanted.after_ms, share=wanted.share)


def _params(build: Build, given: route_schema.Settings, spot: Spot) -> dict[str, bytes]:
    params: dict[str, bytes] = {}
    for name, value in (given.params or {}).items():
        at = (*spot.of("params"), name)
        if name in NOT_PARAMS:
            build.problem(at, NOT_PARAMS[name], key=True)
            continue
        try:
            params[name] = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        except ValueError:
            build.problem(at, "is no JSON value.")
    return params


def implicit_routes(deployments: Iterable[Deployment], taken: Container[str]) -> dict[str, Route]:
    """Return a route to each deployment under its name, `provider/model` and `provider/name`, unless a name is taken.

    Of two deployments of one model at one provider the first in the file has `provider/model`.
    """
    routes: dict[str, Route] = {}
    listed = [one for one in deployments if one.kind == "chat"]
    names = [(one.name, one.name) for one in listed]
    names += [(f"{one.provider}/{one.wire.model}", one.name) for one in listed]
    names += [(f"{one.provider}/{one.name}", one.name) for one in listed]
    for route, deployment in names:
        if route not in taken and route not in routes and NAME.fullmatch(route):
            routes[route] = Route(name=route, candidates=(deployment,), implicit=True)
    return routes


def check_kinds(
    build: Build, routes: Mapping[str, Route], spots: Mapping[str, Spot], deployments: Iterable[Deployment]
) -> None:
    """Refuse routes that would ask a maker of vectors for an answer, or another one for a vector."""
    kinds = {one.name: one.kind for one in deployments}
    for route in routes.values():
        named = {*route.candidates, *(name for rung in route.degrade for name in rung.candidates), *named_in([route])}
        spot = spots.get(route.name)
        for name in sorted(named):
            if kinds.get(name) == "embeddings" and spot is not None:
                build.problem(spot.own, f'"{name}" is of kind embeddings: it answers nothing.', key=True)
        maker = route.cache.semantic.embeddings if route.cache and route.cache.semantic else LOCAL
        if maker != LOCAL and kinds.get(maker) == "chat" and spot is not None:
            at = (*spot.of("cache"), "semantic", "embeddings")
            build.problem(at, f'"{maker}" makes no vectors.', "Write `kind: embeddings` where it is defined.")


def warn_of_routes(
    build: Build, routes: Mapping[str, Route], spots: Mapping[str, Spot], deployments: Iterable[Deployment]
) -> None:
    """Note what is allowed but surely not meant: nothing to compare by price, and what no route uses."""
    by_name = {one.name: one for one in deployments}
    written = [route for route in routes.values() if not route.implicit]
    for route in written:
        offered = [by_name[one].price for one in route.candidates if one in by_name]
        if route.strategy == "cheapest" and offered and not any(offered):
            at = spots[route.name].own
            build.warn(at, "cheapest cannot compare: no candidate has a price.", key=True)
        if route.continuation and not any(by_name[one].wire.prefill for one in route.candidates if one in by_name):
            at = spots[route.name].own
            build.warn(at, "continuation: no candidate says how it takes the beginning of an answer.", key=True)
    used = {name for route in written for name in route.candidates}
    used |= {name for route in written for rung in route.degrade for name in rung.candidates}
    used |= named_in(written) | {one.cache.semantic.embeddings for one in written if one.cache and one.cache.semantic}
    used |= {routes[name].candidates[0] for name in _targets(written) if routes[name].implicit}
    for name in by_name if written else ():
        if name not in used:
            build.warn(("deployments", name), "unused: no route has it.", key=True)
    providers = {one.provider for one in by_name.values()}
    for name in build.named("providers"):
        if name not in providers:
            build.warn(("providers", name), "unused: no deployment has it.", key=True)


def _targets(routes: Iterable[Route]) -> set[str]:
    """Return what rules and arms use."""
    rules = {rule.use for route in routes for rule in route.rules}
    return rules | {arm.use for route in routes if route.split for arm in route.split.arms}

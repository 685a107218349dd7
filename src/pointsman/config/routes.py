"""Routes: the `routes` section as core Routes, and the routes that every deployment brings by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pointsman.config import known, schema
from pointsman.config.build import Build
from pointsman.config.fields import NAME
from pointsman.core.policy import Deployment, Route


def compile_route(build: Build, name: str, given: schema.Route) -> Route:
    """Return the Route of a name; what is wrong with it is noted."""
    at = ("routes", name)
    candidates, weights, weighted = _candidates(build, name, given)
    strategy = given.strategy or ("weighted" if weighted else "priority")
    if strategy not in known.STRATEGIES:
        build.unknown((*at, "strategy"), "strategy", strategy, known.STRATEGIES)
    elif weighted and strategy != "weighted":
        build.problem((*at, "strategy"), f'the candidates have weights, which "{strategy}" does not use.')
    if name in build.named("deployments") and name not in candidates:
        message = f"a deployment has this name, so the route must hold it among its candidates: {name}."
        build.problem(at, message, "Or name the route otherwise.", key=True)
    return Route(
        name=name,
        candidates=tuple(candidates),
        strategy=strategy,
        weights=tuple(weights) if strategy == "weighted" else (),
        attempts=given.attempts,
        ttft_ms=given.timeouts.ttft_ms,
        idle_ms=given.timeouts.idle_ms,
        total_ms=given.timeouts.total_ms,
        unpriced=given.unpriced,
    )


def _candidates(build: Build, name: str, given: schema.Route) -> tuple[list[str], list[float], bool]:
    candidates: list[str] = []
    weights: list[float] = []
    weighted = False
    valid = build.named("deployments")
    if not given.candidates:
        build.problem(("routes", name, "candidates"), "is empty: a route needs a candidate.")
    for index, entry in enumerate(given.candidates):
        at: tuple[str | int, ...] = ("routes", name, "candidates", index)
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


def implicit_routes(deployments: Iterable[Deployment], taken: Mapping[str, Route]) -> dict[str, Route]:
    """Return a route to each deployment under its name, `provider/model` and `provider/name`, unless a name is taken.

    Of two deployments of one model at one provider the first in the file has `provider/model`.
    """
    routes: dict[str, Route] = {}
    listed = list(deployments)
    names = [(one.name, one.name) for one in listed]
    names += [(f"{one.provider}/{one.wire.model}", one.name) for one in listed]
    names += [(f"{one.provider}/{one.name}", one.name) for one in listed]
    for route, deployment in names:
        if route not in taken and route not in routes and NAME.fullmatch(route):
            routes[route] = Route(name=route, candidates=(deployment,), implicit=True)
    return routes


def warn_of_routes(build: Build, routes: Mapping[str, Route], deployments: Iterable[Deployment]) -> None:
    """Note what is allowed but surely not meant: nothing to compare by price, and what no route uses."""
    by_name = {one.name: one for one in deployments}
    for route in routes.values():
        prices = [by_name[one].price for one in route.candidates if one in by_name]
        if route.strategy == "cheapest" and prices and not any(prices):
            build.warn(("routes", route.name), "cheapest cannot compare: no candidate has a price.", key=True)
    used = {name for route in routes.values() for name in route.candidates}
    for name in by_name if routes else ():
        if name not in used:
            build.warn(("deployments", name), "unused: no route has it.", key=True)
    providers = {one.provider for one in by_name.values()}
    for name in build.named("providers"):
        if name not in providers:
            build.warn(("providers", name), "unused: no deployment has it.", key=True)

"""Demands: what routes ask of their candidates, held against what is known of these: nothing that never can be met."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.config.build import Build, Spot
from pointsman.config.conditions import needs_of
from pointsman.config.problem import Place
from pointsman.core.options import reachable
from pointsman.core.policy import Bounds, Deployment, Route
from pointsman.core.request import CATEGORIES

# Fact that a rule may ask for -> what no candidate does, and how a deployment is known not to do it.
_NEEDS = {
    "features.images": ("reads images", "image"),
    "features.audio": ("reads audio", "audio"),
    "features.files": ("reads files", "file"),
    "features.tools": ("takes tools", ""),
    "features.json_schema": ("takes a JSON Schema", ""),
}


def check_demands(
    build: Build, routes: Mapping[str, Route], spots: Mapping[str, Spot], deployments: Mapping[str, Deployment]
) -> None:
    """Refuse candidates that can never answer, unknown facts that a route depends on, and rules that nobody can serve."""
    for name, spot in spots.items():
        route = routes[name]
        _check_floor(build, route, spot, deployments)
        for at, candidate in _candidates(build, spot, route.candidates):
            if candidate in deployments:
                _check_quality(build, route, at, deployments[candidate])
                _check_price(build, route.bounds, at, deployments[candidate])
        for index, rung in enumerate(route.degrade):
            for at, candidate in _candidates(build, spot, rung.candidates, index):
                if candidate in deployments:
                    _check_price(build, route.bounds, at, deployments[candidate])
        for index, rule in enumerate(route.rules):
            for need in needs_of(rule.when):
                names = dict.fromkeys(one for name in reachable(routes, rule.use) for one in routes[name].candidates)
                offered = [deployments[one] for one in names if one in deployments]
                if offered and all(_lacks(one, need) for one in offered):
                    at = (*spot.own, "rules", index, "when")
                    whose = "this rule" if routes[rule.use].hidden else f'"{rule.use}"'
                    build.problem(at, f"demands {need}, but no candidate of {whose} {_NEEDS[need][0]}.")


def _candidates(build: Build, spot: Spot, names: tuple[str, ...], rung: int | None = None) -> list[tuple[Place, str]]:
    """Return candidates with their places in the file. A rung without candidates of its own has the route's."""
    at = spot.of("candidates") if rung is None else (*spot.of("degrade"), rung, "candidates")
    if rung is not None and at not in build.document.values:
        return []
    return [((*at, index), name) for index, name in enumerate(names)]


def _check_quality(build: Build, route: Route, at: Place, deployment: Deployment) -> None:
    bounds = route.bounds or Bounds()
    by_objective = route.objective is not None and route.objective.quality > 0
    if bounds.quality_min is None and not by_objective and route.strategy != "best":
        return
    why = "quality_floor" if bounds.quality_min is not None else "the objective" if by_objective else "best"
    shown, quality = build.document.shown(at, deployment.name), deployment.quality
    if not quality:
        build.problem(at, f"{why} needs the quality of {shown}, which is unknown.", f"Set `quality` of {shown}.")
    elif "default" not in quality and (missing := [one for one in CATEGORIES if one not in quality]):
        said = f"{why} needs the quality of {shown}, which is unknown for {', '.join(missing)}."
        build.problem(at, said, "Add a `default` to it.")


def _check_floor(build: Build, route: Route, spot: Spot, deployments: Mapping[str, Deployment]) -> None:
    """Refuse candidates below the quality floor. Of those that a rule or arm inherits some may be: it then narrows the
    choice; that none is left is told where the floor is."""
    bounds = route.bounds or Bounds()
    if bounds.quality_min is None or "quality_min" in bounds.relax:
        return
    best = {
        name: max(deployments[name].quality.values(), default=1.0) for name in route.candidates if name in deployments
    }
    low = {name: quality for name, quality in best.items() if quality < bounds.quality_min}
    inherited = spot.inherits("candidates")
    if inherited and low and len(low) == len(best):
        said = f"no candidate can ever answer: quality_floor is {bounds.quality_min:g}, and the best has {max(low.values()):g}."
        build.problem(spot.of("quality_floor"), said)
    for at, name in [] if inherited else _candidates(build, spot, route.candidates):
        if name in low:
            shown = build.document.shown(at, name)
            said = (
                f"{shown} can never answer: its quality is {low[name]:g}, and quality_floor is {bounds.quality_min:g}."
            )
            build.problem(at, said)


def _check_price(build: Build, bounds: Bounds | None, at: Place, deployment: Deployment) -> None:
    if bounds is None or deployment.price is not None:
        return
    limit = "usd_per_request" if bounds.nano_per_request is not None else "usd_per_day"
    if bounds.nano_per_request is not None or bounds.nano_per_day is not None:
        shown = build.document.shown(at, deployment.name)
        build.problem(at, f"{limit} needs the price of {shown}, which is unknown.", f"Set `price` of {shown}.")


def _lacks(deployment: Deployment, need: str) -> bool:
    facts, modality = deployment.facts, _NEEDS[need][1]
    if modality:
        return facts.modalities is not None and modality not in facts.modalities
    return (facts.tools if need == "features.tools" else facts.json_schema) is False

"""Endings: the `on` of routes: who goes on when an attempt ended in a certain way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pointsman.config import route_schema
from pointsman.config.build import Build, Spot
from pointsman.core.policy import Route


def compile_endings(build: Build, given: route_schema.Settings, spot: Spot) -> dict[str, tuple[str, ...]]:
    """Return the names under each ending as they are written; those that are neither deployment nor route are noted."""
    valid = {*build.named("deployments"), *build.named("routes")}
    for kind, names in (given.on or {}).items():
        for index, name in enumerate(names):
            at = (*spot.of("on"), kind, index)
            if name not in valid:
                build.unknown(at, "deployment or route", name, valid)
            elif name in names[:index]:
                build.problem(at, f"{build.document.shown(at, name)} is listed twice.")
    return {kind: tuple(names) for kind, names in (given.on or {}).items()}


def expand_endings(build: Build, routes: dict[str, Route], spots: Mapping[str, Spot]) -> None:
    """Put the candidates of a route in the place of its name, for all `routes`; refuse one that has none of its own, and a
    route that goes on with itself."""
    deployments = build.named("deployments")
    for name, spot in spots.items():
        route = routes[name]
        if not route.on:
            continue
        if not route.candidates and not spot.inherits("on"):
            build.problem(spot.of("on"), "needs candidates of the route itself, whose ends it is about.", key=True)
        whole: dict[str, tuple[str, ...]] = {}
        for kind, names in route.on.items():
            found: list[str] = []
            for index, one in enumerate(names):
                if one not in deployments and one in routes:
                    if one == (route.hidden or name):
                        build.problem((*spot.of("on"), kind, index), "is the route itself.")
                    elif not routes[one].candidates:
                        said = f'route "{one}" has no candidates of its own.'
                        build.problem((*spot.of("on"), kind, index), said, "Name deployments.")
                    found += routes[one].candidates
                elif one in deployments:
                    found.append(one)
            whole[kind] = tuple(dict.fromkeys(found))
        routes[name] = msgspec.structs.replace(route, on=whole)


def named_in(routes: Iterable[Route]) -> set[str]:
    """Return the deployments that some `on` names."""
    return {name for route in routes for names in route.on.values() for name in names}

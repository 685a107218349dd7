"""Rules: the `rules` and the `split` of routes. What a rule or an arm sets by itself becomes a hidden Route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pointsman.config import conditions, route_schema, schema
from pointsman.config.build import Build, Spot
from pointsman.config.endings import expand_endings
from pointsman.config.fields import NAME
from pointsman.config.problem import Place
from pointsman.config.routes import check_name, compile_settings
from pointsman.core.policy import Arm, Route, Rule, Split

MOST_DEEP = 30  # routes on the way of one request; core.resolve stops at 32

_OWN = frozenset(route_schema.Settings.model_fields)


class Made(msgspec.Struct, frozen=True):
    """Hold the routes that were compiled, hidden ones among them, and where the settings of each stand."""

    routes: dict[str, Route]
    spots: dict[str, Spot]


def compile_routes(build: Build, config: schema.Config, usable: Iterable[str]) -> Made:
    """Return the written routes and their parts. `usable` are the names that `use` may have."""
    made = Made({}, {})
    around = conditions.Surroundings(tuple(build.named("deployments")), tuple(config.server.rule_headers))
    names = frozenset(usable)
    for name, given in config.routes.items():
        _Maker(build, name, given, made).make(names, around)
    expand_endings(build, made.routes, made.spots)
    return made


class _Maker:
    """Compile one written route."""

    def __init__(self, build: Build, name: str, given: route_schema.Route, made: Made) -> None:
        self.build, self.name, self.given, self.made = build, name, given, made
        self.at: Place = ("routes", name)

    def make(self, usable: frozenset[str], around: conditions.Surroundings) -> None:
        spot = Spot(self.at, self.at)
        base = compile_settings(self.build, self.name, self.given, spot)
        check_name(self.build, self.name, base.candidates)
        self.made.routes[self.name], self.made.spots[self.name] = base, spot  # first, hidden ones behind
        self._conditions(around)
        rules = tuple(
            self._rule(index, rule, f"{self.name}#{index + 1}", usable)
            for index, rule in enumerate(self.given.rules or ())
        )
        split = self._split(usable)
        always = next((number for number, rule in enumerate(rules, 1) if rule.when in ("", "true")), 0)
        if always and split is not None:
            self.build.problem((*self.at, "split"), f"is dead: rule {always} above it holds always.", key=True)
        if self.given.candidates is None and not always and split is None:
            said = "is missing: there may be no rule that holds." if rules else "is missing."
            hint = "Write them, or a last rule without `when`." if rules else ""
            self.build.problem((*self.at, "candidates"), said, hint)
        self.made.routes[self.name] = msgspec.structs.replace(base, rules=rules, split=split)

    def _conditions(self, around: conditions.Surroundings) -> None:
        whens = [rule.when or "" for rule in self.given.rules or ()]
        for fault in conditions.faults(whens, around):
            at: Place = (*self.at, "rules", fault.index)
            if whens[fault.index]:
                at = (*at, "when")
            if at in self.build.document.borrowed:
                self.build.problem(at, "is not a condition that can be used (from the environment).")
            else:
                self.build.problem(at, fault.message, fault.hint)

    def _rule(self, index: int, given: route_schema.Rule, hidden: str, usable: frozenset[str]) -> Rule:
        at = (*self.at, "rules", index)
        if given.when == "":
            self.build.problem((*at, "when"), "is empty.", "Leave it out for a rule that holds always.")
        if given.use is None and not _own_settings(given):
            self.build.problem(at, "does nothing.", "Write `use`, or settings like candidates or strategy.")
            return Rule(when=given.when or "", use="", place="")
        line, _ = self.build.document.mark(at)
        use = self._target(given, at, hidden, usable)
        return Rule(when=given.when or "", use=use, place=f"{self.build.document.file}:{line}")

    def _split(self, usable: frozenset[str]) -> Split | None:
        given, at = self.given.split, (*self.at, "split")
        if given is None:
            return None
        arms: list[Arm] = []
        if len(given.arms) < 2:
            self.build.problem((*at, "arms"), "needs two arms or more.")
        for name, arm in given.arms.items():
            place = (*at, "arms", name)
            if not NAME.fullmatch(name):
                message = "a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -"
                self.build.problem(place, message, key=True)
            if arm.weight <= 0:
                self.build.problem((*place, "weight"), "a weight must be more than 0.")
            use = self._target(arm, place, f"{self.name}@{name}", usable)
            arms.append(Arm(name=name, weight=arm.weight, use=use))
        return Split(by=given.by, salt=given.salt or self.name, arms=tuple(arms))

    def _target(
        self, given: route_schema.Rule | route_schema.Arm, at: Place, hidden: str, usable: frozenset[str]
    ) -> str:
        """Return the name of the route that goes on: the one used, or a hidden one made of the settings here."""
        own = _own_settings(given)
        if given.use is not None:
            if own:
                message = f"goes to another route, so {', '.join(sorted(own))} here would not count."
                self.build.problem((*at, "use"), message, "Write one of them.")
            if given.use not in usable:
                self.build.unknown((*at, "use"), "route", given.use, usable)
            return given.use
        if hidden in usable:
            self.build.problem(at, f'its own name "{hidden}" is that of a route.', "Name one of them otherwise.")
        merged = _merged(self.given, given, own)
        if merged.candidates is None:
            self.build.problem(at, "has no candidates, and the route has none either.", "Write them here or there.")
        spot = Spot(self.at, at, frozenset(own))
        route = compile_settings(self.build, hidden, merged, spot)
        self.made.routes[hidden] = msgspec.structs.replace(route, hidden=self.name)
        self.made.spots[hidden] = spot
        return hidden


def _own_settings(given: route_schema.Settings) -> dict[str, object]:
    return {name: value for name in given.model_fields_set & _OWN if (value := getattr(given, name)) is not None}


def _merged(base: route_schema.Route, part: route_schema.Settings, own: Mapping[str, object]) -> route_schema.Settings:
    """Return the settings of a part: its own, else the route's. An objective replaces a strategy, and the other way."""
    settings = {name: getattr(base, name) for name in _OWN} | dict(own)
    if "objective" in own and "strategy" not in own:
        settings["strategy"] = None
    elif "strategy" in own and "objective" not in own and part.strategy != "objective":
        settings["objective"] = None
    return route_schema.Settings.model_construct(**settings)


def check_cycles(build: Build, routes: Mapping[str, Route], spots: Mapping[str, Spot]) -> None:
    """Refuse routes that lead back to themselves, at the rule or arm that closes the circle, and ways without end."""
    depths: dict[str, int] = {}
    for name in routes:
        _depth(build, (routes, spots), [name], depths)


def _depth(
    build: Build, known: tuple[Mapping[str, Route], Mapping[str, Spot]], way: list[str], depths: dict[str, int]
) -> int:
    """Return how many routes lie on the longest way from the last of `way`, itself counted."""
    routes, spots = known
    name = way[-1]
    if name not in routes or name in depths:
        return depths.get(name, 0)
    if len(way) > 2 * MOST_DEEP:
        return MOST_DEEP  # deep enough to be refused on the way back
    longest, depths[name] = 0, 1
    for place, use in _uses(routes[name], spots):
        if use in way:
            circle = " -> ".join([*way[way.index(use) :], use])
            build.problem((*place, "use"), f"leads back to where it came from: {circle}.")
        else:
            longest = max(longest, _depth(build, known, [*way, use], depths))
    depths[name] = 1 + longest
    if depths[name] == MOST_DEEP + 1:
        build.problem(spots[name].own, f"a request may go through more than {MOST_DEEP} routes from here.", key=True)
    return depths[name]


def _uses(route: Route, spots: Mapping[str, Spot]) -> list[tuple[Place, str]]:
    """Return the places of a route's rules and arms, and which route each goes on to."""
    if not (route.rules or route.split):
        return []
    at = spots[route.name].own
    rules = [((*at, "rules", index), rule.use) for index, rule in enumerate(route.rules)]
    arms = route.split.arms if route.split else ()
    return [*rules, *(((*at, "split", "arms", arm.name), arm.use) for arm in arms)]

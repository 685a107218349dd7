"""LiteLLM: the config of its proxy becomes one of ours.

Models of one model_name become one route with weights; fallbacks become rungs of its ladder; aliases routes with one rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pointsman.config.imports.draft import Draft, Entry, fresh, is_name, slug
from pointsman.config.imports.litellm_limits import LIMITS
from pointsman.config.imports.litellm_models import read_models
from pointsman.config.imports.litellm_readings import Model
from pointsman.config.imports.litellm_tables import IDLE, LOST, SECTIONS
from pointsman.config.imports.source import Result, Source
from pointsman.config.problem import ConfigError, Place, Problem, short

_SETTINGS = ("router_settings", "litellm_settings", "general_settings")  # what one says counts before the next
_STRATEGIES = {
    "simple-shuffle": "",
    "latency-based-routing": "fastest",
    "cost-based-routing": "cheapest",
}
MOST_RUNGS = 16
_FOOT = "Translated from {file}. `pointsman import` said what was not."


def from_litellm(text: str, file: str) -> Result:
    """Return a LiteLLM proxy config as one of ours, with a report. Raise ConfigError when it is none, or has no model that
    can be used."""
    source = Source(text, file, "a mapping with `model_list:`")
    return _Translation(source).run()


class _Translation:
    def __init__(self, source: Source) -> None:
        self.source, self.draft = source, Draft()
        self.models: list[Model] = []
        self.names: dict[str, str] = {}  # what LiteLLM's clients write -> our route
        self.groups: dict[str, list[Model]] = {}
        self.strategy = ""

    def run(self) -> Result:
        source = self.source
        self.models = read_models(source, self.draft)
        settings = self._settings()
        self._name_routes(settings)
        self._name_deployments()
        for name, read in (
            ("routing_strategy", self._routing_strategy),
            ("model_group_alias", self._model_group_alias),
            ("master_key", self._master_key),
        ):
            for place, value in settings.pop(name, []):
                read(place, value)
        for name, limit in LIMITS.items():
            for place, value in settings.pop(name, []):
                limit(source, self.draft.limits, place, value)
        for group, members in self.groups.items():
            self._route(group, members)
        self._fallbacks(settings)
        self._others(settings)
        self._sections()
        source.rest()
        if not self.draft.deployments:
            why = "\n".join(note.says for note in source.notes[:3])
            raise ConfigError([Problem(source.file, 1, 1, "model_list", f"no model in it can be used. {why}".strip())])
        head = _FOOT.format(file=source.file)
        notes = tuple(sorted(source.notes, key=lambda note: (note.line, note.path)))
        return Result(self.draft.text(head, source.file.rpartition("/")[2]), notes, source.variables)

    # --- names
    def _name_routes(self, settings: dict[str, list[tuple[Place, Any]]]) -> None:
        for model in self.models:
            self.groups.setdefault(model.group, []).append(model)
        for group, members in self.groups.items():
            name = group if is_name(group) else fresh(slug(group), {*self.groups, *self.names.values()})
            self.names[group] = name
            if name != group:
                said = f'"{short(group)}" is no name of a route here: clients must write {name}.'
                self.source.lost((*members[0].place, "model_name"), said)

    def _name_deployments(self) -> None:
        """Give each model a name: its id, its route's, or that with a number; none twice, none of another route."""
        aliases = {key for place, value in self._aliases() for key in value}
        taken = {*self.names.values(), *aliases}
        for group, members in self.groups.items():
            for number, model in enumerate(members, 1):
                own = self.names[group]
                name = own if len(members) == 1 else fresh(model.id or f"{own}-{number}", taken)
                taken.add(name)
                model.name = name
                self.draft.deployments[name] = Entry(model.settings, self.source.line(model.place))
                settings = self.draft.providers[model.provider].settings
                plain = " Its address is http:// and not local: `insecure: true`." if settings.get("insecure") else ""
                self.source.used(model.place, f"deployment {name} at {model.provider}, in route {own}.{plain}")

    def _aliases(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        for section in _SETTINGS:
            found = self.source.data.get(section)
            value = found.get("model_group_alias") if isinstance(found, dict) else None
            if isinstance(value, dict):
                yield (section, "model_group_alias"), value

    # --- routes
    def _route(self, group: str, members: list[Model]) -> None:
        name, source = self.names[group], self.source
        ordered = any(math.isfinite(model.order) for model in members)
        shares = {} if ordered or self.strategy or len(members) == 1 else _shares(members)
        kept = [model for model in members if shares.get(model.name, 1.0) > 0.0] or members
        settings: dict[str, Any] = {"candidates": [model.name for model in kept]}
        self._idle_shares(members, "" if shares else "the only model of its route, or another strategy than weights.")
        if len(kept) > 1 and ordered:
            settings["candidates"] = [model.name for model in sorted(kept, key=lambda model: model.order)]
            if len({model.order for model in kept}) < len(kept):
                source.lost(
                    kept[0].place,
                    f"models of {name} with the same `order` share no traffic: the first written is first.",
                )
        elif len(kept) > 1 and self.strategy:
            settings["strategy"] = self.strategy
        elif len(kept) > 1:
            settings["candidates"] = [{model.name: _whole(shares.get(model.name) or 1.0)} for model in kept]
        settings |= self._params(name, members)
        behind = [model.name for model in members if model not in kept]
        if behind:
            settings["degrade"] = [{"candidates": behind}]
            said = f"no weight: {', '.join(behind)} of {name} only when no other can answer, on rung 1 of the ladder."
            source.used(members[0].place, said)
        self.draft.routes[name] = Entry(settings, source.line(members[0].place))

    def _idle_shares(self, members: list[Model], why: str) -> None:
        """Note the weights, and the order of a model alone, that do not count."""
        for model in members:
            if why and "weight" in model.share:
                self.source.idle(model.share["weight"][0], why)
            if model.order_place and len(members) == 1:
                self.source.idle(model.order_place, "the only model of its route.")

    def _params(self, name: str, members: list[Model]) -> dict[str, Any]:
        """Return what all models of a route set alike in the request's body; the rest is noted."""
        found: dict[str, Any] = {}
        params: dict[str, Any] = {}
        for key in dict.fromkeys(key for model in members for key in model.params):
            values = [model.params.get(key, ((), None))[1] for model in members]
            places = [model.params[key][0] for model in members if key in model.params]
            if any(value != values[0] for value in values):
                for place in places:
                    self.source.lost(
                        place, f"not all models of {name} say the same, and `params` are those of a route."
                    )
                continue
            for place in places:
                says = "bounds" if key == "max_output" else "replaces"
                self.source.used(place, f"route {name}: here it {says} what the client says; there it was a default.")
            (found if key == "max_output" else params)[key] = values[0]
        return {**({"params": params} if params else {}), **found}

    def _model_group_alias(self, place: Place, value: Any) -> None:
        if not isinstance(value, dict):
            self.source.lost(place, "is no mapping.")
            return
        for alias, given in value.items():
            at = (*place, alias)
            target = given.get("model") if isinstance(given, dict) else given
            if not isinstance(target, str) or target not in self.names:
                self.source.lost(at, f'there is no route "{short(str(target))}" for it.')
            elif not is_name(alias) or alias in self.names.values():
                self.source.lost(at, "is no name that a route can have, or one that another route has.")
            else:
                self.draft.routes[alias] = Entry({"rules": [{"use": self.names[target]}]}, self.source.line(at))
                self.source.used(at, f"route {alias}, which uses {self.names[target]}.")
                if isinstance(given, dict) and given.get("hidden") is True:
                    self.source.lost((*at, "hidden"), "GET /v1/models shows every route that a key may use.")

    # --- fallbacks
    def _fallbacks(self, settings: dict[str, list[tuple[Place, Any]]]) -> None:
        own: set[str] = set()
        for kind in ("context_window_fallbacks", "fallbacks"):
            for place, value in settings.pop(kind, []):
                for at, group, names in self._pairs(place, value):
                    own |= {group} if kind == "fallbacks" else set()
                    for route in self.names.values() if group == "*" else [self.names[group]]:
                        self._ladder(route, at, names, windows=kind != "fallbacks")
        for place, value in settings.pop("default_fallbacks", []):
            names = value if isinstance(value, list) else [value]
            for group, route in self.names.items():
                if group not in own:
                    self._ladder(route, place, names, windows=False)
            self.source.seen(place)

    def _pairs(self, place: Place, value: Any) -> Iterator[tuple[Place, str, list[Any]]]:
        """Yield the place, the group and the fallbacks of each entry of a list of mappings."""
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            at = (*place, index) if isinstance(value, list) else place
            if not isinstance(entry, dict):
                self.source.lost(at, "is no mapping from a model to its fallbacks.")
                continue
            for group, names in entry.items():
                if group in self.names or (group == "*" and self.names):
                    self.source.seen((*at, group))
                    yield (*at, group), group, names if isinstance(names, list) else [names]
                else:
                    self.source.lost((*at, group), f'no model of the list that is used is called "{short(group)}".')

    def _ladder(self, route: str, at: Place, names: list[Any], *, windows: bool) -> None:
        """Put the deployments of each of `names` behind those of a route: for a larger window behind its only candidate, else
        as a rung of the ladder."""
        settings = self.draft.routes[route].settings
        if "candidates" not in settings:
            return
        for name in names:
            found = self._deployments(name)
            if found is None:
                self.source.lost(at, f'no model of the list that is used is called "{short(str(name))}".')
                continue
            reached = set(_reached(settings))
            added = [one for one in found if one not in reached]
            rungs = settings.get("degrade", [])
            if not added:
                if route not in found:
                    self.source.idle(at, f"route {route} reaches {short(str(name))} already.")
            elif windows and not rungs and all(isinstance(one, str) for one in settings["candidates"]):
                settings["candidates"] = [*settings["candidates"], *added]
                says = f"route {route}: {', '.join(added)} behind it; they answer what does not fit, and when it fails."
                self.source.used(at, says)
            elif len(rungs) >= MOST_RUNGS:
                self.source.lost(at, f"the ladder of route {route} has {MOST_RUNGS} rungs already.")
            else:
                settings["degrade"] = [*rungs, {"candidates": added}]
                self.source.used(at, f"route {route}: rung {len(rungs) + 1} of the ladder, {', '.join(added)}.")

    def _deployments(self, name: Any) -> list[str] | None:
        """Return the deployments of a group, of an alias, or of a model's id."""
        if not isinstance(name, str):
            return None
        for _, aliases in self._aliases():
            target = aliases.get(name)
            if name not in self.groups and isinstance(target, str):
                name = target
        if name in self.groups:
            return [model.name for model in self.groups[name]]
        return [model.name for model in self.models if model.id == name] or None

    # --- settings
    def _settings(self) -> dict[str, list[tuple[Place, Any]]]:
        """Return each setting of the three sections with its place. What two sections set, the first has."""
        found: dict[str, list[tuple[Place, Any]]] = {}
        for section in _SETTINGS:
            values = self.source.data.get(section)
            if values is not None and not isinstance(values, dict):
                self.source.lost((section,), "is no mapping.")
            for key, value in values.items() if isinstance(values, dict) else ():
                if key in found and not isinstance(value, list):
                    self.source.idle((section, key), f"{found[key][0][0][0]} says it.")
                else:
                    found.setdefault(key, []).append(((section, key), value))
        return found

    def _routing_strategy(self, place: Place, value: Any) -> None:
        if isinstance(value, str) and value in _STRATEGIES:
            self.strategy = _STRATEGIES[value]
            self.source.used(place, f"strategy {self.strategy or 'weighted'} for routes with several models.")
        else:
            said = "strategy weighted in its place; `fastest` measures latency, which grows with load."
            self.source.lost(place, f'"{short(str(value))}" is not there: {said}')

    def _master_key(self, place: Place, value: Any) -> None:
        if not isinstance(value, str) or not value:
            self.source.lost(place, "is no text.")
            return
        key = self.source.secret(place, value, "master")
        self.draft.keys.append({"name": "master", "key": key})
        self.source.used(place, "client key `master`, of at least 16 characters; it has no rights but to call.")

    def _others(self, settings: dict[str, list[tuple[Place, Any]]]) -> None:
        for key, places in settings.items():
            for place, _ in places:
                if key in IDLE:
                    self.source.idle(place, IDLE[key])
                else:
                    self.source.lost(place, LOST.get(key, "is no setting that is known here."))

    def _sections(self) -> None:
        source = self.source
        variables = source.data.get("environment_variables")
        for name in variables if isinstance(variables, dict) else ():
            at = ("environment_variables", name)
            if name in source.variables:
                source.lost(at, "values of variables are not copied: set it where the router runs.")
            else:
                source.idle(at, "nothing here asks for it.")
        for section, why in SECTIONS.items():
            if section in source.data:
                source.lost((section,), why)


def _shares(members: list[Model]) -> dict[str, float]:
    """Return the weights of models: by the first of weight, rpm and tpm that any of them has; one without it has none."""
    for key in ("weight", "rpm", "tpm"):
        if any(key in model.share for model in members):
            return {model.name: min(model.share[key][1], 1e6) if key in model.share else 0.0 for model in members}
    return {}


def _reached(settings: dict[str, Any]) -> Iterator[str]:
    for one in (
        *settings["candidates"],
        *(name for rung in settings.get("degrade", []) for name in rung["candidates"]),
    ):
        yield next(iter(one)) if isinstance(one, dict) else one


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value

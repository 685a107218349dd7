"""Plug-ins: strategies and facts that other packages bring, found by their entry points and loaded when a policy uses them.

Groups: `pointsman.strategies` (name -> a function like those of this package) and `pointsman.facts` (name with one point
-> an object with `fact` and `value(case)`). docs/plugins.md shows both. `check` and `check_fact` are for authors' tests.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import invalidate_caches
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.case import Case, plug_in
from pointsman.core.facts import FACTS, PLUGGED, Fact, FactValue
from pointsman.core.options import Options
from pointsman.core.policy import Policy
from pointsman.core.request import Features
from pointsman.core.strategy import Rank, Ranking, Snapshot, Strategy
from pointsman.strategies.conformance import PluginError, check, check_fact, ranking_fault, value_fault
from pointsman.strategies.guard import GUARDS, Failed
from pointsman.strategies.registry import STRATEGIES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["PluginError", "announced", "check", "check_fact", "checked_strategy", "plug_in_fact", "strategies_of"]

GROUPS = {"strategy": "pointsman.strategies", "fact": "pointsman.facts"}
_FACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*")


@functools.cache
def announced(kind: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of a kind (`strategy` or `fact`) by name, without loading any."""
    from importlib.metadata import entry_points  # slow to load, and most processes have no use for it

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUPS[kind]):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _loaded(kind: str, name: str) -> Any:
    """Return what an entry point names. Raise PluginError when there is none, are several, or it cannot be imported."""
    points = announced(kind).get(name, ())
    if len(points) != 1:
        brings = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise PluginError(
            f"several packages bring it: {brings}" if points else "no package that is installed brings it"
        )
    try:
        invalidate_caches()  # it may have been installed since this process began
        return points[0].load()
    except (Exception, SystemExit) as error:  # its module runs here, and may do anything
        raise PluginError(f"{points[0].value} cannot be loaded: {type(error).__name__}: {str(error)[:200]}") from error


@functools.cache
def checked_strategy(name: str) -> str:
    """Return what is wrong with a plug-in's strategy, after trying it; "" for nothing."""
    try:
        rank = _loaded("strategy", name)
        if not callable(rank):
            return "it is no function"
        check(rank)
    except PluginError as error:
        return str(error)
    return ""


def strategies_of(policy: Policy, *, again: bool = False) -> Mapping[str, Strategy]:
    """Return the strategies of a policy's routes. Raise PluginError when one is not installed here.

    A plug-in that fails leaves the ranking to the route's fallback. With `again` decisions are made from records, which say
    when it failed: then failing, or not being installed, raises PluginError where it would have to rank.
    """
    announced.cache_clear()
    names = {route.strategy for route in policy.routes.values()} - STRATEGIES.keys()
    return {**STRATEGIES, **{name: _strategy(name, again=again) for name in names}} if names else STRATEGIES


def _strategy(name: str, *, again: bool) -> Strategy:
    rank = _recorded(name) if again else _guarded(name, _found(name))

    def draw(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> int:
        return rank(options, eligible, features, snapshot).order[0]

    return Strategy(name, rank, draw, plugin=True)


def _found(name: str) -> Rank:
    try:
        return _loaded("strategy", name)  # type: ignore[no-any-return]
    except PluginError as error:
        raise PluginError(f"the strategy {name}: {error}") from None


def _guarded(name: str, rank: Rank) -> Rank:
    def guarded(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
        if snapshot.detail is not None and snapshot.detail.fallback:
            return _instead(options, eligible, features, snapshot)
        try:
            return GUARDS.call(
                name,
                lambda: rank(options, eligible, features, snapshot),
                lambda ranking: ranking_fault(ranking, eligible),
            )
        except Failed as failed:
            return _instead(options, eligible, features, snapshot, str(failed))

    return guarded


def _recorded(name: str) -> Rank:
    try:
        rank, missing = _found(name), None
    except PluginError as error:
        rank, missing = None, error

    def recorded(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
        if snapshot.detail is not None and snapshot.detail.fallback:
            return _instead(options, eligible, features, snapshot)
        if rank is None:
            raise PluginError(str(missing))
        try:
            ranking = rank(options, eligible, features, snapshot)
        except (Exception, SystemExit) as error:  # noqa: BLE001  it did not when the decision was made: other code
            raise PluginError(f"{name} raised {type(error).__name__}") from None
        if fault := ranking_fault(ranking, eligible):
            raise PluginError(f"{name} {fault}")
        return ranking

    return recorded


def _instead(
    options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot, why: str = ""
) -> Ranking:
    """Return the ranking of the route's fallback, and why it is that: as recorded, or `why`."""
    ranking = STRATEGIES[options.route.fallback].rank(options, eligible, features, snapshot)
    recorded = snapshot.detail.fallback if snapshot.detail is not None else ""
    return msgspec.structs.replace(ranking, why=recorded or why)


def plug_in_fact(name: str, *, checked: bool = False) -> bool:
    """Take in a plug-in's fact, unless it is there; return whether there is one of this name. `checked`: try it first.

    Raise PluginError when it cannot be used.
    """
    if name in PLUGGED:
        return True
    if name not in announced("fact"):
        return False
    prefix = name.partition(".")[0]
    if not _FACT_NAME.fullmatch(name) or any(fact.startswith(f"{prefix}.") for fact in FACTS if fact not in PLUGGED):
        raise PluginError(f"the fact {name}: its name must be PACKAGE.WORD, with no group of ours for the package")
    try:
        plugin = _loaded("fact", name)
        if checked:
            check_fact(plugin)
        plug_in(name, plugin.fact, _guarded_value(name, plugin.fact, plugin))
    except (PluginError, AttributeError) as error:
        raise PluginError(f"the fact {name}: {error}") from None
    return True


def _guarded_value(name: str, fact: Fact, plugin: Any) -> Any:
    def value(case: Case) -> FactValue:
        try:
            return GUARDS.call(name, lambda: plugin.value(case), lambda found: value_fault(fact, found))  # type: ignore[no-any-return]
        except Failed:
            return fact.empty

    return value

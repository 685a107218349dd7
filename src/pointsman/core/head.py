"""Head: what the row of a request says of its decision, for less work than the whole of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, Filed, Sparse, decision_of
from pointsman.core.filters import fits_all
from pointsman.core.health import State
from pointsman.core.options import Options, cost_nano
from pointsman.core.request import Features
from pointsman.core.strategy import Lead, Snapshot


class Head(msgspec.Struct, frozen=True, gc=False):
    """Hold what a row says of a Decision, and what the call was predicted to cost, in nano-dollars; -1: unpriced. `planned` is
    the deployment that was drawn, "" and `probability` None where there is none."""

    route: str
    strategy: str
    planned: str
    hold_nano: int
    reason: str
    probability: float | None
    path: str = ""
    arm: str = ""
    arm_probability: float | None = None


def head_of(decision: Decision, hold_nano: int) -> Head:
    """Return the head of a decision that was made."""
    d = decision
    return Head(
        d.route,
        d.strategy,
        d.candidates[d.order[0]] if d.order else "",
        hold_nano,
        d.reason,
        d.probabilities[0] if d.probabilities else None,
        ", ".join(d.path),
        d.arm,
        d.arm_probability if d.arm else None,
    )


class Way(msgspec.Struct, frozen=True, gc=False):
    """Hold what is the same for every request that asks for one model and comes to one route of a policy. `short`: in the usual
    case the strategy alone decides. `lead`: what it says of all candidates; `blind`: without a look at their states."""

    options: Options
    routes: Mapping[str, Options]
    short: bool
    plugin: bool
    lead: Lead
    blind: bool


def way_of(asked_model: str, route: str, routes: Mapping[str, Options]) -> Way:
    """Return the Way of a request. Raise KeyError when the route is not in the policy."""
    options, asked = routes[route], routes.get(asked_model)
    strategy, dynamic = options.strategy, asked is not None and asked.dynamic
    short = options.plain and not dynamic and not strategy.plugin
    blind = strategy.lead is not None and not strategy.by_state
    return Way(options, routes, short, strategy.plugin, _lead(options, options.positions), blind)


def head(filed: Filed, way: Way) -> Head:
    """Return the head of `decision_of`, equal for every record. Raise ValueError when the states that it takes are not those of
    the candidates."""
    features, options = filed.request.features, way.options
    if not way.short or not fits_all(options, features):
        return _long(filed, way)
    sparse, lead = filed.snapshot, way.lead
    if sparse.calm and way.blind:
        snapshot: Any = sparse  # it has all that such a lead, and the cost, look at
    else:
        snapshot = _snapshot(sparse, options)
        if not snapshot.calm:
            states, now_ms = snapshot.states, snapshot.now_ms
            if any(state.ramp_until_ms > now_ms for state in states):
                return _long(filed, way)
            positions = tuple([p for p in options.positions if _is_open(states[p], now_ms)])
            if not positions:
                return _long(filed, way)
            lead = _lead(options, positions)
    position, probability = lead(features, snapshot)
    option = options.options[position]
    hold_nano = cost_nano(options, position, features, snapshot)
    return Head(options.label, options.route.strategy, option.name, hold_nano, option.reason, probability)


def _lead(options: Options, positions: tuple[int, ...]) -> Lead:
    """Return the Lead of a route's strategy; that of one that has none of its own makes the ranking."""
    if options.strategy.lead is not None and positions:
        return options.strategy.lead(options, positions)

    def lead(features: Features, snapshot: Snapshot) -> tuple[int, float]:
        ranking = options.strategy.rank(options, positions, features, snapshot)
        return ranking.order[0], ranking.probabilities[0]

    return lead


def _long(filed: Filed, way: Way) -> Head:
    return head_of(*decision_of(_of(filed, way.options), way.routes))


def _is_open(state: State, now_ms: float) -> bool:
    """Tell whether `core.filters.health` has nothing against a candidate."""
    return not (
        now_ms < state.cool_until_ms
        or now_ms < state.open_until_ms
        or (state.ejections and now_ms < state.probe_until_ms)
        or state.full
    )


def _of(filed: Filed, options: Options) -> Admitted:
    admitted = filed.whole()
    _check(admitted.snapshot, options)
    return admitted


def _snapshot(sparse: Sparse, options: Options) -> Snapshot:
    snapshot = sparse.whole()
    _check(snapshot, options)
    return snapshot


def _check(snapshot: Snapshot, options: Options) -> None:
    if len(snapshot.states) != len(options.options):
        raise ValueError("the snapshot is of other candidates")

"""Head: what the row of a request says of its decision, for less work than the whole of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, Filed, decision_of
from pointsman.core.filters import fits_all
from pointsman.core.health import State
from pointsman.core.options import Options, cost_nano


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
    case the strategy alone decides."""

    options: Options
    routes: Mapping[str, Options]
    short: bool


def way_of(asked_model: str, route: str, routes: Mapping[str, Options]) -> Way:
    """Return the Way of a request. Raise KeyError when the route is not in the policy."""
    options, asked = routes[route], routes.get(asked_model)
    dynamic = asked is not None and asked.dynamic
    return Way(options, routes, options.plain and not dynamic and not options.strategy.plugin)


def head(filed: Filed, way: Way) -> Head:
    """Return the head of `decision_of`, equal for every record. Raise ValueError when the states that it takes are not those of
    the candidates."""
    features, options = filed.request.features, way.options
    strategy, sparse, positions = options.strategy, filed.snapshot, options.positions
    if not way.short or not fits_all(options, features):
        return _long(filed, way)
    if sparse.calm and strategy.lead is not None and not strategy.by_state:
        snapshot: Any = sparse  # it has all that such a lead, and the cost, look at
    else:
        snapshot = _of(filed, options).snapshot
        if not snapshot.calm:
            states, now_ms = snapshot.states, snapshot.now_ms
            if any(state.ramp_until_ms > now_ms for state in states):
                return _long(filed, way)
            positions = tuple([p for p in positions if _is_open(states[p], now_ms)])
            if not positions:
                return _long(filed, way)
    if strategy.lead is not None:
        position, probability = strategy.lead(options, positions, features, snapshot)
    else:
        ranking = strategy.rank(options, positions, features, snapshot)
        position, probability = ranking.order[0], ranking.probabilities[0]
    option = options.options[position]
    hold_nano = cost_nano(options, position, features, snapshot)
    return Head(options.label, options.route.strategy, option.name, hold_nano, option.reason, probability)


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
    if len(admitted.snapshot.states) != len(options.options):
        raise ValueError("the snapshot is of other candidates")
    return admitted

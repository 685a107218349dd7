"""Options: a route's candidates with all that does not change within a config version, precomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import msgspec

from pointsman.core.health import State
from pointsman.core.policy import Deployment, Policy, Route
from pointsman.core.pricing import TOKENS_PER_RATE, Price
from pointsman.core.request import NEED_AUDIO, NEED_FILE, NEED_IMAGE, NEED_JSON_SCHEMA, NEED_TOOLS
from pointsman.core.strategy import Strategy

_MODALITY_NEEDS = {"image": NEED_IMAGE, "audio": NEED_AUDIO, "file": NEED_FILE}
NO_BOUND = 1 << 60  # stands for an unknown window or output limit: unknown is not a no


class Option(msgspec.Struct, frozen=True):
    """Hold one candidate of one route. `lacks` are the NEED_ bits it is known not to meet."""

    deployment: int  # index into Policy.deployments
    name: str
    weight: float
    lacks: int
    context_tokens: int  # NO_BOUND: unknown
    max_output_tokens: int  # NO_BOUND: unknown
    price: Price | None
    reason: str  # what the header says when this one is chosen among several


class Step(msgspec.Struct, frozen=True, gc=False):
    """Hold one send a Plan may make."""

    position: int  # within the route's options
    deployment: int
    ttft_ms: float  # how long to wait for first content
    context_tokens: int  # NO_BOUND: unknown


class Options(msgspec.Struct, frozen=True):
    """Hold a route with its candidates in the operator's order, and what holds for all of them together: a request
    within `lacks_any`, `least_context_tokens` and `least_output_tokens` passes every static filter at once."""

    route: Route
    strategy: Strategy
    options: tuple[Option, ...]
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    positions: tuple[int, ...]
    states_of: Callable[[Sequence[State]], tuple[State, ...]]  # picks the candidates' states from all deployments'
    lacks_any: int
    least_context_tokens: int
    least_output_tokens: int
    all_priced: bool
    attempts: int
    idle_ms: float
    total_ms: float


def options_of(policy: Policy, strategies: Mapping[str, Strategy]) -> dict[str, Options]:
    """Return the Options of every route, by route name. Raise KeyError for a strategy that is not registered."""
    index = {d.name: i for i, d in enumerate(policy.deployments)}
    return {name: _options(policy, route, index, strategies[route.strategy]) for name, route in policy.routes.items()}


def predicted_nano(price: Price | None, input_tokens: int, output_tokens: int) -> int:
    """Return the predicted cost of a call in nano-dollars; -1 when the price is unknown."""
    if price is None:
        return -1
    rates = price.rates
    if price.tiers:
        rates = price.rates_for(input_tokens) or rates
    return (input_tokens * rates.input + output_tokens * rates.output) // TOKENS_PER_RATE + rates.request


def _options(policy: Policy, route: Route, index: dict[str, int], strategy: Strategy) -> Options:
    weights = route.weights or (1.0,) * len(route.candidates)
    options = tuple(
        _option(index[name], policy.deployments[index[name]], weight, route.strategy if len(weights) > 1 else "only")
        for name, weight in zip(route.candidates, weights, strict=True)
    )
    lacks_any = 0
    for option in options:
        lacks_any |= option.lacks
    return Options(
        route=route,
        strategy=strategy,
        options=options,
        steps=tuple(
            Step(p, o.deployment, _ttft_ms(policy, route, o.deployment), o.context_tokens)
            for p, o in enumerate(options)
        ),
        names=tuple(o.name for o in options),
        positions=tuple(range(len(options))),
        states_of=_picker([o.deployment for o in options]),
        lacks_any=lacks_any,
        least_context_tokens=min((o.context_tokens for o in options), default=NO_BOUND),
        least_output_tokens=min((o.max_output_tokens for o in options), default=NO_BOUND),
        all_priced=all(o.price is not None for o in options),
        attempts=route.attempts or policy.limits.attempts,
        idle_ms=float(route.idle_ms or policy.limits.idle_ms),
        total_ms=float(route.total_ms or policy.limits.total_ms),
    )


def _picker(indexes: list[int]) -> Callable[[Sequence[State]], tuple[State, ...]]:
    if len(indexes) == 1:
        only = indexes[0]
        return lambda states: (states[only],)
    return itemgetter(*indexes)


def _ttft_ms(policy: Policy, route: Route, deployment: int) -> float:
    """Return the wait for first content: the route's, else the deployment's, else the default of its kind of model."""
    limits, chosen = policy.limits, policy.deployments[deployment]
    default = limits.ttft_reasoning_ms if chosen.facts.reasoning else limits.ttft_ms
    return float(route.ttft_ms or chosen.ttft_ms or default)


def _option(index: int, deployment: Deployment, weight: float, strategy: str) -> Option:
    facts = deployment.facts
    return Option(
        deployment=index,
        name=deployment.name,
        weight=weight,
        lacks=_lacks(deployment),
        context_tokens=facts.context_tokens or NO_BOUND,
        max_output_tokens=facts.max_output_tokens or NO_BOUND,
        price=deployment.price,
        reason=f"{strategy}:{deployment.name}",
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

"""Explain: a decision in words and as one row a candidate. Pure; terminal, JSON, headers and pages all show this."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from pointsman.core.decide import Decision, Plan
from pointsman.core.health import State, breaker
from pointsman.core.options import NO_DETAIL, Options
from pointsman.core.pricing import NANO_PER_USD
from pointsman.core.request import CATEGORIES, names_of

# What a filter's Reason means to whoever asks why.
REASONS = {
    "": "eligible",
    "capability": "cannot do what the request needs",
    "context": "the request does not fit its context window",
    "output": "more output was asked for than it gives",
    "unpriced": "its price is unknown, and the route forbids that",
    "cooling": "rate limited by the provider",
    "ejected": "ejected after failures",
    "probing": "being probed after failures",
    "ramping": "taking a growing share since its breaker closed, so it stands behind the others this time",
    "quality": "below the route's quality floor",
    "slow": "its p95 time to first token is above the route's limit",
    "cost": "predicted to cost more than the route allows a request",
    "spent": "the route's money of the day is used up",
    "aside": "only tried when an attempt ends as `on` says",
    "rule": "a rule could not be evaluated on this request",
}
# The demands of core.policy.Bounds as the operator writes them.
DEMANDS = {
    "quality_min": "quality_floor",
    "ttft_ms_p95": "limits.ttft_ms_p95",
    "nano_per_request": "limits.usd_per_request",
    "nano_per_day": "limits.usd_per_day",
}


class Candidate(msgspec.Struct, frozen=True):
    """Hold one candidate as the decision saw it.

    `rank` is its place in the plan, 1 the one drawn, None if not eligible. `ttft_ms`, `ttft_p95_ms` and `tokens_per_s` are
    what was expected; `measured_s_ago` is None when that was the prior. `breaker` is closed, open, half_open or cooling.
    """

    deployment: str
    rank: int | None
    reason: str
    score: float | None
    probability: float | None
    ttft_ms: float
    ttft_p95_ms: float | None
    tokens_per_s: float
    measured_s_ago: float | None
    failures: int
    breaker: str
    last_failure: str


def candidates_of(decision: Decision) -> list[Candidate]:
    """Return every candidate of a decision: those of the plan in its order, then the others."""
    places = {position: rank for rank, position in enumerate(decision.order)}
    behind = len(decision.candidates)
    positions = sorted(range(behind), key=lambda position: (places.get(position, behind), position))
    states = decision.snapshot.states
    return [
        _candidate(decision, position, places.get(position), states[position] if position < len(states) else State())
        for position in positions
    ]


def facts_of(decision: Decision) -> dict[str, Any]:
    """Return what the filters and rules looked at."""
    features, detail = decision.features, decision.snapshot.detail or NO_DETAIL
    facts: dict[str, Any] = {
        "input_tokens_estimated": features.input_tokens,
        "output_tokens_limit": features.output_tokens,
        "needs": names_of(features.needs),
        "category": CATEGORIES[features.category],
        "choices": features.choices,
        "stream": features.stream,
        "config": decision.snapshot.version,
    }
    if detail.facts:
        facts["rules_saw"] = detail.facts
    if detail.units:
        facts["units"] = detail.units
    if detail.sticky >= 0:
        facts["conversation_is_with"] = decision.candidates[detail.sticky]
        facts["cached_tokens_expected"] = detail.cached_tokens
    return facts


def sentences(decision: Decision) -> list[str]:
    """Return why the decision is what it is: the way to the route, the choice there, what was given up for it."""
    said = [f"{', then '.join(decision.path)}."] if decision.path else []
    total, eligible = len(decision.candidates), len(decision.order)
    if not eligible:
        why = REASONS.get(decision.reason.partition(":")[2], decision.reason)
        return [*said, f"Route {decision.route}: {_nobody(total)}: {why}."]
    probability = decision.probabilities[0]
    chance = f" with probability {probability:.2f}" if probability < 1.0 else ""
    plural = "s" if total != 1 else ""
    strategy, _, why = decision.strategy.partition(": ")
    said.append(
        f"Route {decision.route}: {strategy}{f' ({why})' if why else ''} chose "
        f"{decision.candidates[decision.order[0]]}{chance}, out of {eligible} eligible of {total} candidate{plural}."
    )
    if decision.relaxed:
        given_up = ", ".join(DEMANDS[name] for name in decision.relaxed)
        said.append(f"Nobody met all demands, so it gave up {given_up}.")
    return said


def told(asked: str, options: Options, plan: Plan, decision: Decision) -> dict[str, Any]:
    """Return a decision as data for people and programs: what POST /v1/route and `pointsman route --json` answer.

    `predicted_usd` is what the first send is predicted to cost, None when its price is unknown; `ladder` is what follows
    when no candidate answers; `refused` is the Reason in the way when there is nobody to send to, else "".
    """
    first = decision.order[0] if decision.order else -1
    return {
        "asked": asked,
        "route": decision.route,
        "path": list(decision.path),
        "arm": decision.arm,
        "arm_probability": decision.arm_probability if decision.arm else None,
        "strategy": decision.strategy,
        "deployment": decision.candidates[first] if first >= 0 else None,
        "degraded": options.options[first].rung if first >= 0 else "",
        "predicted_usd": plan.hold_nano / NANO_PER_USD if first >= 0 and plan.hold_nano >= 0 else None,
        "reason": decision.reason,
        "why": sentences(decision),
        "relaxed": [DEMANDS[name] for name in decision.relaxed],
        "refused": "" if first >= 0 else decision.reason.partition(":")[2],
        "attempts": plan.attempts,
        "plan": [decision.candidates[position] for position in decision.order],
        "on": {kind: [options.names[p] for p in positions] for kind, positions in options.on.items()},
        "ladder": [rung.name for rung in options.last],
        "candidates": [msgspec.to_builtins(candidate) for candidate in candidates_of(decision)],
        "facts": facts_of(decision),
    }


def _nobody(total: int) -> str:
    return "its only candidate could not take it" if total == 1 else f"none of its {total} candidates could take it"


def _candidate(decision: Decision, position: int, rank: int | None, state: State) -> Candidate:
    now_ms = decision.snapshot.now_ms
    return Candidate(
        deployment=decision.candidates[position],
        rank=None if rank is None else rank + 1,
        reason=decision.reasons[position] if decision.reasons else "" if rank is not None else "aside",
        score=_at(decision.scores, rank),
        probability=_at(decision.probabilities, rank),
        ttft_ms=round(state.ttft_ms if not math.isinf(state.measured_ms) else state.prior_ms, 3),
        ttft_p95_ms=round(state.ttft_p95_ms, 3) or None,
        tokens_per_s=round(state.tps, 3),
        measured_s_ago=None if math.isinf(state.measured_ms) else round((now_ms - state.measured_ms) / 1000, 3),
        failures=state.failures,
        breaker=breaker(state, now_ms),
        last_failure=state.why,
    )


def _at(values: tuple[float, ...], rank: int | None) -> float | None:
    return values[rank] if rank is not None and rank < len(values) and math.isfinite(values[rank]) else None

"""Explanation: why a request went where it went, from its ledger entry. Pure; terminal, JSON and page all show this."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.health import State, breaker
from pointsman.core.request import names_of
from pointsman.stores.ledger import Entry

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
}


class Candidate(msgspec.Struct, frozen=True):
    """Hold one candidate as the decision saw it.

    `rank` is its place in the plan, 1 the one drawn, None if not eligible. `ttft_ms` and `tokens_per_s` are what was
    expected; `measured_s_ago` is None when that was the prior. `breaker` is closed, open, half_open or cooling.
    """

    deployment: str
    rank: int | None
    reason: str
    score: float | None
    probability: float | None
    ttft_ms: float
    tokens_per_s: float
    measured_s_ago: float | None
    failures: int
    breaker: str
    last_failure: str


class Explanation(msgspec.Struct, frozen=True):
    """Hold an entry made readable. `why` are sentences; `facts` what the filters looked at; `seed` the only chance."""

    id: str
    why: list[str]
    facts: dict[str, Any]
    candidates: list[Candidate]
    attempts: list[dict[str, Any]]
    request: dict[str, Any]
    seed: str


def explain(entry: Entry) -> Explanation:
    """Return the explanation of an entry; without its Decision, what the rows alone tell."""
    decision, row = entry.decision, entry.request
    return Explanation(
        id=row["id"],
        why=_why(decision, row, entry.attempts),
        facts=_facts(decision) if decision is not None else {},
        candidates=candidates_of(decision) if decision is not None else [],
        attempts=entry.attempts,
        request=row,
        seed=repr(decision.snapshot.seed) if decision is not None else "",
    )


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


def _candidate(decision: Decision, position: int, rank: int | None, state: State) -> Candidate:
    now_ms = decision.snapshot.now_ms
    return Candidate(
        deployment=decision.candidates[position],
        rank=None if rank is None else rank + 1,
        reason=decision.reasons[position] if decision.reasons else "",
        score=_at(decision.scores, rank),
        probability=_at(decision.probabilities, rank),
        ttft_ms=round(state.ttft_ms, 3),
        tokens_per_s=round(state.tps, 3),
        measured_s_ago=None if math.isinf(state.measured_ms) else round((now_ms - state.measured_ms) / 1000, 3),
        failures=state.failures,
        breaker=breaker(state, now_ms),
        last_failure=state.why,
    )


def _at(values: tuple[float, ...], rank: int | None) -> float | None:
    return values[rank] if rank is not None and rank < len(values) and math.isfinite(values[rank]) else None


def _facts(decision: Decision) -> dict[str, Any]:
    features = decision.features
    return {
        "input_tokens_estimated": features.input_tokens,
        "output_tokens_limit": features.output_tokens,
        "needs": names_of(features.needs),
        "choices": features.choices,
        "stream": features.stream,
        "config": decision.snapshot.version,
    }


def _why(decision: Decision | None, row: dict[str, Any], attempts: list[dict[str, Any]]) -> list[str]:
    said = (
        [_choice(decision, row)]
        if decision is not None
        else [f"The decision is not readable; reason: {row['reason']}."]
    )
    for before, after in pairwise(attempts):
        again = "tried again" if after["deployment"] == before["deployment"] else f"went on to {after['deployment']}"
        said.append(f"{before['deployment']} ended with {before['outcome']}, so the router {again}.")
    if row["recovered"]:
        said.append("The worker died before the end, so the predicted cost is charged as an estimate.")
    elif not attempts:
        said.append("Nothing was sent.")
    elif row["outcome"] == "ok":
        said.append(f"{attempts[-1]['deployment']} answered.")
    else:
        said.append(f"{attempts[-1]['deployment']} ended it with {row['outcome']}.")
    return said


def _choice(decision: Decision, row: dict[str, Any]) -> str:
    total, eligible = len(decision.candidates), len(decision.order)
    if not eligible:
        return f"Route {decision.route}: none of {total} candidates could take it ({decision.reason})."
    probability = row["probability"]
    chance = f" with probability {probability:.2f}" if probability is not None and probability < 1.0 else ""
    return (
        f"Route {decision.route}: {decision.strategy} chose {row['planned']}{chance}, "
        f"out of {eligible} eligible of {total} candidate{'s' if total != 1 else ''}."
    )

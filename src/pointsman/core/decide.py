"""Decide: (request, options, snapshot, strategy) -> (Plan, Decision). Pure, total and deterministic."""

from __future__ import annotations

import msgspec

from pointsman.core.filters import HEALTH_REASONS, Reason, fits_all, health, static
from pointsman.core.options import Options, Step, predicted_nano
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Snapshot


class Decision(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold why: each candidate with Reason, score and probability, and the snapshot, so that it can be replayed.

    `order` holds positions within `candidates`, as planned; `reasons` stands beside `candidates`, `scores` and
    `probabilities` beside `order`. `reason` is the short one, for the header.
    """

    route: str
    strategy: str
    snapshot: Snapshot
    features: Features
    candidates: tuple[str, ...]
    reasons: tuple[str, ...]  # a Reason each; () when all were eligible
    order: tuple[int, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    reason: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Hold what to do: `steps` to try in `order` (none: nobody can serve), the bound on sends, and what the first is
    predicted to cost."""

    order: tuple[int, ...]
    steps: tuple[Step, ...]  # by position
    attempts: int
    hold_nano: int  # -1: unpriced
    deadline_ms: float
    idle_ms: float
    refused: str = ""  # when there is no step: the Reason that stands in the way
    wait_ms: float = 0.0  # when there is no step: how long until one may be tried; 0: waiting does not help


def first(request: Request, options: Options, snapshot: Snapshot) -> int:
    """Return the position that `decide` would put first, -1 when it would put none: all that a first send needs."""
    features = request.features
    eligible, _ = _filter(options, snapshot, features)
    if not eligible:
        return -1
    return options.strategy.draw(options, eligible, features, snapshot)


def decide(request: Request, options: Options, snapshot: Snapshot) -> tuple[Plan, Decision]:
    """Return what to do and why. Never raises; a request that nobody can serve gives a Plan without steps."""
    features, route = request.features, options.route
    eligible, reasons = _filter(options, snapshot, features)
    if not eligible:
        return _nobody(request, options, snapshot, reasons)
    ranking = options.strategy.rank(options, eligible, features, snapshot)
    order = ranking.order
    chosen = options.options[order[0]]
    plan = Plan(
        order,
        options.steps,
        options.attempts if request.attempts is None else max(1, min(request.attempts, options.attempts)),
        predicted_nano(chosen.price, features.input_tokens, features.predicted_output_tokens),
        request.deadline_ms,
        options.idle_ms,
    )
    decision = Decision(
        route.name,
        route.strategy,
        snapshot,
        features,
        options.names,
        reasons,
        order,
        ranking.scores,
        ranking.probabilities,
        chosen.reason,
    )
    return plan, decision


def _filter(options: Options, snapshot: Snapshot, features: Features) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the eligible positions, and a Reason for each candidate unless all are eligible."""
    now_ms = snapshot.now_ms
    if snapshot.calm and fits_all(options, features):
        return options.positions, ()
    reasons = [
        static(options, option, features) or health(state, now_ms)
        for option, state in zip(options.options, snapshot.states, strict=True)
    ]
    eligible = tuple([p for p, reason in enumerate(reasons) if not reason])
    return (eligible, ()) if len(eligible) == len(reasons) else (eligible, tuple([r.value for r in reasons]))


def _nobody(request: Request, options: Options, snapshot: Snapshot, reasons: tuple[str, ...]) -> tuple[Plan, Decision]:
    """Return an empty Plan that names what is in the way: health where waiting helps, else the commonest refusal."""
    waits = [
        (max(s.cool_until_ms, s.open_until_ms, s.probe_until_ms) - snapshot.now_ms, reason)
        for s, reason in zip(snapshot.states, reasons, strict=True)
        if reason in HEALTH_REASONS
    ]
    if waits:
        wait_ms, refused = min(waits)
    else:
        wait_ms, refused = 0.0, max(set(reasons), key=lambda r: (reasons.count(r), r), default=Reason.CAPABILITY)
    route = options.route
    plan = Plan((), options.steps, 0, 0, request.deadline_ms, 0.0, refused, max(1.0, wait_ms) if waits else 0.0)
    decision = Decision(
        route.name,
        route.strategy,
        snapshot,
        request.features,
        options.names,
        reasons,
        (),
        (),
        (),
        f"nobody:{refused}",
    )
    return plan, decision

"""Objective strategies: predicted quality, alone or weighed against predicted cost and latency."""

from __future__ import annotations

from pointsman.core.health import FRESH_MS, predicted_ttft_ms
from pointsman.core.options import Options, costs_nano
from pointsman.core.request import Features
from pointsman.core.strategy import Lead, Ranking, Snapshot
from pointsman.strategies.registry import strategy


def lead_best(options: Options, eligible: tuple[int, ...]) -> Lead:
    """Return what says which candidate `best` takes; it is certain."""

    def lead(features: Features, snapshot: Snapshot) -> tuple[int, float]:
        quality = options.quality[features.category]
        costs = dict(zip(eligible, costs_nano(options, eligible, features, snapshot), strict=True))
        return min(eligible, key=lambda p: (-quality[p], costs[p] < 0, costs[p])), 1.0

    return lead


@strategy("best", by_cost=True, lead=lead_best)
def best(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Take the candidate with the highest predicted quality for the task's category; of equals the cheaper, then the
    operator's order. Score: quality, 0 to 1; -1 when unknown."""
    quality = options.quality[features.category]
    costs = dict(zip(eligible, costs_nano(options, eligible, features, snapshot), strict=True))
    order = tuple(sorted(eligible, key=lambda p: (-quality[p], costs[p] < 0, costs[p])))
    return Ranking(order, (1.0,) + (0.0,) * (len(order) - 1), tuple([quality[p] for p in order]))


@strategy("objective", by_cost=True)
def objective(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Take the candidate with the highest weighted mean of three scores, each from 0 to 1 and of one candidate alone, so
    that adding a candidate never changes the order of the others; the operator's order breaks ties.

    quality: as predicted, 0.5 when unknown. latency: 1 / (1 + ms / half_ms), with ms to the last predicted token.
    cost: 1 / (1 + nano / half_nano); 0 when the price is unknown. (Hyperbolic scores: half at the half-point, never
    negative, and twice as dear or slow is never twice as bad near zero.)
    """
    goal = options.objective
    quality = options.quality[features.category]
    total = goal.quality + goal.latency + goal.cost or 1.0
    wq, wl, wc = goal.quality / total, goal.latency / total, goal.cost / total
    half_ms, half_nano = goal.half_ms, goal.half_nano
    output_tokens, now_ms, states = features.predicted_output_tokens, snapshot.now_ms, snapshot.states
    scores = {p: wq * (known if (known := quality[p]) >= 0.0 else 0.5) for p in eligible}
    if wl:
        fresh_ms, output_ms = now_ms - FRESH_MS, output_tokens * 1000.0
        for p in eligible:
            s = states[p]
            ttft_ms = s.ttft_ms if s.measured_ms > fresh_ms else predicted_ttft_ms(s, now_ms)
            scores[p] += wl * half_ms / (half_ms + ttft_ms + output_ms / s.tps)
    if wc:
        for p, nano in zip(eligible, costs_nano(options, eligible, features, snapshot), strict=True):
            if nano >= 0:
                scores[p] += wc * half_nano / (half_nano + nano)
    order = tuple(sorted(eligible, key=scores.__getitem__, reverse=True))  # stable: the operator's order breaks ties
    return Ranking(order, (1.0,) + (0.0,) * (len(order) - 1), tuple([scores[p] for p in order]))

"""Cost strategies: what the call is predicted to cost."""

from __future__ import annotations

import math

from pointsman.core.options import Options, costs_nano
from pointsman.core.request import Features
from pointsman.core.strategy import Lead, Ranking, Snapshot
from pointsman.strategies.registry import strategy


def lead_cheapest(options: Options, eligible: tuple[int, ...]) -> Lead:
    """Return what says which candidate `cheapest` takes; it is certain."""

    def lead(features: Features, snapshot: Snapshot) -> tuple[int, float]:
        costs = costs_nano(options, eligible, features, snapshot)
        scores = {p: math.inf if cost < 0 else float(cost) for p, cost in zip(eligible, costs, strict=True)}
        return min(eligible, key=scores.__getitem__), 1.0

    return lead


@strategy("cheapest", by_cost=True, lead=lead_cheapest)
def cheapest(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Take the candidate with the lowest predicted cost; the operator's order breaks ties, unknown prices come last.
    Score: nano-dollars predicted; infinite when unpriced."""
    costs = zip(eligible, costs_nano(options, eligible, features, snapshot), strict=True)
    scores = {p: math.inf if cost < 0 else float(cost) for p, cost in costs}
    order = tuple(sorted(eligible, key=scores.__getitem__))
    return Ranking(order, (1.0,) + (0.0,) * (len(order) - 1), tuple([scores[p] for p in order]))

"""Fixed strategies: the operator's order, or the operator's weights."""

from __future__ import annotations

from pointsman.core.decide import Ranking, Snapshot
from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.strategies.registry import strategy


@strategy("priority")
def priority(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Take the first candidate that can answer, in the order written. Score: its place in that order."""
    return Ranking(eligible, (1.0,) + (0.0,) * (len(eligible) - 1), tuple(map(float, eligible)))


@strategy("weighted")
def weighted(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Draw a candidate in proportion to the weights; the others follow by weight. Score: the weight."""
    weights = tuple([options.options[p].weight for p in eligible])
    total = sum(weights)
    point, drawn = (snapshot.seed & 0xFFFFFFFF) / 2**32 * total, len(weights) - 1
    for i, weight in enumerate(weights):
        point -= weight
        if point < 0.0:
            drawn = i
            break
    rest = sorted([i for i in range(len(weights)) if i != drawn], key=lambda i: -weights[i])
    order = (eligible[drawn], *[eligible[i] for i in rest])
    return Ranking(order, tuple([w / total for w in weights]), weights)

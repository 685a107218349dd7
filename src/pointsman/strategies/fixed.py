"""Fixed strategies: the operator's order, or the operator's weights."""

from __future__ import annotations

from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.core.strategy import Lead, Ranking, Snapshot
from pointsman.strategies.registry import strategy


def draw_priority(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> int:
    """Return the first candidate that can answer."""
    return eligible[0]


def lead_priority(options: Options, eligible: tuple[int, ...]) -> Lead:
    """Return what says that it is the first candidate that can answer, for certain."""
    first = eligible[0], 1.0
    return lambda features, snapshot: first


@strategy("priority", draw_priority, lead=lead_priority)
def priority(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Take the first candidate that can answer, in the order written. Score: its place in that order."""
    return Ranking(eligible, (1.0,) + (0.0,) * (len(eligible) - 1), tuple(map(float, eligible)))


def lead_weighted(options: Options, eligible: tuple[int, ...]) -> Lead:
    """Return what says which candidate `weighted` draws, and its share of the weights."""
    weights = [(p, options.options[p].weight) for p in eligible]
    # Added as `weighted` does: from Python 3.12 on a sum is rounded better.
    total = sum([weight for _, weight in weights])

    def lead(features: Features, snapshot: Snapshot) -> tuple[int, float]:
        point = snapshot.seed * total
        for drawn, weight in weights:  # noqa: B007
            point -= weight  # one after the other, as `weighted` does: sums made before would be rounded otherwise
            if point < 0.0:
                break
        return drawn, weight / total

    return lead


@strategy("weighted", lead=lead_weighted)
def weighted(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Draw a candidate in proportion to the weights; the others follow by weight. Score: the weight."""
    weights = {p: options.options[p].weight for p in eligible}
    total = sum(weights.values())
    point, drawn = snapshot.seed * total, eligible[-1]
    for p, weight in weights.items():
        point -= weight
        if point < 0.0:
            drawn = p
            break
    order = (drawn, *sorted([p for p in eligible if p != drawn], key=lambda p: -weights[p]))
    return Ranking(order, tuple([weights[p] / total for p in order]), tuple([weights[p] for p in order]))

"""Latency strategies: what the last seconds measured."""

from __future__ import annotations

from pointsman.core.decide import Ranking, Snapshot
from pointsman.core.health import predicted_ms
from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.strategies.registry import strategy


@strategy("fastest")
def fastest(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Draw two candidates and take the one predicted to finish first: power of two choices over peak EWMA.

    Score: milliseconds predicted for the whole answer (time to first token + output / tokens per second). Drawing two
    keeps a crowd from running to one deployment, and still never takes the slowest of three or more. With n candidates
    the one that k others beat wins the draw with probability 2(n-1-k) / n(n-1).
    (Mitzenmacher, "The power of two choices in randomized load balancing", 2001; peak EWMA as in finagle.)
    """
    output_tokens, now_ms, states = features.predicted_output_tokens, snapshot.now_ms, snapshot.states
    scores = tuple([predicted_ms(states[p], now_ms, output_tokens) for p in eligible])
    count = len(scores)
    if count == 1:
        return Ranking(eligible, (1.0,), scores)
    ranked = sorted(range(count), key=scores.__getitem__)
    share = 2.0 / (count * (count - 1))
    probabilities = [0.0] * count
    for beaten, i in enumerate(reversed(ranked)):
        probabilities[i] = beaten * share
    # Two distinct places of the ranking, each pair equally likely; the lower place is the faster one.
    a = (snapshot.seed & 0xFFFFFFFF) * count >> 32
    b = (snapshot.seed >> 32 & 0xFFFFFFFF) * (count - 1) >> 32
    drawn = ranked.pop(min(a, b + 1 if b >= a else b))
    return Ranking((eligible[drawn], *[eligible[i] for i in ranked]), tuple(probabilities), scores)

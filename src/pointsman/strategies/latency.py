"""Latency strategies: what the last seconds measured."""

from __future__ import annotations

from functools import lru_cache

from pointsman.core.decide import Ranking, Snapshot
from pointsman.core.health import FRESH_MS, predicted_ttft_ms
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
    output_ms, now_ms, states = features.predicted_output_tokens * 1000.0, snapshot.now_ms, snapshot.states
    fresh_ms = now_ms - FRESH_MS
    ranked = [
        (
            (s.ttft_ms if (s := states[p]).measured_ms > fresh_ms else predicted_ttft_ms(s, now_ms))
            + output_ms / s.tps,
            p,
        )
        for p in eligible
    ]
    count = len(ranked)
    if count == 1:
        return Ranking(eligible, (1.0,), (ranked[0][0],))
    ranked.sort()
    # Two distinct places of the ranking, each pair equally likely; the lower place is the faster one.
    a = (snapshot.seed & 0xFFFFFFFF) * count >> 32
    b = (snapshot.seed >> 32 & 0xFFFFFFFF) * (count - 1) >> 32
    place = min(a, b + 1 if b >= a else b)
    ranked.insert(0, ranked.pop(place))
    scores, order = zip(*ranked, strict=True)
    return Ranking(order, _probabilities(count, place), scores)


@lru_cache(maxsize=4096)
def _probabilities(count: int, place: int) -> tuple[float, ...]:
    """Return the probability of each place of the ranking, the drawn one moved to the front as in `order`."""
    pairs = count * (count - 1)
    by_place = [2.0 * (count - 1 - k) / pairs for k in range(count)]
    by_place.insert(0, by_place.pop(place))
    return tuple(by_place)

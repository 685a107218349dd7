"""Latency strategies: what the last seconds measured."""

from __future__ import annotations

from pointsman.core.health import FRESH_MS, predicted_ms, predicted_ttft_ms
from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.core.strategy import Lead, Ranking, Snapshot
from pointsman.strategies.registry import strategy


def draw_fastest(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> int:
    """Return the better of two drawn candidates: all that `fastest` needs to know for a first send."""
    count = len(eligible)
    if count == 1:
        return eligible[0]
    # Two distinct candidates, each pair equally likely: the whole part of the scaled seed draws one, the rest the other.
    scaled = snapshot.seed * count
    a = int(scaled)
    b = int((scaled - a) * (count - 1))
    p, q = eligible[a], eligible[b if b < a else b + 1]
    output_ms, now_ms, states = features.predicted_output_tokens * 1000.0, snapshot.now_ms, snapshot.states
    s, t = states[p], states[q]
    fresh_ms = now_ms - FRESH_MS
    of_p = (s.ttft_ms if s.measured_ms > fresh_ms else predicted_ttft_ms(s, now_ms)) + output_ms / s.tps
    of_q = (t.ttft_ms if t.measured_ms > fresh_ms else predicted_ttft_ms(t, now_ms)) + output_ms / t.tps
    return p if of_p < of_q or (of_p == of_q and p < q) else q


def lead_fastest(options: Options, eligible: tuple[int, ...]) -> Lead:
    """Return what says which candidate `fastest` draws, and the probability of that."""
    count = len(eligible)
    if count == 1:
        only = eligible[0], 1.0
        return lambda features, snapshot: only
    pairs = count * (count - 1)

    def lead(features: Features, snapshot: Snapshot) -> tuple[int, float]:
        output_ms, now_ms, states = features.predicted_output_tokens * 1000.0, snapshot.now_ms, snapshot.states
        fresh_ms = now_ms - FRESH_MS
        scores = [
            (s.ttft_ms if s.measured_ms > fresh_ms else predicted_ttft_ms(s, now_ms)) + output_ms / s.tps
            for s in [states[p] for p in eligible]
        ]
        # Places within `eligible`, which stand as its positions do: drawn as in `draw_fastest`.
        scaled = snapshot.seed * count
        a = int(scaled)
        b = int((scaled - a) * (count - 1))
        b = b if b < a else b + 1
        drawn = a if scores[a] < scores[b] or (scores[a] == scores[b] and a < b) else b
        own = scores[drawn]
        beaten_by = sum([score < own for score in scores])
        if scores.count(own) > 1:
            beaten_by += scores[:drawn].count(own)
        return eligible[drawn], 2.0 * (count - 1 - beaten_by) / pairs

    return lead


@strategy("fastest", draw_fastest, lead=lead_fastest, by_state=True)
def fastest(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> Ranking:
    """Draw two candidates and take the one predicted to finish first: power of two choices over peak EWMA.

    Score: milliseconds predicted for the whole answer (time to first token + output / tokens per second). Drawing two
    keeps a crowd from running to one deployment, and still never takes the slowest of three or more. With n candidates
    the one that k others beat wins the draw with probability 2(n-1-k) / n(n-1).
    (Mitzenmacher, "The power of two choices in randomized load balancing", 2001; peak EWMA as in finagle.)
    """
    output_tokens = features.predicted_output_tokens
    scores = {p: predicted_ms(snapshot.states[p], snapshot.now_ms, output_tokens) for p in eligible}
    ranked = sorted(eligible, key=lambda p: (scores[p], p))
    count = len(ranked)
    pairs = count * (count - 1) or 1
    chances = {p: 2.0 * (count - 1 - k) / pairs for k, p in enumerate(ranked)} if count > 1 else {ranked[0]: 1.0}
    drawn = draw_fastest(options, eligible, features, snapshot)
    order = (drawn, *[p for p in ranked if p != drawn])
    return Ranking(order, tuple([chances[p] for p in order]), tuple([scores[p] for p in order]))

"""Measured: the quantiles of each deployment's last minute, and what to expect of those not measured; once a second."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pointsman.core.health import State
from pointsman.core.kin import priors
from pointsman.core.sketch import Sketch

LIVELY_MS = 60_000.0  # a latency older than this says nothing of the deployment's kin


class Measured:
    """Hold one Sketch for each deployment, in the order of the present World. `kinds`: see core.kin.priors."""

    def __init__(self, kinds: Sequence[tuple[str, str]], sketches: list[Sketch]) -> None:
        self.sketches = sketches
        self.uncounted = [0] * len(sketches)  # successes since the last that was folded into the state
        self._kinds = kinds

    def refresh(self, states: Sequence[State], now_ms: float) -> list[tuple[int, State]]:
        """Return the states that quantiles and priors change, by place; one that says the same already is left alone."""
        changed: list[tuple[int, State]] = []
        measured = [s.ttft_ms if now_ms - s.measured_ms < LIVELY_MS else 0.0 for s in states]
        expected = priors(self._kinds, measured)
        for index, (sketch, state) in enumerate(zip(self.sketches, states, strict=True)):
            sketch.turn(now_ms)
            p95_ms = sketch.quantile(0.95) if sketch.count else state.ttft_p95_ms
            if (p95_ms, sketch.count, expected[index]) != (state.ttft_p95_ms, state.sampled, state.prior_ms):
                fresh = replace(state, ttft_p95_ms=p95_ms, sampled=sketch.count, prior_ms=expected[index])
                changed.append((index, fresh))
        return changed

"""Sketch: quantiles of what was measured in the last minute, in constant memory, without keeping the values.

Buckets grow by a constant factor, so a quantile is right within `ACCURACY` of its value wherever it lies (the idea of
DDSketch: Masson, Rim, Lee, VLDB 2019). Two halves of a minute take turns, so old values leave by themselves.
"""

from __future__ import annotations

from math import exp, log

ACCURACY = 0.05  # relative
_GROWTH = (1.0 + ACCURACY) / (1.0 - ACCURACY)
_PER_LOG = 1.0 / log(_GROWTH)
LEAST, MOST = 0.1, 3_600_000.0  # values beyond are counted as these
_BUCKETS = int(log(MOST / LEAST) * _PER_LOG) + 2
HALF_MS = 30_000.0


class Sketch:
    """Count positive values, such as milliseconds."""

    __slots__ = ("_before", "_now", "_turned_ms", "count")

    def __init__(self, now_ms: float) -> None:
        self._now = [0] * _BUCKETS
        self._before = [0] * _BUCKETS
        self._turned_ms = now_ms
        self.count = 0  # of values in both halves

    def add(self, value: float) -> None:
        """Count a value."""
        bounded = LEAST if value < LEAST else MOST if value > MOST else value
        self._now[int(log(bounded / LEAST) * _PER_LOG)] += 1
        self.count += 1

    def turn(self, now_ms: float) -> None:
        """Let values older than two halves go. To be called at least once a half."""
        age_ms = now_ms - self._turned_ms
        if age_ms < HALF_MS:
            return
        self._before = self._now if age_ms < 2.0 * HALF_MS else [0] * _BUCKETS
        self._now = [0] * _BUCKETS
        self._turned_ms = now_ms
        self.count = sum(self._before)

    def quantile(self, share: float) -> float:
        """Return the value that `share` (0..1) of the counted values do not exceed; 0.0 when there are none."""
        rank = share * (self.count - 1)
        seen = 0
        for index, (now, before) in enumerate(zip(self._now, self._before, strict=True)):
            seen += now + before
            if seen > rank:
                return LEAST * exp((index + 0.5) / _PER_LOG)
        return 0.0

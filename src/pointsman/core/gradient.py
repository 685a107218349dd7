"""Gradient: find how many requests a deployment serves well at a time, from its time to first content alone.

The adaptive concurrency filter of Envoy, gradient controller
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/adaptive_concurrency_filter):
gradient = (minRTT + B) / sampleRTT, limit = gradient x limit + headroom, headroom = sqrt(limit). Three things differ. The
RTT is the time to first content: the time to the last token is mostly the length of the answer. While minRTT is measured
the limit is quartered, not pinned to three: a request takes seconds here, and three at a time would be an outage. And as in
Netflix' concurrency-limits (Gradient2Limit) the limit does not grow while less than half of it is used.
"""

from __future__ import annotations

from math import sqrt
from statistics import median

LEAST, MOST = 1.0, 1000.0
FIRST = 4.0  # few, for the first measurement; it grows with every window
MEASURED_AT = 0.25  # of the limit, which may be twice what is served at once
MEASURED_LEAST = 3.0
BUFFER = 0.25  # of minRTT: what a sample may be above it without lowering the limit
GRADIENTS = (0.5, 2.0)  # bounds of one step
WINDOW_SAMPLES, LEAST_SAMPLES = 50, 5
WINDOW_MS = 500.0  # a window is over with its last sample, or after this time with the least
MEASURE_SAMPLES = 10  # that minRTT rests on
MEASURE_MS = 10_000.0  # it is not waited for longer
EVERY_MS = 60_000.0  # between two measurements of minRTT
JITTER = 0.15  # of that, so that workers and deployments do not measure together


class Gradient:
    """Hold the limit of one deployment. Times are milliseconds of the monotonic clock; it reads none."""

    def __init__(self) -> None:
        self.limit = FIRST
        self.least_ms = 0.0  # minRTT; 0.0: not measured yet
        self._samples: list[float] = []
        self._since_ms = -1.0  # when the window, or the measurement, began; -1.0: with the next sample
        self._measuring = True
        self._due_ms = 0.0
        self._before = FIRST  # the limit when the measurement began
        self._most = 0  # under way at a time in this window

    def note(self, ttft_ms: float, now_ms: float, under_way: int, draw: float) -> None:
        """Take one sample: the time to first content of a request that has just ended, with so many under way. `draw`, in
        [0, 1), jitters when minRTT is measured next."""
        if self._since_ms < 0.0:
            self._since_ms = now_ms
        self._most = max(self._most, under_way)
        if self._measuring:
            self._measure(ttft_ms, now_ms, draw)
            return
        self._samples.append(ttft_ms)
        count, full_ms = len(self._samples), now_ms - self._since_ms
        if count < WINDOW_SAMPLES and (count < LEAST_SAMPLES or full_ms < WINDOW_MS):
            return
        self._step(median(self._samples))
        self._begin()
        if now_ms >= self._due_ms:
            self._measuring, self._before = True, self.limit
            self._since_ms = now_ms
            self.limit = min(self.limit, max(MEASURED_LEAST, self.limit * MEASURED_AT))

    def _measure(self, ttft_ms: float, now_ms: float, draw: float) -> None:
        if self.least_ms and now_ms - ttft_ms < self._since_ms:
            return  # it began before the limit was lowered
        self._samples.append(ttft_ms)
        if len(self._samples) < MEASURE_SAMPLES and now_ms - self._since_ms < MEASURE_MS:
            return
        self.least_ms = max(0.001, median(self._samples))
        self.limit, self._measuring = self._before, False
        self._due_ms = now_ms + EVERY_MS * (1.0 + JITTER * draw)
        self._begin()

    def _step(self, sample_ms: float) -> None:
        self.least_ms = max(0.001, min(self.least_ms, sample_ms))
        least, most = GRADIENTS
        gradient = max(least, min(most, self.least_ms * (1.0 + BUFFER) / max(sample_ms, 0.001)))
        wanted = max(LEAST, min(MOST, gradient * self.limit + sqrt(self.limit)))
        if wanted < self.limit or self._most * 2 >= self.limit:
            self.limit = wanted

    def _begin(self) -> None:
        self._samples.clear()
        self._since_ms, self._most = -1.0, 0

"""Rates: how much the workers have done in the last minute, from their counters of all time; and what they alerted of.

The control process looks at the counters every few seconds anyway, so that a page has a minute to show when it is opened.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from pointsman.control.measures import gather
from pointsman.observe.metrics import Metrics

WINDOW_S = 60.0
SPACE_S = 2.0  # between two looks that are kept
MOST_ALERTS = 20  # the newest

Key = tuple[str, str, str]  # route, deployment, outcome


class Alert(msgspec.Struct, frozen=True):
    """Hold that something was alerted of; `at_ms`: Unix milliseconds, when it was noticed here."""

    at_ms: int
    about: str
    what: str


class Rates:
    """Keep looks at the counters of a data folder. Used by any thread. `clock` gives seconds of the monotonic clock."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._data, self._clock = data, clock
        self._lock = threading.Lock()
        self._looks: deque[tuple[float, dict[str, int]]] = deque()
        self._alerted: dict[str, int] | None = None
        self.alerts: deque[Alert] = deque(maxlen=MOST_ALERTS)

    def look(self) -> None:
        """Look at the counters, unless that was done just now."""
        with self._lock:
            if not self._looks or self._clock() - self._looks[-1][0] >= SPACE_S:
                self._note(gather(self._data)[0])

    def now(self, metrics: Metrics) -> tuple[dict[Key, float], float]:
        """Return requests a second by route, deployment and outcome, and over how many seconds; 0.0: nothing is known yet."""
        with self._lock:
            if not self._looks or self._clock() - self._looks[-1][0] >= SPACE_S:
                self._note(metrics)
            began_s, before = self._looks[0]
            over_s = self._clock() - began_s
            if over_s < SPACE_S / 2:
                return {}, 0.0
            return {
                _key(name): (done - before.get(name, 0) if done >= before.get(name, 0) else done) / over_s
                for name, done in metrics.requests.items()
                if done != before.get(name, 0)  # fewer: a worker was started again, and counts from nothing
            }, over_s

    def _note(self, metrics: Metrics) -> None:
        now_s = self._clock()
        self._looks.append((now_s, dict(metrics.requests)))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= WINDOW_S:
            self._looks.popleft()
        events = {
            **metrics.alerts,
            **{f"quota {name}": count for name, count in metrics.quotas.items() if _is_loud(name)},
        }
        if self._alerted is not None:
            for name, count in events.items():
                if count > self._alerted.get(name, 0):
                    about, _, what = name.partition("\x1f")
                    self.alerts.append(Alert(time.time_ns() // 1_000_000, about, what))
        self._alerted = events


def _is_loud(name: str) -> bool:
    return name.endswith(("\x1fnear", "\x1fover"))


def _key(name: str) -> Key:
    route, deployment, outcome = name.split("\x1f")
    return route, deployment, outcome

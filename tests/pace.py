"""Pace: how much slower this machine is now than the one on which bounds of CPU time were set."""

from __future__ import annotations

import time

USUAL_S = 0.025  # of `_work` there, when nothing else ran
MOST = 3.0


def slowness() -> float:
    """Return how many times longer a fixed piece of Python takes now than it did; from 1 to 3."""
    return min(MOST, max(1.0, min(_work() for _ in range(5)) / USUAL_S))


def _work() -> float:
    began_s, kept = time.thread_time(), dict[int, str]()
    for n in range(200_000):
        kept[n & 1023] = str(n)
    return time.thread_time() - began_s

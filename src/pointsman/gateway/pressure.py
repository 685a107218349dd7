"""Pressure: how much room a worker has, from what it is allowed, how late its event loop runs and how much memory it takes.

The room shrinks while the loop is late and grows again when it is not: additive increase, multiplicative decrease. Late is
the *least* lag of half a second, as in CoDel (RFC 8289): one long callback is no overload, a queue that never empties is.
Memory has two thresholds: beyond the first, large bodies are refused; beyond the second, all that is new. Streams go on.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

LAG_MS = 40.0  # twice the lag that the loop may have at the 99th percentile (I30)
SWEEPS = 10  # of the worker, over which the least lag counts
SHRINK = 0.8
GROW = 0.1  # of what is allowed, each time
LEAST_ROOM = 16  # requests that a worker always takes on: without any, nothing would tell it that it is over
LARGE_BODIES, ALL_NEW = 0.85, 0.95  # of the memory
TRIM_EVERY = 20  # sweeps, while memory is short
CONTROL_GROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
UNLIMITED_BYTES = 1 << 50  # what version 1 writes when there is no limit is above it
OWN_PART = 0.8  # of the control group's memory is for the workers, the rest for control process and supervisor
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Read how much memory this process takes, as a share of `most_bytes`; 0: there is no limit, and nothing is read."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if most_bytes else -1

    def share(self) -> float:
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 256, 0).split()[1]) * _PAGE_BYTES / self.most_bytes

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Pressure:
    """Hold the room of a worker, in requests under way. `most` is what its limits allow."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.room = float(most)
        self.lag_ms = 0.0  # the least of the last half second
        self.memory = 0.0  # share
        self._least_ms = float("inf")
        self._sweeps = 0
        self._untrimmed = 0

    @property
    def short(self) -> bool:
        """Whether large bodies are refused for want of memory."""
        return self.memory >= LARGE_BODIES

    def note(self, lag_ms: float, memory: float, active: int) -> None:
        """Take the measurements of one sweep."""
        self._note_memory(memory)
        self._least_ms = min(self._least_ms, lag_ms)
        self._sweeps += 1
        if self._sweeps < SWEEPS:
            return
        self.lag_ms, self._least_ms, self._sweeps = self._least_ms, float("inf"), 0
        if self.lag_ms > LAG_MS:
            self.room = max(float(LEAST_ROOM), min(self.room, active) * SHRINK)
        else:
            self.room += self.most * GROW
        self.room = min(self.room, float(self.most))

    def _note_memory(self, memory: float) -> None:
        self.memory = memory
        self._untrimmed += 1
        if memory >= LARGE_BODIES and self._untrimmed >= TRIM_EVERY:
            # What requests left behind is given back, else the threshold would hold on to itself.
            self._untrimmed = 0
            gc.collect()
            _trim()

    def requests(self) -> float:
        """Return how many requests may be under way now."""
        return min(self.room, float(LEAST_ROOM)) if self.memory >= ALL_NEW else self.room


def memory_bytes(allowed: int, workers: int) -> int:
    """Return the most memory of one worker: what the operator allows, else its part of the control group's; 0: no limit."""
    if allowed:
        return allowed
    for path in CONTROL_GROUP:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < UNLIMITED_BYTES:
            return int(int(text) * OWN_PART / max(1, workers))
    return 0


def _trim() -> None:
    """Have the C library give free memory back (glibc; others do so by themselves)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return

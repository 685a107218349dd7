"""Loads: how many attempts are under way to a deployment that takes only so many at a time. The others have none."""

from __future__ import annotations

from typing import Literal

from pointsman.core.gradient import Gradient


class Load:
    """Count the attempts of this worker to one deployment. `limit` is for this worker: the workers share what is written
    evenly, at least one each; each finds its own when it is to be found."""

    __slots__ = ("_gradient", "_limit", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._limit = 1
        self._gradient: Gradient | None = None

    def allow(self, concurrency: int | Literal["auto"], workers: int) -> None:
        """Take over what the config says."""
        if concurrency == "auto":
            self._gradient = self._gradient or Gradient()
        else:
            self._limit, self._gradient = max(1, concurrency // max(1, workers)), None

    @property
    def limit(self) -> int:
        return self._limit if self._gradient is None else int(self._gradient.limit)

    @property
    def is_full(self) -> bool:
        return self.under_way >= self.limit

    def answered(self, ttft_ms: float, now_ms: float, draw: float) -> None:
        """Learn from the time to first content of an attempt that ended well; it is still counted as under way."""
        if self._gradient is not None:
            self._gradient.note(ttft_ms, now_ms, self.under_way, draw)

"""Quota: the deployments of one account at one provider, the tries that may go to them beyond the first, and hedges."""

from __future__ import annotations

BURST = 20.0  # tries that may be made at once after a quiet time
PER_S = 0.5
PER_REQUEST = 0.15  # tries earned by the first send of a request
HEDGE_BURST = 5.0  # hedges that a route may save up


class QuotaGroup:
    """Hold the places of a group's deployments, and its budget of retries (I9): a send to a deployment that has just
    failed costs one; the first send of a request to a healthy one is free, so failover is."""

    __slots__ = ("_at_ms", "members", "tries")

    def __init__(self, members: list[int], now_ms: float) -> None:
        self.members = members
        self.tries = BURST
        self._at_ms = now_ms

    def may_retry(self, now_ms: float) -> bool:
        """Tell whether a try beyond the first may be made."""
        self.tries = min(BURST, self.tries + (now_ms - self._at_ms) * PER_S / 1000.0)
        self._at_ms = now_ms
        return self.tries >= 1.0

    def retried(self) -> None:
        """Note a try beyond the first, of ours or of the client's SDK, which nobody could forbid."""
        self.tries = max(-BURST, self.tries - 1.0 - PER_REQUEST)  # it will be counted as sent, too

    def sent(self) -> None:
        """Note a send that has ended, which earns a part of a try if it was the first of its request; not beyond BURST."""
        self.tries += PER_REQUEST


class Hedges:
    """Count what each route may still hedge: every request earns its share, every hedge costs one (I14)."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def earn(self, route: str, share: float) -> None:
        self._left[route] = min(HEDGE_BURST, self._left.get(route, 0.0) + share)

    def take(self, route: str) -> bool:
        """Take one from the budget; return whether there was one."""
        left = self._left.get(route, 0.0)
        if left >= 1.0:
            self._left[route] = left - 1.0
        return left >= 1.0

    def give_back(self, route: str) -> None:
        self._left[route] = min(HEDGE_BURST, self._left.get(route, 0.0) + 1.0)

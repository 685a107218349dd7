"""Affinity: which deployment has answered a conversation, and so has its beginning in the prompt cache. Bounded, expiring."""

from __future__ import annotations

from collections import OrderedDict

from pointsman.core.routing import Stay

MOST_CONVERSATIONS = 100_000  # the longest unheard go first; about 20 MB


class Affinity:
    """Remember conversations by an opaque key. Times are milliseconds of the monotonic clock."""

    def __init__(self, most: int = MOST_CONVERSATIONS) -> None:
        self._most = most
        self._stays: OrderedDict[bytes, Stay] = OrderedDict()

    def find(self, key: bytes, now_ms: float) -> Stay | None:
        """Return where a conversation is; None when it is new, or was not heard of for too long."""
        stay = self._stays.get(key)
        if stay is None:
            return None
        if now_ms >= stay.until_ms:
            del self._stays[key]
            return None
        return stay

    def keep(self, key: bytes, stay: Stay) -> None:
        """Note who answered a conversation last."""
        self._stays[key] = stay
        self._stays.move_to_end(key)
        if len(self._stays) > self._most:
            self._stays.popitem(last=False)

    def __len__(self) -> int:
        return len(self._stays)

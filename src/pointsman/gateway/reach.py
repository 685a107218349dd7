"""Reach: whether it is this machine, and no provider, that is to blame when nobody can be connected to (fault 13)."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable

WITHIN_MS = 1_000.0  # how far back is looked
LEAST_HOSTS = 3  # that are silent, all that were tried, before the silence is taken for ours

# What a machine without descriptors, ports or memory left says, whoever it is to connect to.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What a machine without network says; of one provider alone it may be its address (IPv6, say) that is no use here.
_CUT_OFF = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_SILENT = _CUT_OFF | {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT, socket.EAI_AGAIN}


class Reach:
    """Note how connecting ends, by host, and tell whose fault it is. Times are milliseconds of the monotonic clock."""

    def __init__(self) -> None:
        self.answered_since: Callable[[float], bool] = lambda since_ms: False  # whether any provider has answered
        self._ends: dict[str, tuple[float, bool]] = {}  # when, and whether somebody was there

    def connected(self, host: str, now_ms: float) -> None:
        self._ends[host] = now_ms, True

    def failed(self, host: str, error: OSError, now_ms: float) -> bool:
        """Note that connecting has failed. Return whether that is this machine's own fault: it has nothing left to connect
        with; or it is cut off, while no other host is heard of; or LEAST_HOSTS or more are silent, all that were tried."""
        self._ends[host] = now_ms, not _is_silent(error)
        if error.errno in _EXHAUSTED:
            return True
        since_ms = now_ms - WITHIN_MS
        heard = [there for ended_ms, there in self._ends.values() if ended_ms > since_ms]
        if any(heard) or self.answered_since(since_ms):
            return False
        return error.errno in _CUT_OFF or len(heard) >= LEAST_HOSTS


def _is_silent(error: OSError) -> bool:
    """Tell whether an error says nothing of the other end: a refusal does, it came from there."""
    if isinstance(error, ssl.SSLError):
        return False
    return error.errno in _SILENT or (isinstance(error, TimeoutError))

"""Kept: the last complete answer to each request of routes that may fall back on it. Bounded, in this worker's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

MOST_BYTES = 64 * 1024 * 1024  # of kept answers in a worker
MOST_ANSWER_BYTES = 1024 * 1024  # longer ones are not kept


class Kept(NamedTuple):
    """Hold an answer as the client got it: a JSON body, or the events of a stream. Unix milliseconds."""

    at_ms: int
    body: bytes


class Recording:
    """Collect what a stream has sent, up to MOST_ANSWER_BYTES; a longer one is not kept. With a clock: and when."""

    def __init__(self, now_ms: Callable[[], float] | None = None) -> None:
        self._pieces: list[bytes] = []
        self._left = MOST_ANSWER_BYTES
        self._now_ms = now_ms
        self._times: list[float] = []

    def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left >= 0:
            self._pieces.append(piece)
            if self._now_ms is not None:
                self._times.append(self._now_ms())
        else:
            self._pieces.clear()
            self._times.clear()

    def pace(self) -> tuple[tuple[int, int], ...]:
        """Return the milliseconds since the first piece and the length of each; () without a clock."""
        return tuple((int(at - self._times[0]), len(p)) for at, p in zip(self._times, self._pieces, strict=False))

    def whole(self) -> bytes:
        """Return all of it; b"" when it was too long."""
        return b"".join(self._pieces)


class Answers:
    """Keep the last complete answer to each request, for routes that may fall back on it. Bounded; the oldest go first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._bytes = 0

    def keep(self, key: bytes, kept: Kept) -> None:
        """Keep an answer in place of an earlier one; one that is too long is not."""
        if not 0 < len(kept.body) <= MOST_ANSWER_BYTES:
            return
        self._bytes += len(kept.body) - len(self._kept.pop(key, Kept(0, b"")).body)
        self._kept[key] = kept
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popitem(last=False)[1].body)

    def find(self, key: bytes, not_before_ms: int) -> Kept | None:
        """Return the answer kept under `key`, unless it is older than asked for."""
        kept = self._kept.get(key)
        return kept if kept is not None and kept.at_ms >= not_before_ms else None

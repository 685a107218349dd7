"""Kept: what a stream has said so far, for whoever gives its answer again: ladder, cache, idempotency key. Bounded."""

from __future__ import annotations

from collections.abc import Callable

MOST_ANSWER_BYTES = 1024 * 1024  # longer ones are not kept


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

    def begin(self) -> None:
        """Take all there is so far for one piece: an answer begins with its first content, also when it is given again."""
        if len(self._pieces) > 1:
            self._pieces, self._times = [b"".join(self._pieces)], self._times[-1:]

    def pace(self) -> tuple[tuple[int, int], ...]:
        """Return the milliseconds since the first piece and the length of each; () without a clock."""
        return tuple((int(at - self._times[0]), len(p)) for at, p in zip(self._times, self._pieces, strict=False))

    def whole(self) -> bytes:
        """Return all of it; b"" when it was too long."""
        return b"".join(self._pieces)

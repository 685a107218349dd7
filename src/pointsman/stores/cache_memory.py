"""Cached answers in the memory of one process: the least recently used of whoever keeps most go first. Bounded."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from pointsman.core.usage import Usage

MOST_BYTES = 64 * 1024 * 1024  # of answers in a process
MOST_ENTRIES = 20_000
MOST_SHARES = 2_000  # tenants' parts of routes
ENTRY_BYTES = 512  # what an entry takes beside its body, about


class Answer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold a whole answer as a client got it. Unix milliseconds.

    `form`: `whole` is a JSON body, `stream` the events of a stream, `stream_usage` one with a usage chunk. `pace` are the
    milliseconds since its first piece and the length of each piece, if that was noted. `cost_nano` -1: unpriced.
    """

    request_id: str
    at_ms: int
    until_ms: int
    form: str
    body: bytes
    usage: Usage
    cost_nano: int
    deployment: str
    provider: str
    model: str
    served_model: str
    pace: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        return len(self.body) + ENTRY_BYTES


class _Share:
    def __init__(self) -> None:
        self.answers: OrderedDict[str, Answer] = OrderedDict()
        self.bytes = 0


class Memory:
    """Keep answers by share and key. A share is one tenant's part of a route: what others keep does not drive out the answers
    of one that keeps less than they do."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
        self._most_bytes, self._most_entries = most_bytes, most_entries
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self.bytes = 0
        self.entries = 0

    def get(self, share: str, key: str, now_ms: int) -> Answer | None:
        """Return the answer kept under a key, unless its time is over."""
        of_share = self._shares.get(share)
        answer = of_share.answers.get(key) if of_share is not None else None
        if of_share is None or answer is None:
            return None
        if answer.until_ms <= now_ms:
            self._drop(share, key)
            return None
        of_share.answers.move_to_end(key)
        return answer

    def put(self, share: str, key: str, answer: Answer, most_bytes: int) -> None:
        """Keep an answer in place of an earlier one; those of a share take `most_bytes` at most, and all within the bounds."""
        of_share = self._shares.get(share)
        if of_share is not None and key in of_share.answers:
            self._drop(share, key)
        most_bytes = min(most_bytes, self._most_bytes)
        if answer.size > most_bytes:
            return
        of_share = self._shares.setdefault(share, _Share())
        self._shares.move_to_end(share)
        of_share.answers[key] = answer
        self._count(of_share, 1, answer.size)
        while of_share.bytes > most_bytes:
            self._drop_oldest(share)
        while self.bytes > self._most_bytes or self.entries > self._most_entries:
            self._drop_oldest(max(self._shares, key=lambda name: self._shares[name].bytes))
        while len(self._shares) > MOST_SHARES:
            self._drop_oldest(next(iter(self._shares)))

    def _drop_oldest(self, share: str) -> None:
        self._drop(share, next(iter(self._shares[share].answers)))

    def _drop(self, share: str, key: str) -> None:
        of_share = self._shares[share]
        self._count(of_share, -1, -of_share.answers.pop(key).size)
        if not of_share.answers:
            del self._shares[share]

    def _count(self, of_share: _Share, entries: int, size: int) -> None:
        of_share.bytes += size
        self.bytes += size
        self.entries += entries

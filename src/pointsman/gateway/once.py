"""Once: requests with an Idempotency-Key: carried out once, however often they are sent; the answer is given again.

A second request with the key of one under way waits for its answer, in whichever worker either is. Only complete answers are
kept, for 24 hours; after a failure the next request with the key is carried out anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

from pointsman.core.policy import Key
from pointsman.gateway import answers
from pointsman.gateway.answers import Refused
from pointsman.gateway.edge import Edge, Incoming, Work
from pointsman.stores.claims import Claims, Found

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.worker import Worker

HEADER = "idempotency-key"
MOST_KEY_BYTES = 255
ASK_AGAIN_S = 0.05  # how often a request that waits for another's answer looks
_STREAM, _WHOLE = b"S", b"W"  # what a kept answer is
_SPLIT = b"\r\n\r\n"  # between the header lines of a kept answer and its body


class Claim:
    """Hold the right to carry out the request of one key."""

    def __init__(self, claims: Claims, key: str, fd: int, request_hash: bytes) -> None:
        self._claims = claims
        self._key, self._fd, self._hash = key, fd, request_hash

    def keep(self, headers: str, body: bytes, *, stream: bool) -> None:
        """Keep a complete answer: header lines, and the body or the events of the stream."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and body:
            lines = [line for line in headers.split("\r\n") if line and not line.startswith("x-pointsman-cost-usd")]
            kept = (_STREAM if stream else _WHOLE) + "\r\n".join(lines).encode("latin-1") + _SPLIT + body
            self._claims.keep(self._key, fd, self._hash, kept)
        elif fd >= 0:
            self._claims.release(self._key, fd)

    def release(self) -> None:
        """Give the key up, unless an answer was kept."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._claims.release(self._key, fd)


Carry = Callable[["Worker", Edge, Incoming], Work | None]
Refuse = Callable[["Worker", Edge, Refused], Work | None]


def once(worker: Worker, edge: Edge, incoming: Incoming, carry: Carry, refuse: Refuse) -> Work | None:
    """Carry out a request that has an Idempotency-Key, or give it the answer of an earlier one."""
    given, caller = incoming.headers[HEADER], incoming.caller
    assert isinstance(caller, Key)
    if not 0 < len(given) <= MOST_KEY_BYTES:
        return refuse(
            worker, edge, Refused(400, f"an Idempotency-Key is 1 to {MOST_KEY_BYTES} bytes", "invalid_request")
        )
    key = blake2b(repr((caller.who, given)).encode(), digest_size=16).hexdigest()
    return Turn(worker, edge, incoming, key).take(carry, refuse)


class Turn:
    """Wait for the answer of a request under way with the same key. Bounded by limits.total_ms."""

    def __init__(self, worker: Worker, edge: Edge, incoming: Incoming, key: str) -> None:
        self._worker, self._edge, self._incoming, self._key = worker, edge, incoming, key
        self._hash = blake2b(incoming.body, digest_size=16).digest()
        self._until_ms = worker.now_ms() + worker.limits.total_ms
        self._timer: asyncio.TimerHandle | None = None

    def take(self, carry: Carry, refuse: Refuse) -> Work | None:
        """Do what the state of the key says; return what answers, None when it is answered."""
        worker, edge = self._worker, self._edge
        try:
            found = worker.claims.claim(self._key, self._hash)
        except OSError as error:
            message = f"the Idempotency-Key cannot be kept: {error.strerror}"
            return refuse(worker, edge, Refused(503, message, "ledger_unavailable"))
        if found.state == "other":
            message = "this Idempotency-Key was used with another request"
            return refuse(worker, edge, Refused(422, message, "idempotency_key_reused"))
        if found.state == "done":
            worker.books.metrics.replayed += 1
            edge.answer(self._again(found))
            return None
        if found.state == "running":
            if worker.now_ms() > self._until_ms or worker.draining:
                message = "the request with this Idempotency-Key is still under way"
                return refuse(worker, edge, Refused(409, message, "idempotency_key_in_use"))
            self._timer = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._look, carry, refuse)
            return self
        self._incoming.claim = Claim(worker.claims, self._key, found.fd, self._hash)
        work = carry(worker, edge, self._incoming)
        if work is None:
            self._incoming.claim.release()  # refused before it was admitted
        return work

    def _look(self, carry: Carry, refuse: Refuse) -> None:
        edge, incoming = self._edge, self._incoming
        incoming.waited = True
        work = self.take(carry, refuse)
        if edge.current is incoming:  # not answered within the call
            edge.work = work

    def _again(self, found: Found) -> bytes:
        """Return a kept answer as a response: its own head, that it is given again, that it costs nothing."""
        lines, _, body = found.answer[1:].partition(_SPLIT)
        headers = f"{lines.decode('latin-1')}\r\nx-pointsman-idempotent: replayed\r\nx-pointsman-cost-usd: 0\r\n"
        return answers.whole(self._edge, headers, body, stream=found.answer[:1] == _STREAM)

    # --- Work: what the edge tells us
    def client_gone(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def client_paused(self) -> None:
        """Nothing is written while it waits."""

    def client_resumed(self) -> None:
        """Nothing was held back."""


def kept_of(exchange: Exchange, headers: str, body: bytes) -> None:
    """Keep the complete answer of an exchange under its Idempotency-Key."""
    claim = exchange.incoming.claim
    if claim is not None:
        try:
            claim.keep(headers, body, stream=exchange.streams)
        except OSError:
            claim.release()

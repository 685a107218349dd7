"""Checks: of the answers that were given to similar questions, some are asked fresh, when the client has its own.

A check is a request like any other of the same caller: decided, booked (`cache` is `check`), counted by quotas and budgets; and
what refuses it does so silently. Its answer is kept, so the question has one of its own from then on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from msgspec import Raw

from pointsman.gateway.edge import Edge, Incoming, Work

if TYPE_CHECKING:
    from pointsman.gateway.cache import Part
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.worker import Worker
    from pointsman.stores.cache_memory import Answer

AFTER_S = 0.05  # when the answer to the client has been written
MOST_UNDER_WAY = 8  # of a worker; more are left out
_LEFT_OUT = ("idempotency-key", "x-request-id", "cache-control", "x-stainless-retry-count", "x-stainless-read-timeout")
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Check(Incoming):
    """Hold a question that is asked fresh, and the answer that was given to it."""

    def __init__(self, asked: Incoming, part: Part, given: Answer) -> None:
        headers = {name: value for name, value in asked.headers.items() if name not in _LEFT_OUT}
        super().__init__(asked.method, asked.target, headers)
        self.body = _whole(asked.body)
        self.caller, self.generation, self.known = asked.caller, asked.generation, True
        self.given, self.mark = given, part.caching.mark


class Nobody(Edge):
    """Stand where the client of a check would be: what is written goes nowhere."""

    under_way: ClassVar[int] = 0  # in this process

    def __init__(self, worker: Worker, incoming: Check) -> None:
        self.worker = worker
        self.current, self.work = incoming, None
        self.transport = cast(asyncio.Transport, _Void())
        Nobody.under_way += 1

    def answer(self, data: bytes) -> None:
        self.finish(data)

    def finish(self, data: bytes) -> None:
        if self.current is not None:
            self.current = self.work = None
            Nobody.under_way -= 1

    def takes_chunks(self) -> bool:
        return True


class _Void:
    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def get_extra_info(self, name: str) -> Any:
        return None


def plan(exchange: Exchange, part: Part, given: Answer) -> None:
    """Ask the question of an exchange fresh, in a moment, unless there is too much to do."""
    worker = cast("Worker", exchange.shell)
    if Nobody.under_way < MOST_UNDER_WAY and not worker.pressed() and not worker.draining:
        asyncio.get_running_loop().call_later(AFTER_S, _ask, worker, Check(exchange.incoming, part, given))


def _ask(worker: Worker, check: Check) -> None:
    if worker.draining:
        return
    check.ready_ms = worker.now_ms()
    edge = Nobody(worker, check)
    work: Work | None = worker.dispatch(edge, check)
    if edge.current is check:
        edge.work = work


def _whole(body: bytes) -> bytes:
    """Return a request for an answer in one piece."""
    members = _members(body)
    members.pop("stream", None)
    members.pop("stream_options", None)
    return msgspec.json.encode(members)

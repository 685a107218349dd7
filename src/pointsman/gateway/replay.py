"""Replay: an answer that was kept is given again: at once, or as a stream with the pauses it had."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pointsman.core.entry import Hit
from pointsman.core.outcome import ANSWERED
from pointsman.gateway import answers
from pointsman.gateway.once import kept_of
from pointsman.gateway.settlement import hit_headers

if TYPE_CHECKING:
    from pointsman.gateway.cache import Part
    from pointsman.gateway.exchange import Exchange
    from pointsman.stores.cache_memory import Answer

LOOK_AGAIN_S = 0.05  # while the client does not read, or the request is not booked


def give(exchange: Exchange, part: Part, answer: Answer, wall_ms: int) -> None:
    """End an admitted exchange with an answer that was kept, now or at its pace."""
    age_ms = max(0, wall_ms - answer.at_ms)
    exchange.hit = Hit(
        answer.request_id,
        answer.deployment,
        answer.provider,
        answer.model,
        answer.served_model,
        age_ms,
        answer.cost_nano,
    )
    if part.result == "semantic":
        exchange.shell.cache.semantics.given(exchange, part, answer)
    now_ms = exchange.shell.now_ms()
    exchange.decided_ms = exchange.decided_ms or now_ms
    headers = hit_headers(exchange, exchange.hit, now_ms)
    kept_of(exchange, headers, answer.body)
    if answer.pace and part.paced:
        Replay(exchange, headers, answer).start()
        return
    exchange.first_ms = now_ms
    exchange.settle(ANSWERED, 200, now_ms, answers.whole(exchange.edge, headers, answer.body, stream=exchange.streams))


class Replay:
    """Write the pieces of a stream when their time has come. Its timer is the exchange's, so whatever ends that ends this."""

    def __init__(self, exchange: Exchange, headers: str, answer: Answer) -> None:
        self._exchange, self._headers, self._answer = exchange, headers, answer
        self._piece = self._at = 0
        self._began_ms = 0.0

    def start(self) -> None:
        exchange = self._exchange
        exchange.due_ms = exchange.request.deadline_ms
        exchange.shell.active.add(exchange)
        self._later(0.0)

    def _later(self, wait_s: float) -> None:
        self._exchange.timer = asyncio.get_running_loop().call_later(wait_s, self._go_on)

    def _go_on(self) -> None:
        exchange, pace = self._exchange, self._answer.pace
        exchange.timer = None
        if exchange.settled:
            return
        now_ms = exchange.shell.now_ms()
        if not exchange.booked_in or exchange.paused:
            self._later(LOOK_AGAIN_S)
            return
        self._began_ms = self._began_ms or now_ms
        begin = self._at
        while self._piece < len(pace) and pace[self._piece][0] <= now_ms - self._began_ms:
            self._at += pace[self._piece][1]
            self._piece += 1
        if self._at > begin:
            self._write(self._answer.body[begin : self._at], now_ms)
        if self._piece < len(pace):
            self._later(max(0.0, (pace[self._piece][0] + self._began_ms - now_ms) / 1000.0))
        else:
            exchange.settle(ANSWERED, 200, now_ms, exchange.delivery.last())

    def _write(self, piece: bytes, now_ms: float) -> None:
        exchange = self._exchange
        exchange.progress, exchange.stall_ms = True, now_ms + exchange.options.idle_ms
        if exchange.committed:
            exchange.delivery.write(piece)
            return
        exchange.first_ms, exchange.committed = now_ms, True
        exchange.delivery.commit(self._headers, piece)

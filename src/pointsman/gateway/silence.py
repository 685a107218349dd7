"""Silence: a whole answer that says nothing (fault 27). Another deployment is asked, once; else the client gets what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.outcome import ANSWERED, Kind, Outcome
from pointsman.gateway import answers
from pointsman.gateway.settlement import own_headers

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.sending import Sending


class Silence:
    """Hold an answer without content, until another deployment has said more."""

    def __init__(self, attempt: Sending, body: bytes) -> None:
        self.attempt = attempt
        self.body = body  # of a reply that is no stream


def spared(exchange: Exchange, attempt: Sending, outcome: Outcome, body: bytes = b"") -> bool:
    """Count an answer that says nothing, and tell whether the client is spared it: another deployment is asked. Not when one
    was before, and where a content filter made it, only when the route's `on` says so."""
    route, silent = exchange.options.route, exchange.shell.books.metrics.silent
    name = attempt.endpoint.deployment.name
    silent[name] = silent.get(name, 0) + 1
    wanted = outcome.kind in route.on or (outcome.kind is Kind.SILENT and route.on_empty == "next")
    if not wanted or exchange.silence is not None or exchange.committed:
        return False
    exchange.silence = Silence(attempt, body)
    exchange.attempt_ended(attempt, outcome)
    return True


def pass_on(exchange: Exchange, silence: Silence, now_ms: float) -> None:
    """Give the client the answer that was kept back: nobody has said more."""
    exchange.step, exchange.first_ms = silence.attempt.step, now_ms
    if exchange.streams:
        exchange.committed = True
        exchange.delivery.commit(own_headers(exchange, now_ms), silence.attempt.taken(b""))
        exchange.settle(ANSWERED, 200, now_ms, exchange.delivery.last())
        return
    headers = own_headers(exchange, now_ms, whole=True)
    exchange.settle(ANSWERED, 200, now_ms, answers.unary(headers, silence.body, close=exchange.incoming.close))

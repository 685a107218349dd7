"""Overdue: what becomes of an exchange whose limits of time have passed. Asked by the worker's sweep: no timer of its own."""

from __future__ import annotations

from pointsman.core.outcome import Kind, Outcome
from pointsman.gateway.exchange import Exchange


def is_due(exchange: Exchange, now_ms: float) -> bool:
    """Tell whether there may be something to do."""
    return exchange.progress or now_ms >= exchange.due_ms or now_ms >= exchange.request.deadline_ms


def act(exchange: Exchange, now_ms: float) -> None:
    """End what has waited too long: for the whole answer, between two pieces of it, or for the first."""
    if now_ms >= exchange.request.deadline_ms:
        exchange.give_up(Outcome(Kind.DEADLINE, 0, "the request's deadline has passed"))
    elif exchange.committed:
        if exchange.progress or exchange.paused:
            exchange.progress = False
            exchange.due_ms = now_ms + exchange.options.idle_ms
        elif now_ms >= exchange.due_ms:
            exchange.give_up(Outcome(Kind.STALLED, 200, "the provider stopped sending"))
    elif now_ms >= exchange.due_ms and exchange.timer is None:
        exchange.give_up(Outcome(Kind.TIMEOUT, 0, "no content within the limit"))

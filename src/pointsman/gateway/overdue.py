"""Overdue: what becomes of an exchange whose limits of time have passed. Asked by the worker's sweep: no timer of its own."""

from __future__ import annotations

from pointsman.core.outcome import Kind, Outcome
from pointsman.gateway import hedge
from pointsman.gateway.exchange import Exchange


def is_due(exchange: Exchange, now_ms: float, *, flowing: bool) -> bool:
    """Tell whether there may be something to do. `flowing`: look also at streams that flow, so that their waits begin anew."""
    return now_ms >= exchange.due_ms or now_ms >= exchange.request.deadline_ms or (flowing and exchange.progress)


def act(exchange: Exchange, now_ms: float) -> None:
    """End what has waited too long: for the whole answer, between two pieces of it, or for the first."""
    if now_ms >= exchange.request.deadline_ms:
        exchange.give_up(Outcome(Kind.DEADLINE, 0, "the request's deadline has passed"))
    elif exchange.drain is not None:
        if now_ms >= exchange.due_ms:
            exchange.give_up(Outcome(Kind.CLIENT_GONE))
    elif not exchange.committed:
        if now_ms >= exchange.due_ms and exchange.timer is None:
            hedge.look(exchange, now_ms)
    elif exchange.attempt is not None and not exchange.attempt.committed:
        if now_ms >= exchange.attempt.due_ms:  # of a continuation, whose first content is still to come
            exchange.give_up(Outcome(Kind.TIMEOUT, 0, "no content within the limit"))
        else:
            _keep_alive(exchange, now_ms)
    elif exchange.progress or exchange.paused:
        exchange.progress = False
        exchange.stall_ms = now_ms + exchange.options.idle_ms
        _wait(exchange, now_ms)
    elif now_ms >= exchange.stall_ms:
        exchange.give_up(Outcome(Kind.STALLED, 200, "the provider stopped sending"))
    else:
        _keep_alive(exchange, now_ms)


def _keep_alive(exchange: Exchange, now_ms: float) -> None:
    """Send a comment where nothing has come for limits.stream_keepalive_ms."""
    if now_ms >= exchange.due_ms:
        if exchange.world.limits.stream_keepalive_ms and not exchange.paused:
            exchange.delivery.keep_alive()
        _wait(exchange, now_ms)


def _wait(exchange: Exchange, now_ms: float) -> None:
    """Set when to look again."""
    every_ms = exchange.world.limits.stream_keepalive_ms or exchange.options.idle_ms
    attempt = exchange.attempt
    until_ms = exchange.stall_ms if attempt is None or attempt.committed else attempt.due_ms
    exchange.due_ms = min(until_ms, now_ms + every_ms) if until_ms > now_ms else now_ms + every_ms

"""Hedge: a second attempt joins one that is slow to begin; the first to have content wins, the other is cancelled.

The sweep of the worker asks, so a hedge starts up to 50 ms later than declared. Each route has a budget: a share of its
requests. While a deployment that would be asked, or its quota group, is in trouble, nothing is hedged: a second attempt
would add to the load that made the first one slow.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pointsman.core.filters import TRUSTED_SAMPLES
from pointsman.core.health import TPS_PRIOR
from pointsman.core.outcome import CLASSES, Kind, Outcome, Retry
from pointsman.gateway.sending import Sending

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange

CANCELLED = Outcome(Kind.CANCELLED, 0, "another attempt of this request had content first")


def plan(exchange: Exchange, now_ms: float) -> None:
    """Set when a second attempt joins the first. A deployment that was hardly measured has no percentile to wait for."""
    wanted, attempt = exchange.options.hedge, exchange.attempt
    assert wanted is not None
    exchange.shell.live.hedges.earn(exchange.options.label, wanted.share)
    if attempt is None or exchange.rows:
        return
    after_ms = wanted.after_ms
    if after_ms is None:
        state = exchange.snapshot.states[attempt.step.position]
        if state.sampled < TRUSTED_SAMPLES:
            return
        after_ms = state.ttft_p95_ms
        if not exchange.streams and state.tps != TPS_PRIOR:  # its first content is its last; see Live.ended
            after_ms += exchange.request.features.predicted_output_tokens * 1000.0 / state.tps
    exchange.hedge_ms = now_ms + after_ms
    exchange.due_ms = min(exchange.due_ms, exchange.hedge_ms)


def look(exchange: Exchange, now_ms: float) -> None:
    """End the attempts that have waited too long for content; let a second join the first when its time has come."""
    for attempt in (exchange.rival, exchange.attempt):
        if attempt is not None and not attempt.over and now_ms >= attempt.due_ms:
            attempt.give_up(Outcome(Kind.TIMEOUT, 0, "no content within the limit"))
    if exchange.settled or exchange.timer is not None or exchange.attempt is None:
        return
    if exchange.hedge_ms and now_ms >= exchange.hedge_ms:
        exchange.hedge_ms = 0.0
        _join(exchange, now_ms)
    waits = [one.due_ms for one in (exchange.attempt, exchange.rival) if one is not None]
    exchange.due_ms = min([*waits, exchange.hedge_ms] if exchange.hedge_ms else waits, default=now_ms)


def _join(exchange: Exchange, now_ms: float) -> None:
    live, label = exchange.shell.live, exchange.options.label
    if exchange.rows or exchange.attempt is None or not exchange.attempt.sent or not live.hedges.take(label):
        return
    step = exchange.run().hedge(now_ms, partial(live.at_ease, exchange.world))
    if step is None:
        live.hedges.give_back(label)
        return
    rival = exchange.rival = Sending(exchange, step, exchange.world.endpoints[step.deployment], now_ms)
    connection = rival.endpoint.origin.take(now_ms)
    if connection is None:
        rival.connect()
    else:
        rival.call(connection)


def won(exchange: Exchange, attempt: Sending) -> None:
    """Cancel the other attempt: this one has content."""
    loser = exchange.rival if attempt is exchange.attempt else exchange.attempt
    assert loser is not None
    exchange.attempt, exchange.rival, exchange.step = attempt, None, attempt.step
    lost(exchange, loser, CANCELLED)


def lost(exchange: Exchange, loser: Sending, outcome: Outcome) -> None:
    """End one of two attempts; what it has used is booked, and that it was slow is noted."""
    if loser is exchange.rival:
        exchange.rival = None
    loser.stop()
    now_ms = exchange.shell.now_ms()
    exchange.end_attempt(loser, loser.billed(outcome, exchange.request.features.input_tokens), now_ms)
    if not loser.answered_ms:
        exchange.shell.live.waited(exchange.world, loser, now_ms)


def goes_on(exchange: Exchange, attempt: Sending, outcome: Outcome) -> bool:
    """Tell whether the other of two attempts goes on after this one has failed: unless the failure is the request's own."""
    if attempt is exchange.rival:
        exchange.rival = None
    else:
        exchange.attempt, exchange.rival = exchange.rival, None
    other = exchange.attempt
    assert other is not None
    exchange.step, exchange.due_ms = other.step, other.due_ms
    if CLASSES[outcome.kind].retry is not Retry.NEVER:
        return True
    lost(exchange, other, CANCELLED)
    return False

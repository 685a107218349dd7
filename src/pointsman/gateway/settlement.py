"""Settlement: what the books and the client are told of an exchange, made from its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.entry import Settled, total_of
from pointsman.core.outcome import Outcome
from pointsman.core.pricing import usd_exact

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange


def settled_of(exchange: Exchange, outcome: Outcome, status: int, now_ms: float) -> Settled:
    """Return the Settled record of an exchange that ends now. Times in it count from the receipt of the request."""
    ready_ms, request = exchange.incoming.ready_ms, exchange.request
    return Settled(
        request.id,
        exchange.shell.live.clock.wall_ms(),
        request.route,
        outcome.kind,
        status,
        tuple(exchange.rows),
        request.received_ms - ready_ms,
        exchange.decided_ms - ready_ms,
        exchange.first_ms and exchange.first_ms - ready_ms,
        now_ms - ready_ms,
        exchange.upstream_ms,
    )


def own_headers(exchange: Exchange, now_ms: float, *, whole: bool = False) -> str:
    """Return the response headers that are ours, as far as they are known now. `whole`: the answer is, so its cost is."""
    attempt, attempts, incoming = exchange.attempt, len(exchange.rows), exchange.incoming
    overhead_ms = now_ms - incoming.ready_ms - exchange.upstream_ms
    if attempt is not None:
        attempts += 1
        overhead_ms -= now_ms - attempt.started_ms
    position = -1 if exchange.step is None else exchange.step.position
    same = exchange.world.own_headers(exchange.options, position, attempts)
    ids = exchange.request.id
    given = incoming.headers.get("x-request-id")
    if given is not None:
        ids = f"{given.decode('latin-1')}\r\nx-pointsman-id: {ids}"
    cost = ""
    if whole:
        rows = exchange.rows
        nano = rows[0].charge_nano if len(rows) == 1 else total_of(rows)[0]
        cost = f"x-pointsman-cost-usd: {usd_exact(nano)}\r\n" if nano >= 0 else ""
    return f"x-request-id: {ids}\r\n{same}{cost}x-pointsman-overhead-ms: {overhead_ms:.2f}\r\n"

"""Afterwards: what an exchange leaves for later decisions: where a conversation is, what a route has cost, its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.entry import AttemptRow
from pointsman.core.options import cost_nano
from pointsman.core.outcome import Kind
from pointsman.core.routing import Routed, Stay
from pointsman.core.usage import NO_USAGE
from pointsman.gateway.kept import MOST_ANSWER_BYTES
from pointsman.gateway.ladder import answer_key
from pointsman.stores.cache_memory import MOST_BYTES, Answer

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange

KEPT_MS = 30 * 86_400_000  # the oldest that a rung of a ladder may ask for


def hold(exchange: Exchange, position: int) -> None:
    """Reserve what the exchange is predicted to cost, for limits of the day; given back when it is settled."""
    options, live = exchange.options, exchange.shell.live
    routes = {options.label, exchange.head.model} & live.spending.tracked
    nano = cost_nano(options, position, exchange.request.features, exchange.snapshot) if routes else 0
    if nano > 0:
        live.spending.hold(routes, nano)
        exchange.held = (routes, nano)


def note(exchange: Exchange, routed: Routed, row: AttemptRow, now_ms: float) -> None:
    """Note an attempt that ended: its charge under the route that was asked for and the one that decided, and where the
    conversation is now."""
    live, options = exchange.shell.live, exchange.options
    if row.charge_nano > 0:
        live.spending.add({options.label, exchange.head.model}, row.charge_nano, live.clock.wall_ms())
    sticky = options.route.sticky
    if sticky is not None and routed.stay_key and row.outcome == Kind.OK:
        until_ms = now_ms + sticky.ttl_s * 1000.0
        live.affinity.keep(routed.stay_key, Stay(row.deployment, until_ms, row.usage.input_tokens))


def keep(exchange: Exchange, answer: bytes) -> None:
    """Keep a complete answer for when the ladder is needed."""
    live, (share, key) = exchange.shell.live, answer_key(exchange)
    if 0 < len(answer) <= MOST_ANSWER_BYTES:
        now_ms = live.clock.wall_ms()
        made = Answer(exchange.request.id, now_ms, now_ms + KEPT_MS, "", answer, NO_USAGE, -1, "", "", "", "")
        live.answers.put(share, key, made, MOST_BYTES)

"""Settlement: what the books and the client are told of an exchange, made from its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.decide import Decision, Plan, decide
from pointsman.core.entry import Hit, Settled, on_trail, total_of
from pointsman.core.explain import sentences
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Rung
from pointsman.core.pricing import usd_exact
from pointsman.gateway.refusals import in_the_way, rule_failure

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange


def settled_of(exchange: Exchange, outcome: Outcome, status: int, now_ms: float, degraded: str = "") -> Settled:
    """Return the Settled record of an exchange that ends now. Times in it count from the receipt of the request."""
    if not degraded and outcome.kind is Kind.OK and exchange.step is not None and exchange.step.tier:
        degraded = exchange.options.options[exchange.step.position].rung
    ready_ms, request = exchange.incoming.ready_ms, exchange.request
    return Settled(
        request.id,
        exchange.at_ms
        + int(now_ms - request.received_ms),  # of the same clock as the admission, whatever that does now
        exchange.options.label,
        outcome.kind,
        status,
        tuple(exchange.rows) if exchange.cache is None else exchange.cache.all_rows(exchange.rows),
        request.received_ms - ready_ms,
        exchange.decided_ms - ready_ms,
        exchange.first_ms and exchange.first_ms - ready_ms,
        now_ms - ready_ms,
        exchange.upstream_ms,
        degraded,
        "" if exchange.options.cache is None else "off" if exchange.cache is None else exchange.cache.result,
        exchange.hit,
    )


def own_headers(exchange: Exchange, now_ms: float, *, whole: bool = False) -> str:
    """Return the response headers that are ours, as far as they are known now. `whole`: the answer is, so its cost is."""
    attempt, attempts, incoming = exchange.attempt, len(exchange.rows), exchange.incoming
    overhead_ms = now_ms - incoming.ready_ms - exchange.upstream_ms
    if attempt is not None:
        attempts += 1
        overhead_ms -= now_ms - attempt.started_ms
    position = -1 if exchange.step is None else exchange.step.position
    routed = exchange.routed
    if routed is None:
        same = exchange.world.own_headers(exchange.options, position, attempts)
    else:
        same = exchange.world.routed_headers(routed.trail, position, attempts) + why(exchange)
    if exchange.cache is not None:
        same = same.replace("x-pointsman-cache: off", f"x-pointsman-cache: {exchange.cache.result}", 1)
    if exchange.reservation is not None:
        same += exchange.reservation.headers
    ids = exchange.request.id if "x-request-id" not in incoming.headers else _ids(exchange)
    cost = ""
    if whole:
        rows = exchange.rows if exchange.cache is None else exchange.cache.all_rows(exchange.rows)
        nano = rows[0].charge_nano if len(rows) == 1 else total_of(rows)[0]
        cost = f"x-pointsman-cost-usd: {usd_exact(nano)}\r\n" if nano >= 0 else ""
    return f"x-request-id: {ids}\r\n{same}{cost}x-pointsman-overhead-ms: {overhead_ms:.2f}\r\n"


def failed_headers(exchange: Exchange, now_ms: float) -> str:
    """Return the response headers of an error: a rung whose candidate was tried in vain has not answered."""
    headers, step = own_headers(exchange, now_ms), exchange.step
    rung = exchange.options.options[step.position].rung if step is not None else ""
    return headers.replace(f"x-pointsman-degraded: {rung}\r\n", "x-pointsman-degraded: no\r\n", 1) if rung else headers


def ladder_headers(exchange: Exchange, rung: Rung) -> str:
    """Return the response headers of an answer that the ladder gave."""
    incoming, now_ms = exchange.incoming, exchange.shell.now_ms()
    rows, options = exchange.rows, exchange.options
    overhead_ms = now_ms - incoming.ready_ms - exchange.upstream_ms
    nano = total_of(rows)[0]
    values = {
        "route": options.label,
        "attempts": str(len(rows)),
        "cache": "stale" if rung.cached_s is not None else "off",
        "degraded": rung.name,
        "reason": f"degraded:{rung.name}",
        "config": exchange.world.version,
    }
    if exchange.routed is not None and exchange.routed.trail.path:
        trail = exchange.routed.trail
        values["reason"] = f"{', '.join(trail.path)}, {values['reason']}"
        values |= {"arm": trail.arm} if trail.arm else {}
    if nano >= 0:
        values["cost-usd"] = usd_exact(nano)
    values["overhead-ms"] = f"{overhead_ms:.2f}"
    lines = "".join(f"x-pointsman-{name}: {value}\r\n" for name, value in values.items())
    return f"x-request-id: {_ids(exchange)}\r\n{lines}{left(exchange)}{why(exchange)}"


def hit_headers(exchange: Exchange, hit: Hit, now_ms: float) -> str:
    """Return the response headers of an answer that was kept: who made it, how old it is, and that it costs nothing."""
    routed, part = exchange.routed, exchange.cache
    kind = "hit" if part is None else part.result
    reason = f"cache:{kind}"
    values = {"route": exchange.options.label, "deployment": hit.deployment, "model": hit.model, "attempts": "0"}
    if routed is not None and routed.trail.path:
        reason = f"{', '.join(routed.trail.path)}, {reason}"
        values |= {"arm": routed.trail.arm} if routed.trail.arm else {}
    overhead_ms = now_ms - exchange.incoming.ready_ms - exchange.upstream_ms
    values |= {"similarity": f"{part.similarity:.4f}"} if part is not None and kind == "semantic" else {}
    values |= {"cache": kind, "degraded": "no", "reason": reason, "config": exchange.world.version}
    nano = 0 if part is None else total_of(part.all_rows(exchange.rows))[0]
    values |= {"cost-usd": usd_exact(nano) if nano else "0"} if nano >= 0 else {}
    values["overhead-ms"] = f"{overhead_ms:.2f}"
    lines = "".join(f"x-pointsman-{name}: {value}\r\n" for name, value in values.items())
    lines = lines.encode("latin-1", "replace").decode("latin-1")
    return f"x-request-id: {_ids(exchange)}\r\nage: {hit.age_ms // 1000}\r\n{lines}{left(exchange)}{why(exchange)}"


def left(exchange: Exchange) -> str:
    """Return the headers with what is left of the caller's quotas."""
    return "" if exchange.reservation is None else exchange.reservation.headers


def why(exchange: Exchange) -> str:
    """Return the header with the long reason, if the request asked for it."""
    if not exchange.head.router.explain:
        return ""
    _, decision = decided_of(exchange)
    return f"x-pointsman-why: {' '.join(sentences(decision)).encode('ascii', 'replace').decode()}\r\n"


def nobody_of(exchange: Exchange) -> Outcome:
    """Return the Outcome of an exchange that has nobody to send to."""
    error = None if exchange.routed is None else exchange.routed.error
    if error is not None:
        return rule_failure(error)
    return in_the_way(decided_of(exchange)[0], exchange.request, exchange.options.label)


def decided_of(exchange: Exchange) -> tuple[Plan, Decision]:
    """Return the whole decision of an exchange, of which only the first candidate was needed so far."""
    plan, decision = decide(exchange.request, exchange.options, exchange.snapshot)
    return plan, decision if exchange.routed is None else on_trail(decision, exchange.routed)


def _ids(exchange: Exchange) -> str:
    own, given = exchange.request.id, exchange.incoming.headers.get("x-request-id")
    return own if given is None else f"{given.decode('latin-1')}\r\nx-pointsman-id: {own}"

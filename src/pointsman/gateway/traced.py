"""Traced: how a provider that shall know is told of the trace that a request belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.trace import attempt_part, told

if TYPE_CHECKING:
    from pointsman.gateway.attempt import Attempt
    from pointsman.gateway.exchange import Exchange


def with_trace(exchange: Exchange, attempt: Attempt, data: bytes) -> bytes:
    """Return the HTTP request of an attempt with `traceparent`, and `tracestate` if the caller sent one."""
    tracing, deployment = exchange.world.tracing, attempt.endpoint.deployment.name
    assert tracing is not None
    part = attempt_part(deployment, attempt.started_ms - exchange.incoming.ready_ms)
    lines = told(exchange.request.id, exchange.trace, tracing.sample, part)
    at = data.index(b"\r\n") + 2
    return b"%b%b%b" % (data[:at], lines, data[at:])

"""Spans: what the books say of one request as a trace: the request, its decision, every attempt, every wait. Pure.

No prompt, no answer and no provider's words stand in a span.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.core.entry import Admitted, AttemptRow, Settled, total_of
from pointsman.core.trace import Context, attempt_part, context_of, span_id
from pointsman.observe import genai

Value = str | int | float | bool
FIRST_CONTENT = "pointsman.first_content"
LEAST_WAIT_MS = 0.5  # between attempts; less is no wait


class Span(msgspec.Struct, kw_only=True):
    """Hold one span. Ids are hex digits, times Unix nanoseconds; `error` is a kind of outcome, "" when all was well."""

    name: str
    id: str
    parent: str
    remote: bool = False  # the parent is the caller's
    kind: Literal["server", "client", "internal"] = "internal"
    start_ns: int
    end_ns: int
    attributes: dict[str, Value] = {}
    first_ns: int = 0  # of its first content; 0: none
    error: str = ""


class Trace(msgspec.Struct, frozen=True):
    """Hold the spans of one request, its root first."""

    context: Context
    spans: list[Span]


def trace_of(admitted: Admitted, settled: Settled | None, sample: float) -> Trace | None:
    """Return the trace of a booked request, None if it is not sampled. `settled` None: its worker died before its end."""
    context = context_of(admitted.id, admitted.trace, sample)
    if not context.sampled:
        return None
    queue_ms = 0.0 if settled is None else settled.queue_ms
    zero_ns = admitted.at_ms * 1_000_000 - round(queue_ms * 1e6)  # the receipt
    root = _root(admitted, settled, context, zero_ns)
    if settled is None:
        return Trace(context, [root])
    spans, rows = [root], sorted(settled.attempts, key=lambda row: row.started_ms)
    if settled.decided_ms > 0.0:
        spans.append(
            Span(
                name="decide",
                id=span_id(admitted.id, "decide"),
                parent=root.id,
                start_ns=zero_ns + round(queue_ms * 1e6),
                end_ns=zero_ns + round(settled.decided_ms * 1e6),
                attributes={"pointsman.route": settled.route, "pointsman.config": admitted.config_version},
            )
        )
    ended_ms = rows[0].ended_ms if rows else 0.0
    for number, row in enumerate(rows, 1):
        if row.started_ms - ended_ms > LEAST_WAIT_MS:
            spans.append(
                Span(
                    name="wait",
                    id=span_id(admitted.id, f"wait {number}"),
                    parent=root.id,
                    start_ns=zero_ns + round(ended_ms * 1e6),
                    end_ns=zero_ns + round(row.started_ms * 1e6),
                )
            )
        ended_ms = max(ended_ms, row.ended_ms)
        spans.append(_attempt(admitted, row, number, root.id, zero_ns))
    return Trace(context, spans)


def _root(admitted: Admitted, settled: Settled | None, context: Context, zero_ns: int) -> Span:
    key, project, team, organisation = admitted.caller
    said: dict[str, Value] = {
        genai.OPERATION: genai.CHAT,
        genai.REQUEST_MODEL: admitted.asked_model,
        genai.CONVERSATION: admitted.session,
        "pointsman.request.id": admitted.id,
        "pointsman.config": admitted.config_version,
        "pointsman.key": key,
        "pointsman.project": project,
        "pointsman.team": team,
        "pointsman.organisation": organisation,
    }
    root = Span(
        name=f"{genai.CHAT} {admitted.asked_model}",
        id=span_id(admitted.id),
        parent=context.parent,
        remote=bool(context.parent),
        kind="server",
        start_ns=zero_ns,
        end_ns=zero_ns,
        attributes=said,
    )
    if settled is None:
        root.error = "recovered"
        said["pointsman.outcome"] = root.error
    else:
        nano, state = total_of(settled.attempts)
        said |= {
            genai.STATUS_CODE: settled.status,
            "pointsman.route": settled.route,
            "pointsman.outcome": settled.outcome,
            "pointsman.attempts": len(settled.attempts),
            "pointsman.cost.state": state,
            "pointsman.degraded": settled.degraded,
            "pointsman.cache": settled.cache,
        }
        said |= {"pointsman.cost.usd": nano / 1e9} if nano >= 0 else {}
        root.end_ns = zero_ns + round(settled.ended_ms * 1e6)
        root.first_ns = zero_ns + round(settled.first_ms * 1e6) if settled.first_ms else 0
        root.error = "" if settled.outcome in ("ok", "degraded") else settled.outcome
    said |= {genai.ERROR_TYPE: root.error} if root.error else {}
    root.attributes = _said(said)
    return root


def _attempt(admitted: Admitted, row: AttemptRow, number: int, parent: str, zero_ns: int) -> Span:
    usage, features = row.usage, admitted.request.features
    streams = 0.0 < row.answered_ms < row.ended_ms  # one piece ends when it is there
    said: dict[str, Value] = {
        genai.OPERATION: genai.CHAT,
        genai.PROVIDER: genai.provider_name(row.provider),
        genai.REQUEST_MODEL: row.model,
        genai.RESPONSE_MODEL: row.served_model,
        genai.REQUEST_MAX_TOKENS: features.output_tokens or 0,
        genai.REQUEST_CHOICES: features.choices if features.choices != 1 else 0,
        genai.CACHE_READ_TOKENS: usage.cache_read_tokens,
        genai.CACHE_WRITE_TOKENS: usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        genai.REASONING_TOKENS: usage.reasoning_tokens,
        genai.STATUS_CODE: row.status,
        "pointsman.deployment": row.deployment,
        "pointsman.cost.state": row.charge_state,
        "pointsman.usage.source": usage.source,
    }
    said = _said(said) | {"pointsman.attempt": number}
    if usage.source != "unknown":
        said |= {genai.INPUT_TOKENS: usage.input_tokens, genai.OUTPUT_TOKENS: usage.output_tokens}
    if row.charge_nano >= 0:
        said["pointsman.cost.usd"] = row.charge_nano / 1e9
    if streams:
        said |= {genai.REQUEST_STREAM: True, genai.FIRST_CHUNK: (row.answered_ms - row.started_ms) / 1000.0}
    error = "" if row.outcome == "ok" else row.outcome
    said |= {genai.ERROR_TYPE: error} if error else {}
    return Span(
        name=f"{genai.CHAT} {row.model}",
        id=span_id(admitted.id, attempt_part(row.deployment, row.started_ms)),
        parent=parent,
        kind="client",
        start_ns=zero_ns + round(row.started_ms * 1e6),
        end_ns=zero_ns + round(row.ended_ms * 1e6),
        attributes=said,
        first_ns=zero_ns + round(row.answered_ms * 1e6) if row.answered_ms and not error else 0,
        error=error,
    )


def _said(values: dict[str, Value]) -> dict[str, Value]:
    """Leave out what is not known: empty texts and zeros."""
    return {name: value for name, value in values.items() if value not in ("", 0)}

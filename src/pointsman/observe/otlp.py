"""OTLP: sends spans to an OpenTelemetry collector, over HTTP. The one file that imports OpenTelemetry; it is loaded
only when it is used."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from pointsman import __version__
from pointsman.core.trace import Context, Tracing
from pointsman.observe import genai
from pointsman.observe.spans import FIRST_CONTENT, Span, Trace

SEND_S = 5.0  # for one export, the library's own repetitions included
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SCOPE = InstrumentationScope("pointsman", __version__, genai.SCHEMA_URL)


class Exporter:
    """Export traces to one endpoint."""

    def __init__(self, tracing: Tracing) -> None:
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        logging.getLogger("opentelemetry").propagate = False  # what fails is said once, by who exports
        self._resource = Resource({"service.name": tracing.service, "service.version": __version__})
        self._otlp: Any = OTLPSpanExporter(
            endpoint=tracing.endpoint,
            headers={name: value.reveal() for name, value in tracing.headers},
            timeout=SEND_S,
            compression=Compression.Gzip,
            session=_session(),
        )

    def export(self, traces: list[Trace]) -> bool:
        """Send; return whether the collector took all. Waits for at most about SEND_S, and raises nothing that a
        collector can cause."""
        spans = [self._made(trace.context, span) for trace in traces for span in trace.spans]
        try:
            return bool(self._otlp.export(spans) is SpanExportResult.SUCCESS)
        except (OSError, ValueError, RuntimeError):  # the library reports most of it by its result
            return False

    def close(self) -> None:
        self._otlp.shutdown()

    def _made(self, context: Context, span: Span) -> ReadableSpan:
        state = TraceState.from_header([context.state]) if context.state else TraceState()
        flags = TraceFlags(TraceFlags.SAMPLED)
        trace = int(context.trace, 16)
        parent = None
        if span.parent:
            parent = SpanContext(
                trace, int(span.parent, 16), is_remote=span.remote, trace_flags=flags, trace_state=state
            )
        return ReadableSpan(
            span.name,
            SpanContext(trace, int(span.id, 16), is_remote=False, trace_flags=flags, trace_state=state),
            parent,
            self._resource,
            span.attributes,
            [Event(FIRST_CONTENT, timestamp=span.first_ns)] if span.first_ns else [],
            kind=KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )


def _session() -> Any:
    """Return a session that follows no redirect and heeds no proxy of the environment: headers go to the endpoint only."""
    import requests

    session = requests.Session()
    session.max_redirects = 0
    session.trust_env = False
    return session

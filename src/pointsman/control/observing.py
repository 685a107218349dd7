"""Observing: what was booked becomes spans and lines of the log, in a thread of its own.

The pump hands over what it has written and goes on: what the thread does not keep up with is dropped and counted. A collector
that is away or slow holds up nothing but itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.entry import Admitted, Settled, total_of
from pointsman.core.log import LogSettings
from pointsman.core.policy import Policy
from pointsman.core.trace import Tracing
from pointsman.observe.log import LOG
from pointsman.observe.spans import Trace, trace_of

if TYPE_CHECKING:
    from pointsman.observe.otlp import Exporter

MOST_WAITING = 10_000  # requests whose spans and lines are not made yet
MOST_AT_ONCE = 200  # of them in one export
FLUSH_S = 6.0  # at the end, for what waits
WELL = ("ok", "degraded")

Ended = tuple[Admitted | None, Settled | None]


class Exports(msgspec.Struct):
    """Hold what became of the spans since the control process started."""

    spans: int = 0
    dropped: int = 0
    failures: int = 0


class Observer(threading.Thread):
    """Make spans and lines of what is booked, until told to stop. `policy` gives the present one."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        super().__init__(name="observer", daemon=True)
        self.exports = Exports()
        self._policy = policy
        self._waiting: deque[Ended] = deque()
        self._more = threading.Event()
        self._stopping = False
        self._tracing: Tracing | None = None
        self._exporter: Exporter | None = None
        self._failed = False  # the last export did

    def is_wanted(self) -> bool:
        """Tell whether the present policy asks for spans or lines of requests."""
        listener = self._policy().listener
        return listener.tracing is not None or listener.log.requests != "none"

    def booked(self, ended: Iterable[Ended]) -> None:
        """Take what the pump has written. Never waits."""
        if not self.is_wanted():
            return
        for one in ended:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(one)
            else:
                self.exports.dropped += 1
        self._more.set()

    def stop(self) -> None:
        """Make what waits, for a bounded time, and end."""
        self._stopping = True
        self._more.set()
        if self.is_alive():
            self.join(FLUSH_S)

    def run(self) -> None:
        while not (self._stopping and not self._waiting):
            if not self._waiting:
                self._more.wait()
            self._more.clear()
            self._take([self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))])

    def _take(self, ended: list[Ended]) -> None:
        listener = self._policy().listener
        if listener.log.requests != "none":
            for admitted, settled in ended:
                tell(listener.log, admitted, settled)
        if listener.tracing is not None:
            found = [trace_of(one, settled, listener.tracing.sample) for one, settled in ended if one is not None]
            self._export(listener.tracing, [trace for trace in found if trace is not None])

    def _export(self, tracing: Tracing, traces: list[Trace]) -> None:
        if not traces:
            return
        count = sum(len(trace.spans) for trace in traces)
        if self._exporter is None or tracing != self._tracing:
            from pointsman.observe.otlp import Exporter

            if self._exporter is not None:
                self._exporter.close()
            self._exporter, self._tracing = Exporter(tracing), tracing
        if self._exporter.export(traces):
            self.exports.spans += count
            self._failed = False
            return
        self.exports.failures += 1
        self.exports.dropped += count
        if not self._failed:
            LOG.warning(
                "tracing_failed", f"the collector of server.tracing did not take {count} spans; they are dropped"
            )
        self._failed = True


def tell(settings: LogSettings, admitted: Admitted | None, settled: Settled | None) -> None:
    """Write the line of one request, if it shall have one. No word of the request or of the answer stands in it."""
    outcome = "recovered" if settled is None else settled.outcome
    if outcome in WELL and (settings.requests == "errors" or not _drawn(settled, settings.sample)):
        return
    fields: dict[str, Any] = {"outcome": outcome}
    if settled is not None:
        nano, state = total_of(settled.attempts)
        last = settled.attempts[-1] if settled.attempts else None
        fields = {"id": settled.id, "route": settled.route} | fields
        fields |= {"status": settled.status, "attempts": len(settled.attempts)}
        fields |= {"deployment": last.deployment} if last is not None else {}
        fields |= {"duration_ms": round(settled.ended_ms, 3), "first_ms": round(settled.first_ms, 3)}
        fields |= {"overhead_ms": round(max(0.0, settled.ended_ms - settled.upstream_ms), 3), "cost_state": state}
        fields |= {"cost_usd": nano / 1e9} if nano >= 0 else {}
        fields |= {"input_tokens": sum(row.usage.input_tokens for row in settled.attempts)}
        fields |= {"output_tokens": sum(row.usage.output_tokens for row in settled.attempts)}
    if admitted is not None:
        fields |= {"id": admitted.id, "key": admitted.caller[0], "config": admitted.config_version}
        fields |= {"trace": admitted.trace[3:35]} if admitted.trace else {}
    LOG.request(outcome in WELL, fields)


def _drawn(settled: Settled | None, sample: float) -> bool:
    """Tell whether a request is of the sample, by its id: the same ones whoever asks."""
    return settled is None or int(settled.id[-8:], 16) < sample * 2.0**32

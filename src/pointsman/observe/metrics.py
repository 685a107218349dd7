"""Metrics: counters in plain slots on the hot path, rendered as Prometheus text on scrape.

METRICS documents every name; a test holds docs/metrics.md against it. Labels are bounded: routes, deployments and outcome
kinds come from config and code, never from a client (fault 101).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from pointsman.core.entry import AttemptRow, Settled

# Seconds; LLM answers take from tens of milliseconds to minutes, the router's own part microseconds.
LATENCY_EDGES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
OVERHEAD_EDGES_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)

METRICS: dict[str, tuple[str, str]] = {
    "pointsman_requests_total": ("counter", "Admitted requests by route, answering deployment and outcome."),
    "pointsman_refused_total": ("counter", "Requests refused before admission, by error code."),
    "pointsman_shed_total": ("counter", "Requests refused because the router had too much to do, by class."),
    "pointsman_attempts_total": ("counter", "Sends to providers, retries and failovers included, by route."),
    "pointsman_tokens_total": ("counter", "Tokens of answered requests by deployment and direction."),
    "pointsman_cost_usd_total": ("counter", "Charges in US dollars by deployment and state (measured, estimated)."),
    "pointsman_unpriced_total": ("counter", "Attempts whose cost is unknown, by deployment."),
    "pointsman_degraded_total": ("counter", "Requests that a rung of the ladder answered, by route and rung."),
    "pointsman_replayed_total": ("counter", "Answers given again to requests with the same Idempotency-Key."),
    "pointsman_cache_requests_total": ("counter", "Requests on routes that keep answers, by what was found."),
    "pointsman_cache_saved_usd_total": ("counter", "What answers given again had cost, in US dollars, by route."),
    "pointsman_cache_errors_total": ("counter", "Answers that could not be written for other workers and restarts."),
    "pointsman_cache_checks_total": ("counter", "Answers to similar questions that were judged: right, wrong, down."),
    "pointsman_cache_threshold": ("gauge", "How near a question must be to a similar one, by route; 1: none is given."),
    "pointsman_cache_wrong_share": ("gauge", "Bounds of the share of wrong ones, 95 % interval, by route."),
    "pointsman_cache_bytes": ("gauge", "Bytes of answers kept in the memory of the workers."),
    "pointsman_cache_entries": ("gauge", "Answers kept there."),
    "pointsman_feedback_total": ("counter", "Feedback taken, by source; sources without a name here are `other`."),
    "pointsman_time_to_first_token_seconds": ("histogram", "Receipt of a request to its first content, by route."),
    "pointsman_request_duration_seconds": ("histogram", "Receipt of a request to its end, by route."),
    "pointsman_overhead_seconds": ("histogram", "The router's own part of a request's duration."),
    "pointsman_active_requests": ("gauge", "Requests under way."),
    "pointsman_pressure": ("gauge", "Requests under way as a share of those a worker can take now, of the busiest."),
    "pointsman_open_connections": ("gauge", "Client connections open."),
    "pointsman_breaker_state": ("gauge", "By deployment: 0 closed, 1 half open, 2 open, 3 cooling."),
    "pointsman_silent_answers_total": ("counter", "Whole answers with neither content nor a tool call, by deployment."),
    "pointsman_alerts_total": ("counter", "Alerts by deployment: why it was ejected for long, or returned."),
    "pointsman_plugin_failures_total": ("counter", "Calls of plug-ins that raised, answered wrongly or took too long."),
    "pointsman_journal_errors_total": ("counter", "Records the journal could not take."),
    "pointsman_quota_events_total": ("counter", "By quota: near, over, refused, degraded, waited."),
    "pointsman_counters_failures_total": ("counter", "Calls of the counter store that failed, by what went wrong."),
    "pointsman_counters_local": ("gauge", "Workers that have lost the shared counter store and decide alone."),
    "pointsman_callers_errors_total": ("counter", "Failures to take over what was published of the key store."),
    "pointsman_complaints_lost_total": ("counter", "Lines for standard error that nobody took."),
    "pointsman_journal_waiting_bytes": ("gauge", "Journal not yet taken into the ledger."),
    "pointsman_workers": ("gauge", "Workers whose counters are in this scrape."),
    "pointsman_config_workers": ("gauge", "Of these, workers that serve a config version."),
}
SOURCES = frozenset({"user", "reviewer", "evaluator", "implicit"})  # of feedback; clients may name others
BREAKER_VALUES = {"closed": 0, "half_open": 1, "open": 2, "cooling": 3}


class Metrics(msgspec.Struct):
    """Hold the counters of one worker; a Struct, so that it is written to a file for the other workers as it is."""

    requests: dict[str, int] = {}  # keys are label values joined by US (0x1f): JSON and MessagePack need text
    refused: dict[str, int] = {}
    attempts: dict[str, int] = {}
    tokens: dict[str, list[int]] = {}
    cost_nano: dict[str, list[int]] = {}  # deployment -> [measured, estimated]
    unpriced: dict[str, int] = {}
    ttft: dict[str, list[float]] = {}  # route -> bucket counts, then sum
    total: dict[str, list[float]] = {}
    overhead: list[float] = msgspec.field(default_factory=lambda: [0.0] * (len(OVERHEAD_EDGES_S) + 2))
    journal_errors: int = 0
    callers_errors: int = 0
    active: int = 0
    connections: int = 0
    breakers: dict[str, int] = {}
    config: dict[str, int] = {}  # version -> workers that serve it
    plugin_failures: dict[str, int] = {}
    degraded: dict[str, int] = {}
    feedback: dict[str, int] = {}
    complaints_lost: int = 0
    replayed: int = 0
    shed: dict[str, int] = {}
    pressure: float = 0.0
    silent: dict[str, int] = {}
    alerts: dict[str, int] = {}
    quotas: dict[str, int] = {}
    counters_failed: dict[str, int] = {}
    counters_local: int = 0
    cached: dict[str, int] = {}
    saved_nano: dict[str, int] = {}
    cache_checks: dict[str, int] = {}
    cache_trust: dict[str, list[float]] = {}  # route -> [judged, low, high, threshold]
    cache_errors: int = 0
    cache_bytes: int = 0
    cache_entries: int = 0
    noted: list[Settled] = []  # finished requests not yet counted

    def count(self) -> None:
        """Count what was noted: all together, once a turn at most, and before the counters are read."""
        noted, self.noted = self.noted, []
        requests, attempts, overhead = self.requests, self.attempts, self.overhead
        for s in noted:
            route, rows = s.route, s.attempts
            key = f"{route}\x1f{rows[-1].deployment if rows and s.hit is None else ''}\x1f{s.outcome}"
            requests[key] = requests.get(key, 0) + 1
            attempts[route] = attempts.get(route, 0) + len(rows)
            for row in rows:
                self._charge(row)
            if s.degraded:
                key = f"{route}\x1f{s.degraded}"
                self.degraded[key] = self.degraded.get(key, 0) + 1
            if s.cache:
                self._note_cache(s)
            if s.first_ms:
                _observe(self.ttft, route, s.first_ms / 1000.0)
            _observe(self.total, route, s.ended_ms / 1000.0)
            own_s = (s.ended_ms - s.upstream_ms) / 1000.0
            own_s = own_s if own_s > 0.0 else 0.0
            overhead[bisect_left(OVERHEAD_EDGES_S, own_s)] += 1
            overhead[-1] += own_s

    def _charge(self, row: AttemptRow) -> None:
        usage, name = row.usage, row.deployment
        counts = self.tokens.get(name)
        if counts is None:
            counts = self.tokens[name] = [0, 0]
        counts[0] += usage.input_tokens
        counts[1] += usage.output_tokens
        if row.charge_state == "unpriced":
            self.unpriced[name] = self.unpriced.get(name, 0) + 1
        elif row.charge_nano:
            costs = self.cost_nano.get(name)
            if costs is None:
                costs = self.cost_nano[name] = [0, 0]
            costs[row.charge_state == "estimated"] += row.charge_nano

    def _note_cache(self, s: Settled) -> None:
        key = f"{s.route}\x1f{s.cache}"
        self.cached[key] = self.cached.get(key, 0) + 1
        if s.hit is not None and s.hit.saved_nano > 0:
            self.saved_nano[s.route] = self.saved_nano.get(s.route, 0) + s.hit.saved_nano

    def refuse(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1

    def judge(self, source: str) -> None:
        """Count one feedback. Sources come from clients, so only those of SOURCES have a label of their own."""
        source = source if source in SOURCES else "other"
        self.feedback[source] = self.feedback.get(source, 0) + 1


def _observe(table: dict[str, list[float]], key: str, value_s: float) -> None:
    counts = table.get(key)
    if counts is None:
        counts = table[key] = [0.0] * (len(LATENCY_EDGES_S) + 2)
    counts[bisect_left(LATENCY_EDGES_S, value_s)] += 1
    counts[-1] += value_s


_SUMS = (
    *("journal_errors", "callers_errors", "complaints_lost", "replayed", "active", "connections", "counters_local"),
    *("cache_errors", "cache_bytes", "cache_entries"),
)


def merge(parts: Iterable[Metrics]) -> tuple[Metrics, int]:
    """Return the sum of the workers' counters, and how many there were. A breaker shows its worst state."""
    total, workers = Metrics(), 0
    for part in parts:
        workers += 1
        for name in (
            "requests",
            "refused",
            "attempts",
            "unpriced",
            "config",
            "plugin_failures",
            "silent",
            "alerts",
            "quotas",
            "counters_failed",
            "degraded",
            "feedback",
            "shed",
            "cached",
            "saved_nano",
            "cache_checks",
        ):
            mine = getattr(total, name)
            for key, value in getattr(part, name).items():
                mine[key] = mine.get(key, 0) + value
        for name in ("tokens", "cost_nano", "ttft", "total"):
            mine = getattr(total, name)
            for key, values in getattr(part, name).items():
                mine[key] = [a + b for a, b in zip(mine[key], values, strict=True)] if key in mine else list(values)
        total.overhead = [a + b for a, b in zip(total.overhead, part.overhead, strict=True)]
        for name in _SUMS:
            setattr(total, name, getattr(total, name) + getattr(part, name))
        for key, trust in part.cache_trust.items():
            total.cache_trust[key] = max(
                trust, total.cache_trust.get(key, trust)
            )  # all know the same, some a little later
        total.pressure = max(total.pressure, part.pressure)
        for key, value in part.breakers.items():
            total.breakers[key] = max(value, total.breakers.get(key, 0))
    return total, workers


def render(m: Metrics, workers: int, journal_bytes: int) -> bytes:
    """Return the Prometheus text format, version 0.0.4."""
    rows: dict[str, list[str]] = {name: [] for name in METRICS}
    for key, count in sorted(m.requests.items()):
        route, deployment, outcome = key.split("\x1f")
        labels = _labels(route=route, deployment=deployment, outcome=outcome)
        rows["pointsman_requests_total"].append(f"{labels} {count}")
    for key, count in sorted(m.degraded.items()):
        route, rung = key.split("\x1f")
        rows["pointsman_degraded_total"].append(f"{_labels(route=route, rung=rung)} {count}")
    _cache(rows, m)
    _counters(rows["pointsman_feedback_total"], "source", m.feedback)
    _counters(rows["pointsman_refused_total"], "code", m.refused)
    _counters(rows["pointsman_shed_total"], "priority", m.shed)
    _counters(rows["pointsman_attempts_total"], "route", m.attempts)
    _counters(rows["pointsman_unpriced_total"], "deployment", m.unpriced)
    _counters(rows["pointsman_breaker_state"], "deployment", m.breakers)
    _counters(rows["pointsman_plugin_failures_total"], "plugin", m.plugin_failures)
    _counters(rows["pointsman_silent_answers_total"], "deployment", m.silent)
    for key, count in sorted(m.alerts.items()):
        deployment, what = key.split("\x1f")
        rows["pointsman_alerts_total"].append(f"{_labels(deployment=deployment, alert=what)} {count}")
    for key, count in sorted(m.quotas.items()):
        quota, event = key.split("\x1f")
        rows["pointsman_quota_events_total"].append(f"{_labels(quota=quota, event=event)} {count}")
    _counters(rows["pointsman_counters_failures_total"], "failure", m.counters_failed)
    _counters(rows["pointsman_config_workers"], "version", m.config)
    for deployment, (given, made) in sorted(m.tokens.items()):
        rows["pointsman_tokens_total"].append(f"{_labels(deployment=deployment, direction='input')} {given}")
        rows["pointsman_tokens_total"].append(f"{_labels(deployment=deployment, direction='output')} {made}")
    for deployment, costs in sorted(m.cost_nano.items()):
        for state, nano in zip(("measured", "estimated"), costs, strict=True):
            rows["pointsman_cost_usd_total"].append(f"{_labels(deployment=deployment, state=state)} {nano / 1e9:.9f}")
    for name, table in (("time_to_first_token", m.ttft), ("request_duration", m.total)):
        for route, counts in sorted(table.items()):
            rows[f"pointsman_{name}_seconds"] += _histogram(LATENCY_EDGES_S, counts, route=route)
    rows["pointsman_overhead_seconds"] += _histogram(OVERHEAD_EDGES_S, m.overhead)
    for name, value in (
        ("active_requests", m.active),
        ("open_connections", m.connections),
        ("pressure", m.pressure),
        ("counters_local", m.counters_local),
        ("cache_errors_total", m.cache_errors),
        ("cache_bytes", m.cache_bytes),
        ("cache_entries", m.cache_entries),
        ("journal_errors_total", m.journal_errors),
        ("callers_errors_total", m.callers_errors),
        ("complaints_lost_total", m.complaints_lost),
        ("replayed_total", m.replayed),
        ("journal_waiting_bytes", journal_bytes),
        ("workers", workers),
    ):
        rows[f"pointsman_{name}"].append(f" {value}")
    return "".join(_family(name, rows[name]) for name in METRICS).encode()


def _cache(rows: dict[str, list[str]], m: Metrics) -> None:
    """Add the rows of the cache of answers."""
    for key, count in sorted(m.cached.items()):
        route, result = key.split("\x1f")
        rows["pointsman_cache_requests_total"].append(f"{_labels(route=route, result=result)} {count}")
    for route, nano in sorted(m.saved_nano.items()):
        rows["pointsman_cache_saved_usd_total"].append(f"{_labels(route=route)} {nano / 1e9:.9f}")
    for key, count in sorted(m.cache_checks.items()):
        route, verdict = key.split("\x1f")
        rows["pointsman_cache_checks_total"].append(f"{_labels(route=route, verdict=verdict)} {count}")
    for route, (_, low, high, threshold) in sorted(m.cache_trust.items()):
        rows["pointsman_cache_threshold"].append(f"{_labels(route=route)} {threshold:.4f}")
        for bound, share in (("low", low), ("high", high)):
            rows["pointsman_cache_wrong_share"].append(f"{_labels(route=route, bound=bound)} {share:.6f}")


def _family(name: str, rows: list[str]) -> str:
    kind, text = METRICS[name]
    lines = "".join(f"{name}{row}\n" for row in rows)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{lines}"


def _counters(rows: list[str], label: str, table: dict[str, int]) -> None:
    rows += [f"{_labels(**{label: key})} {count}" for key, count in sorted(table.items())]


def _histogram(edges: tuple[float, ...], counts: list[float], **labels: str) -> list[str]:
    rows, running = [], 0
    for edge, count in zip((*map(str, edges), "+Inf"), counts, strict=False):
        running += int(count)
        rows.append(f"_bucket{_labels(**labels, le=edge)} {running}")
    return [*rows, f"_sum{_labels(**labels)} {counts[-1]:.6f}", f"_count{_labels(**labels)} {running}"]


def _labels(**labels: str) -> str:
    if not labels:
        return ""
    quoted = (
        f'{k}="{v.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"' for k, v in labels.items()
    )
    return "{" + ",".join(quoted) + "}"

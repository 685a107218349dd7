"""Metrics: counters in plain slots on the hot path, rendered as Prometheus text on scrape (`observe/render.py`).

METRICS documents every name; a test holds docs/metrics.md against it. Labels are bounded: routes, deployments and outcome
kinds come from config and code, never from a client (fault 101), and of what configs name over time MOST_SERIES are told apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

import msgspec

from pointsman.core.entry import AttemptRow, Settled

US = "\x1f"  # joins the label values of a key: JSON and MessagePack need text
OTHER = "other"
MOST_SERIES = 1_000  # keys of one table; what is new beyond them is counted under OTHER

# Seconds; LLM answers take from milliseconds (kept ones) to minutes, the router's own part microseconds.
LATENCY_EDGES_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0),
)  # fmt: skip
OVERHEAD_EDGES_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
# Tokens; the boundaries that the OpenTelemetry conventions recommend, up to what an answer can have.
TOKEN_EDGES = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0)
Values = list[float] | list[int]
Series = dict[str, list[float]]  # key -> counts of the buckets, then the sum

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
    "pointsman_phase_seconds": ("histogram", "Parts of a request's duration, by phase: queue, decide, connect, retry."),
    "gen_ai_client_operation_duration_seconds": ("histogram", "Attempts, by provider, model and error."),
    "gen_ai_client_token_usage": ("histogram", "Tokens of attempts, by provider, model and type: input, output."),
    "pointsman_active_requests": ("gauge", "Requests under way."),
    "pointsman_pressure": ("gauge", "Requests under way as a share of those a worker can take now, of the busiest."),
    "pointsman_open_connections": ("gauge", "Client connections open."),
    "pointsman_breaker_state": ("gauge", "By deployment: 0 closed, 1 half open, 2 open, 3 cooling."),
    "pointsman_silent_answers_total": ("counter", "Whole answers with neither content nor a tool call, by deployment."),
    "pointsman_alerts_total": ("counter", "Alerts by deployment: why it was ejected for long, or returned."),
    "pointsman_plugin_failures_total": ("counter", "Calls of plug-ins that raised, answered wrongly or took too long."),
    "pointsman_bodies_stored_total": ("counter", "Requests whose bodies were stored."),
    "pointsman_bodies_lost_total": ("counter", "Requests whose bodies should have been stored and could not be."),
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
FEW = 8  # values that are put into a histogram one by one
LEAST_S = 1e-6  # less is the rounding of a difference, and no wait
BREAKER_VALUES = {"closed": 0, "half_open": 1, "open": 2, "cooling": 3}


class Metrics(msgspec.Struct):
    """Hold the counters of one worker; a Struct, so that it is written to a file for the other workers as it is."""

    requests: dict[str, int] = {}  # keys are label values joined by US
    refused: dict[str, int] = {}
    attempts: dict[str, int] = {}
    tokens: dict[str, list[int]] = {}
    cost_nano: dict[str, list[int]] = {}  # deployment -> [measured, estimated]
    unpriced: dict[str, int] = {}
    ttft: Series = {}  # by route
    total: Series = {}
    phases: Series = {}
    operations: Series = {}  # by provider, model and error
    used: Series = {}  # by provider, model and type of token
    overhead: list[float] = msgspec.field(default_factory=lambda: [0.0] * (len(OVERHEAD_EDGES_S) + 2))
    journal_errors: int = 0
    bodies_stored: int = 0
    bodies_lost: int = 0
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
        ends: dict[tuple[str, str, str], int] = {}
        by_route: dict[str, list[Settled]] = {}
        by_place: dict[tuple[str, str, str, str], list[AttemptRow]] = {}
        for s in noted:
            route, rows = s.route, s.attempts
            end = route, rows[-1].deployment if rows and s.hit is None else "", s.outcome
            ends[end] = ends.get(end, 0) + 1
            of_route = by_route.get(route)
            if of_route is None:
                of_route = by_route[route] = []
            of_route.append(s)
            for row in rows:
                at = row.deployment, row.provider, row.model, row.outcome
                there = by_place.get(at)
                if there is None:
                    there = by_place[at] = []
                there.append(row)
            if s.degraded:
                add(self.degraded, f"{route}\x1f{s.degraded}")
            if s.cache:
                self._note_cache(s)
        for end, count in ends.items():
            add(self.requests, US.join(end), count)
        for route, of_route in by_route.items():
            add(self.attempts, route, sum([len(s.attempts) for s in of_route]))
            observe(self.ttft, route, [s.first_ms / 1000.0 for s in of_route if s.first_ms])
            observe(self.total, route, [s.ended_ms / 1000.0 for s in of_route])
        for at, there in by_place.items():
            self._attempts(at, there)
        if noted:
            self._own(noted)

    def _own(self, noted: list[Settled]) -> None:
        """Count the time that was the router's own, in all and by phase."""
        own = [max(0.0, s.ended_ms - s.upstream_ms) / 1000.0 for s in noted]
        read, decided = [s.queue_ms / 1000.0 for s in noted], [s.decided_ms / 1000.0 for s in noted]
        retry = [o - d for o, d in zip(own, decided, strict=True) if o - d > LEAST_S]
        decide = [d - r for d, r in zip(decided, read, strict=True)]
        fill(self.overhead, own, OVERHEAD_EDGES_S)
        observe(self.phases, "queue", read, OVERHEAD_EDGES_S)
        observe(self.phases, "decide", decide, OVERHEAD_EDGES_S)
        if retry:
            observe(self.phases, "retry", retry, OVERHEAD_EDGES_S)

    def _attempts(self, at: tuple[str, str, str, str], rows: list[AttemptRow]) -> None:
        """Count the attempts of one deployment that ended in one way."""
        name, provider, model, outcome = at
        called = f"{provider}\x1f{model}\x1f"
        used = [row.usage for row in rows if row.usage.input_tokens or row.usage.output_tokens]
        given, made = [usage.input_tokens for usage in used], [usage.output_tokens for usage in used]
        counts = self.tokens.setdefault(bounded(self.tokens, name), [0, 0])
        counts[0] += sum(given)
        counts[1] += sum(made)
        if used:
            observe(self.used, f"{called}input", given, TOKEN_EDGES)
            observe(self.used, f"{called}output", made, TOKEN_EDGES)
        took = [(row.ended_ms - row.started_ms) / 1000.0 for row in rows]
        observe(self.operations, called + ("" if outcome == "ok" else outcome), took)
        connect = [(row.connected_ms - row.started_ms) / 1000.0 for row in rows if row.connected_ms]
        if connect:
            observe(self.phases, "connect", connect, OVERHEAD_EDGES_S)
        states = [row.charge_state for row in rows]
        if unpriced := states.count("unpriced"):
            add(self.unpriced, name, unpriced)
        for place, state in enumerate(("measured", "estimated")):
            nano = sum([row.charge_nano for row in rows if row.charge_state == state]) if state in states else 0
            if nano:
                self.cost_nano.setdefault(bounded(self.cost_nano, name), [0, 0])[place] += nano

    def _note_cache(self, s: Settled) -> None:
        add(self.cached, f"{s.route}\x1f{s.cache}")
        if s.hit is not None and s.hit.saved_nano > 0:
            add(self.saved_nano, s.route, s.hit.saved_nano)

    def refuse(self, code: str) -> None:
        add(self.refused, code)

    def judge(self, source: str) -> None:
        """Count one feedback. Sources come from clients, so only those of SOURCES have a label of their own."""
        add(self.feedback, source if source in SOURCES else OTHER)


def bounded(table: Mapping[str, object], key: str) -> str:
    """Return the key to count a new series under: its own, or that of all others once a table has MOST_SERIES."""
    if key in table or len(table) < MOST_SERIES:
        return key
    return US.join([OTHER] * (key.count(US) + 1))


def add(table: dict[str, int], key: str, count: int = 1) -> None:
    """Add to a counter; a table never grows beyond MOST_SERIES and one."""
    if key in table:
        table[key] += count
    else:
        key = bounded(table, key)
        table[key] = table.get(key, 0) + count


def observe(table: Series, key: str, values: Values, edges: tuple[float, ...] = LATENCY_EDGES_S) -> None:
    """Put values into a histogram; a table never grows beyond MOST_SERIES and one. The list is used up."""
    counts = table.get(key)
    if counts is None:
        counts = series(table, key, edges)
    fill(counts, values, edges)


def fill(counts: list[float], values: Values, edges: tuple[float, ...]) -> None:
    """Put values into the counts of a histogram. The list is used up: many are put into order first."""
    counts[-1] += sum(values)
    if len(values) < FEW:
        for value in values:
            counts[bisect_left(edges, value)] += 1
        return
    values.sort()
    done, every = 0, len(values)
    for place in range(bisect_left(edges, values[0]), len(edges)):
        upto = bisect_right(values, edges[place], done)
        counts[place] += upto - done
        done = upto
        if done == every:
            return
    counts[len(edges)] += every - done


def series(table: Series, key: str, edges: tuple[float, ...] = LATENCY_EDGES_S) -> list[float]:
    """Return the counts of a histogram, made when there are none."""
    return table.setdefault(bounded(table, key), [0.0] * (len(edges) + 2))


_SUMS = (
    *("bodies_stored", "bodies_lost"),
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
        for name in ("tokens", "cost_nano", "ttft", "total", "phases", "operations", "used"):
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

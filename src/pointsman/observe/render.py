"""Render: the counters of workers as Prometheus text, version 0.0.4."""

from __future__ import annotations

from pointsman.observe import genai
from pointsman.observe.metrics import LATENCY_EDGES_S, METRICS, OVERHEAD_EDGES_S, TOKEN_EDGES, Metrics


def render(m: Metrics, workers: int, journal_bytes: int) -> bytes:
    """Return the Prometheus text format, version 0.0.4."""
    rows: dict[str, list[str]] = {name: [] for name in METRICS}
    for key, count in sorted(m.requests.items()):
        route, deployment, outcome = key.split("\x1f")
        told = labels(route=route, deployment=deployment, outcome=outcome)
        rows["pointsman_requests_total"].append(f"{told} {count}")
    for key, count in sorted(m.degraded.items()):
        route, rung = key.split("\x1f")
        rows["pointsman_degraded_total"].append(f"{labels(route=route, rung=rung)} {count}")
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
        rows["pointsman_alerts_total"].append(f"{labels(deployment=deployment, alert=what)} {count}")
    for key, count in sorted(m.quotas.items()):
        quota, event = key.split("\x1f")
        rows["pointsman_quota_events_total"].append(f"{labels(quota=quota, event=event)} {count}")
    _counters(rows["pointsman_counters_failures_total"], "failure", m.counters_failed)
    _counters(rows["pointsman_config_workers"], "version", m.config)
    for deployment, (given, made) in sorted(m.tokens.items()):
        rows["pointsman_tokens_total"].append(f"{labels(deployment=deployment, direction='input')} {given}")
        rows["pointsman_tokens_total"].append(f"{labels(deployment=deployment, direction='output')} {made}")
    for deployment, costs in sorted(m.cost_nano.items()):
        for state, nano in zip(("measured", "estimated"), costs, strict=True):
            rows["pointsman_cost_usd_total"].append(f"{labels(deployment=deployment, state=state)} {nano / 1e9:.9f}")
    for name, table in (("time_to_first_token", m.ttft), ("request_duration", m.total)):
        for route, counts in sorted(table.items()):
            rows[f"pointsman_{name}_seconds"] += _histogram(LATENCY_EDGES_S, counts, route=route)
    for phase, counts in sorted(m.phases.items()):
        rows["pointsman_phase_seconds"] += _histogram(OVERHEAD_EDGES_S, counts, phase=phase)
    _gen_ai(rows, m)
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
        ("bodies_stored_total", m.bodies_stored),
        ("bodies_lost_total", m.bodies_lost),
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
        rows["pointsman_cache_requests_total"].append(f"{labels(route=route, result=result)} {count}")
    for route, nano in sorted(m.saved_nano.items()):
        rows["pointsman_cache_saved_usd_total"].append(f"{labels(route=route)} {nano / 1e9:.9f}")
    for key, count in sorted(m.cache_checks.items()):
        route, verdict = key.split("\x1f")
        rows["pointsman_cache_checks_total"].append(f"{labels(route=route, verdict=verdict)} {count}")
    for route, (_, low, high, threshold) in sorted(m.cache_trust.items()):
        rows["pointsman_cache_threshold"].append(f"{labels(route=route)} {threshold:.4f}")
        for bound, share in (("low", low), ("high", high)):
            rows["pointsman_cache_wrong_share"].append(f"{labels(route=route, bound=bound)} {share:.6f}")


def _gen_ai(rows: dict[str, list[str]], m: Metrics) -> None:
    """Add the rows whose names and labels are those of the OpenTelemetry conventions (`observe/genai.py`)."""
    for key, counts in sorted(m.operations.items()):
        *called, error = key.split("\x1f")
        more = {"error_type": error} if error else {}
        rows["gen_ai_client_operation_duration_seconds"] += _histogram(
            LATENCY_EDGES_S, counts, **_called(*called), **more
        )
    for key, counts in sorted(m.used.items()):
        *called, kind = key.split("\x1f")
        rows["gen_ai_client_token_usage"] += _histogram(TOKEN_EDGES, counts, **_called(*called), gen_ai_token_type=kind)


def _called(provider: str, model: str) -> dict[str, str]:
    return {
        "gen_ai_operation_name": genai.CHAT,
        "gen_ai_provider_name": genai.provider_name(provider),
        "gen_ai_request_model": model,
    }


def _family(name: str, rows: list[str]) -> str:
    kind, text = METRICS[name]
    lines = "".join(f"{name}{row}\n" for row in rows)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{lines}"


def _counters(rows: list[str], label: str, table: dict[str, int]) -> None:
    rows += [f"{labels(**{label: key})} {count}" for key, count in sorted(table.items())]


def _histogram(edges: tuple[float, ...], counts: list[float], **values: str) -> list[str]:
    rows, running = [], 0
    for edge, count in zip((*map(str, edges), "+Inf"), counts, strict=False):
        running += int(count)
        rows.append(f"_bucket{labels(**values, le=edge)} {running}")
    return [*rows, f"_sum{labels(**values)} {counts[-1]:.6f}", f"_count{labels(**values)} {running}"]


def labels(**values: str) -> str:
    """Return labels with their values quoted, "" for none."""
    if not values:
        return ""
    quoted = (
        f'{k}="{v.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"' for k, v in values.items()
    )
    return "{" + ",".join(quoted) + "}"

"""Measures: the metrics of all workers, and the control process's own beside them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from pointsman.control.observing import Exports
from pointsman.control.price_watch import Counts as PriceCounts
from pointsman.control.pump import Counts
from pointsman.core.policy import Policy
from pointsman.core.reading import Reading, Readings, newest
from pointsman.core.standing import Standings
from pointsman.observe.log import LOG
from pointsman.observe.metrics import BREAKER_VALUES, MOST_SERIES, Metrics, merge
from pointsman.observe.render import labels, render
from pointsman.stores.journal import waiting_bytes
from pointsman.stores.versions import outcome

RESTARTS = "restarts.json"  # in the folder `run`, by the supervisor
NO_PRICES = PriceCounts()
STALE_S = 5.0  # a worker that has said nothing for so long is gone

CONTROL_METRICS: dict[str, tuple[str, str, str]] = {  # name -> kind, meaning, field of Counts or of a reload's outcome
    "pointsman_ledger_rows_total": ("counter", "Requests booked since the control process started.", "rows"),
    "pointsman_ledger_recovered_total": ("counter", "Of these, requests whose worker died.", "recovered"),
    "pointsman_ledger_damaged_bytes_total": ("counter", "Journal bytes that could not be read.", "damaged_bytes"),
    "pointsman_ledger_errors_total": ("counter", "Failures to book, each tried again.", "errors"),
    "pointsman_ledger_up": ("gauge", "0: the last look at the ledger failed; the journal keeps what happens.", "up"),
    "pointsman_ledger_lag_bytes": ("gauge", "Journal not yet read by the control process.", "lag_bytes"),
    "pointsman_ledger_open_requests": ("gauge", "Admitted requests that have not ended.", "open_requests"),
    "pointsman_ledger_processes": (
        "gauge",
        "Processes that book the journals: 1, or 2 when several are far behind.",
        "processes",
    ),
    "pointsman_signals_total": ("counter", "Implicit signals written: asked again, asked anew, left.", "signals"),
    "pointsman_bodies_dropped_total": ("counter", "Files of stored bodies gone before their time.", "bodies_dropped"),
    "pointsman_ledger_deleted_rows_total": ("counter", "Rows that retention has deleted.", "deleted_rows"),
    "pointsman_callers_store_errors_total": ("counter", "Failures to read or publish the key store.", "store_errors"),
    "pointsman_issuers_errors_total": ("counter", "Failures to have the keys of issuers.", "issuer_errors"),
    "pointsman_notify_failures_total": (
        "counter",
        "Messages that a channel of `notify` did not take.",
        "unsent_notices",
    ),
    "pointsman_price_refreshes_total": ("counter", "Price lists read and checked.", "price_refreshes"),
    "pointsman_price_refresh_failures_total": (
        "counter",
        "Price lists that could not be read, or are none.",
        "price_refresh_failures",
    ),
    "pointsman_prices_held": ("gauge", "Models whose new price the last look held back.", "prices_held"),
    "pointsman_spans_total": ("counter", "Spans that the collector of `server.tracing` has taken.", "spans"),
    "pointsman_spans_dropped_total": ("counter", "Spans, or requests not yet made into spans, given up.", "dropped"),
    "pointsman_span_export_failures_total": ("counter", "Exports that the collector did not take.", "failures"),
    "pointsman_log_lost_total": ("counter", "Lines of the control process that nobody took.", "lines_lost"),
    "pointsman_config_reloads_total": ("counter", "Config versions adopted since the start.", "reloads"),
    "pointsman_config_reload_failures_total": ("counter", "Changes of the config that were refused.", "failed"),
    "pointsman_config_last_reload_successful": ("gauge", "1: the last look at the config was a success.", "ok"),
    "pointsman_config_last_reload_timestamp_seconds": ("gauge", "When that was, in Unix seconds.", "at_s"),
}


LABELLED_METRICS: dict[str, tuple[str, str, str]] = {  # name -> kind, meaning, label
    "pointsman_process_restarts_total": ("counter", "Processes started again after they died.", "process"),
    "pointsman_route_available_deployments": ("gauge", "Candidates that no breaker keeps from being asked.", "route"),
    "pointsman_quota_used_share": ("gauge", "Used or held of a quota, by its fullest subject.", "quota"),
}


def gather(data: Path) -> tuple[Metrics, int]:
    """Return the sum of what the workers last published, and how many they are."""
    parts = []
    for path in sorted((data / "run").glob("metrics-*.msgpack")):
        try:
            parts.append(msgspec.msgpack.decode(path.read_bytes(), type=Metrics))
        except (OSError, msgspec.MsgspecError):
            continue  # just being replaced, or of another version
    return merge(parts)


def standings(data: Path) -> list[Standings]:
    """Return how each worker that lives sees every deployment, and how much it has to do."""
    found = []
    for path in sorted((data / "run").glob("standing-*.msgpack")):
        try:
            part = msgspec.msgpack.decode(path.read_bytes(), type=Standings)
        except (OSError, msgspec.MsgspecError):
            continue  # just being replaced, or of another version
        if time.time() - part.at_ms / 1000 < STALE_S:
            found.append(part)
    return found


def readings(data: Path) -> list[Reading]:
    """Return how every counter of a data folder stands that its workers have seen."""
    parts = []
    for path in sorted((data / "run").glob("limits-*.msgpack")):
        try:
            parts.append(msgspec.msgpack.decode(path.read_bytes(), type=Readings))
        except (OSError, msgspec.MsgspecError):
            continue  # just being replaced, or of another version
    return newest(parts, int(time.time() * 1000))


def scrape(
    data: Path,
    counts: Counts,
    exports: Exports,
    policy: Policy,
    deleted_rows: int = 0,
    prices: PriceCounts = NO_PRICES,
) -> bytes:
    """Return the Prometheus text format, version 0.0.4."""
    total, workers = gather(data)
    last = outcome(data)
    values = msgspec.structs.asdict(counts) | msgspec.structs.asdict(exports)
    values |= msgspec.structs.asdict(prices)
    values |= {
        "deleted_rows": deleted_rows,
        "lines_lost": LOG.lost,
        "reloads": last.get("reloads", 0),
        "failed": last.get("failed", 0),
    }
    values |= {"ok": int(last.get("ok", True)), "at_s": last.get("at_ms", 0) / 1000}
    own = "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {values[field]}\n"
        for name, (kind, text, field) in CONTROL_METRICS.items()
    )
    own += "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
        + "".join(f"{name}{labels(**{label: key})} {value}\n" for key, value in sorted(found.items())[:MOST_SERIES])
        for (name, (kind, text, label)), found in zip(
            LABELLED_METRICS.items(), (restarts(data), available(policy, total), shares(data)), strict=True
        )
    )
    return render(total, workers, waiting_bytes(data / "journal")) + own.encode()


def restarts(data: Path) -> dict[str, float]:
    """Return how often the supervisor has started again what died, since its start."""
    try:
        return msgspec.json.decode((data / "run" / RESTARTS).read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {"control": 0, "worker": 0}


def available(policy: Policy, total: Metrics) -> dict[str, float]:
    """Return how many candidates of each written route no breaker keeps from being asked, in the eyes of any worker."""
    out = {name for name, state in total.breakers.items() if state >= BREAKER_VALUES["open"]}
    found = {}
    for route in policy.routes.values():
        names = {*route.candidates, *(name for rung in route.degrade for name in rung.candidates)}
        if names and not (route.implicit or route.hidden):
            found[route.name] = float(len(names - out))
    return found


def shares(data: Path) -> dict[str, float]:
    """Return how much of each quota is used or held, as a share, of the subject that has least left."""
    found: dict[str, float] = {}
    for row in readings(data):
        found[row.quota] = max(found.get(row.quota, 0.0), round(1.0 - row.left / row.limit, 6))
    return found

"""Measures: the metrics of all workers, and the control process's own beside them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from pointsman.control.pump import Counts
from pointsman.core.reading import Reading, Readings, newest
from pointsman.core.standing import Standings
from pointsman.observe.metrics import Metrics, merge, render
from pointsman.stores.journal import waiting_bytes
from pointsman.stores.versions import outcome

STALE_S = 5.0  # a worker that has said nothing for so long is gone

CONTROL_METRICS: dict[str, tuple[str, str, str]] = {  # name -> kind, meaning, field of Counts or of a reload's outcome
    "pointsman_ledger_rows_total": ("counter", "Requests booked since the control process started.", "rows"),
    "pointsman_ledger_recovered_total": ("counter", "Of these, requests whose worker died.", "recovered"),
    "pointsman_ledger_damaged_bytes_total": ("counter", "Journal bytes that could not be read.", "damaged_bytes"),
    "pointsman_ledger_errors_total": ("counter", "Failures to book, each tried again.", "errors"),
    "pointsman_ledger_up": ("gauge", "0: the last look at the ledger failed; the journal keeps what happens.", "up"),
    "pointsman_ledger_lag_bytes": ("gauge", "Journal not yet read by the control process.", "lag_bytes"),
    "pointsman_ledger_open_requests": ("gauge", "Admitted requests that have not ended.", "open_requests"),
    "pointsman_callers_store_errors_total": ("counter", "Failures to read or publish the key store.", "store_errors"),
    "pointsman_issuers_errors_total": ("counter", "Failures to have the keys of issuers.", "issuer_errors"),
    "pointsman_notify_failures_total": (
        "counter",
        "Messages that a channel of `notify` did not take.",
        "unsent_notices",
    ),
    "pointsman_config_reloads_total": ("counter", "Config versions adopted since the start.", "reloads"),
    "pointsman_config_reload_failures_total": ("counter", "Changes of the config that were refused.", "failed"),
    "pointsman_config_last_reload_successful": ("gauge", "1: the last look at the config was a success.", "ok"),
    "pointsman_config_last_reload_timestamp_seconds": ("gauge", "When that was, in Unix seconds.", "at_s"),
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


def scrape(data: Path, counts: Counts) -> bytes:
    """Return the Prometheus text format, version 0.0.4."""
    total, workers = gather(data)
    last = outcome(data)
    values = {**msgspec.structs.asdict(counts), "reloads": last.get("reloads", 0), "failed": last.get("failed", 0)}
    values |= {"ok": int(last.get("ok", True)), "at_s": last.get("at_ms", 0) / 1000}
    own = "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {values[field]}\n"
        for name, (kind, text, field) in CONTROL_METRICS.items()
    )
    return render(total, workers, waiting_bytes(data / "journal")) + own.encode()

"""The result of a run: medians of rounds, ratios to nginx in the same round, targets, and what the last run said."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measures import NOISE, Sample

Rounds = list[dict[str, dict[str, Sample]]]  # one a round: system -> test -> sample
HISTORY = Path(__file__).parent / "history.jsonl"
REFERENCE, OURS = "nginx", "pointsman"
WORSE = 0.10  # by which a ratio may be worse than in the last run before it counts as a regression
FULL_CORE = 0.9


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold one line: where its figure is, and what it must be. `by`: value, added (to direct) or ratio (to nginx)."""

    title: str
    test: str
    figure: str
    by: str = "value"
    form: str = "{:.1f}"
    most: float | None = None
    least: float | None = None


ROWS = (
    Row(title="requests/s, 64 connections", test="throughput", figure="per_s", form="{:,.0f}"),
    Row(title="  x nginx", test="throughput", figure="per_s", by="ratio", form="{:.3f}", least=0.30),
    Row(title="CPU µs per request", test="throughput", figure="cpu_us"),
    Row(title="  x nginx", test="throughput", figure="cpu_us", by="ratio", form="{:.2f}"),
    Row(title="  with the ledger's rows written", test="throughput", figure="settled_us"),
    Row(title="added p50 at 100/s, ms", test="latency", figure="p50_ms", by="added", form="{:.2f}", most=0.7),
    Row(title="added p99 at 100/s, ms", test="latency", figure="p99_ms", by="added", form="{:.2f}", most=2.0),
    Row(title="added time to first event p50, ms", test="first", figure="p50_ms", by="added", form="{:.2f}", most=0.8),
    Row(title="events/s, 100 streams at 10 ms", test="events", figure="per_s", form="{:,.0f}"),
    Row(title="CPU µs per event", test="events", figure="cpu_us"),
    Row(title="  x nginx", test="events", figure="cpu_us", by="ratio", form="{:.2f}", most=1.5),
    Row(title="2,000 streams: complete", test="held", figure="complete", form="{:,.0f}", least=2000),
    Row(title="  event gap p99 at 100 ms, ms", test="held", figure="gap_p99_ms", most=115),
    Row(title="  RSS of a worker, MiB", test="held", figure="rss_worker", form="{:.0f}", most=120),
    Row(title="RSS of a worker under load, MiB", test="throughput", figure="rss_worker", form="{:.0f}", most=120),
    Row(title="RSS of a worker idle, MiB", test="idle", figure="rss_worker", form="{:.0f}", most=80),
    Row(title="RSS of all processes idle, MiB", test="idle", figure="rss_tree", form="{:.0f}"),
    Row(title="exec to first good answer, s", test="idle", figure="seconds", form="{:.2f}", most=1.0),
)
# name in the history -> (test, figure, whether more is better)
RATIOS = {
    "throughput": ("throughput", "per_s", True),
    "cpu_per_request": ("throughput", "cpu_us", False),
    "cpu_per_event": ("events", "cpu_us", False),
    "event_rate": ("events", "per_s", True),
}


def figure(rounds: Rounds, system: str, row: Row) -> float | None:
    """Return the median over rounds of a row's figure for a system; None when it was not measured."""
    base = {"value": "", "added": "direct", "ratio": REFERENCE}[row.by]
    combine: Callable[[float, float], float] = (lambda a, b: a - b) if row.by == "added" else (lambda a, b: a / b)
    found = []
    for one in rounds:
        value = one.get(system, {}).get(row.test, {}).get(row.figure)
        other = one.get(base, {}).get(row.test, {}).get(row.figure) if base else None
        if value is not None and (not base or other):
            found.append(combine(value, other) if other is not None else value)
    return statistics.median(found) if found else None


def table(rounds: Rounds) -> tuple[str, list[str]]:
    """Return the readable table, and the titles of our rows that miss their target."""
    names = [name for name in (OURS, REFERENCE, "haproxy") if any(name in one for one in rounds)]
    lines = [f"{'':36}" + "".join(f"{name:>12}" for name in names) + "   target"]
    missed = []
    title = ""
    for row in ROWS:
        figures = [figure(rounds, name, row) for name in names]
        title = row.title if not row.title.startswith(" ") else f"{title.strip()} {row.title.strip()}"
        if all(value is None for value in figures):
            continue
        cells = "".join(f"{'-' if value is None else row.form.format(value):>12}" for value in figures)
        verdict = _verdict(row, figures[0] if names[0] == OURS else None)
        if verdict.endswith("MISSED"):
            missed.append(title)
        lines.append(f"{row.title:36}{cells}   {verdict}".rstrip())
    return "\n".join(lines), missed


def _verdict(row: Row, ours: float | None) -> str:
    if ours is None or (row.most is None and row.least is None):
        return ""
    good = (row.most is None or ours <= row.most) and (row.least is None or ours >= row.least)
    bound = f"≤ {row.most:g}" if row.most is not None else f"≥ {row.least:g}"
    return f"{bound:8} {'ok' if good else 'MISSED'}"


def noisy(rounds: Rounds) -> list[str]:
    """Return the samples during which others used the cores, even after taking them again."""
    return [
        f"{system} {test} ({sample['foreign']:.0%})"
        for one in rounds
        for system, tests in one.items()
        for test, sample in tests.items()
        if sample["foreign"] > NOISE
    ]


def bottleneck(rounds: Rounds) -> str:
    """Return a warning when the reference did not fill its core: then the load was what limited it."""
    busy = figure(rounds, REFERENCE, Row(title="", test="throughput", figure="busy"))
    if busy is None or busy >= FULL_CORE:
        return ""
    return f"{REFERENCE} used {busy:.0%} of its core: something else limited it; CPU per request is the ratio to read"


def entry(rounds: Rounds) -> dict[str, Any]:
    """Return what is stored of a run."""
    ratios = {}
    for name, (test, what, _) in RATIOS.items():
        value = figure(rounds, OURS, Row(title="", test=test, figure=what, by="ratio"))
        if value is not None:
            ratios[name] = round(value, 4)
    absolute: dict[str, dict[str, float]] = {}
    for system in sorted({name for one in rounds for name in one}):
        for test, what in sorted({(row.test, row.figure) for row in ROWS}):
            value = figure(rounds, system, Row(title="", test=test, figure=what))
            if value is not None:
                absolute.setdefault(system, {})[f"{test}.{what}"] = round(value, 4)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "machine": _cpu_model(),
        "rounds": len(rounds),
        "noisy": noisy(rounds),
        "ratios": ratios,
        "absolute": absolute,
    }


def compared(now: dict[str, Any], before: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """Return lines that compare the ratios with an earlier entry, and those of them that are regressions."""
    if before is None:
        return ["no earlier run in the history to compare with"], []
    lines = [f"against {before['date'][:10]}, commit {before['commit'] or 'unknown'}:"]
    worse = []
    for name, value in now["ratios"].items():
        old = before["ratios"].get(name)
        if not old:
            continue
        change = value / old - 1
        line = f"  {name:16} {old:.3f} -> {value:.3f}  {change:+.1%}"
        if (-change if RATIOS[name][2] else change) > WORSE:
            line += "  REGRESSION"
            worse.append(line.strip())
        lines.append(line)
    return lines, worse


def last() -> dict[str, Any] | None:
    """Return the newest entry of the history, None when there is none."""
    lines = HISTORY.read_text().splitlines() if HISTORY.exists() else []
    found: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return found


def store(now: dict[str, Any]) -> None:
    """Append an entry to the history."""
    with HISTORY.open("a") as file:
        file.write(json.dumps(now) + "\n")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HISTORY.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

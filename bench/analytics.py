"""Measure reports over an export in Parquet: make rows in DuckDB itself, as an export has them, and time questions.

    python bench/analytics.py [ROWS [FOLDER]]

1 000 000 rows in a folder that is removed afterwards; one that is named is kept, and used again.

Prints what the files take and, for each question, the seconds of the first and of the second asking, and the processor's
seconds of the second, through the same code as `pointsman report --over`.
Rows are spread over 90 days, 40 routes, 60 deployments, 5 000 keys of 50 organisations.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pointsman.stores.duck import Bounds, Duck, quoted
from pointsman.stores.export_columns import MANIFEST, TABLES, Manifest, Part
from pointsman.stores.report import Question
from pointsman.stores.report_parquet import ParquetReader

DAYS, DAY_MS = 90, 86_400_000
BEGIN_MS = 1_790_000_000_000 // DAY_MS * DAY_MS
BOUNDS = Bounds()

# What a row is made of, beside numbers and texts that are the same in most rows.
_COLUMNS = {
    "id": "printf('req_%012x%016x', at_ms, n)",
    "key": "printf('org%d/key%d', k % 50, k)",
    "project": "printf('project%d', k % 400)",
    "team": "printf('team%d', k % 150)",
    "organisation": "printf('org%d', k % 50)",
    "kind": "'chat'",
    "stream": "CAST(hash(n, 1) % 10 < 7 AS BIGINT)",
    "asked_model": "printf('route%d', r)",
    "route": "printf('route%d', r)",
    "strategy": "CASE WHEN r % 3 = 0 THEN 'weighted' ELSE 'fastest' END",
    "planned": "printf('deployment%d', d)",
    "deployment": "printf('deployment%d', CASE WHEN hash(n, 2) % 50 = 0 THEN (d + 1) % 60 ELSE d END)",
    "provider": "printf('provider%d', d % 8)",
    "model": "printf('model%d', d % 30)",
    "served_model": "printf('model%d-2026', d % 30)",
    "outcome": "CASE WHEN hash(n, 3) % 100 < 2 THEN 'timeout' WHEN hash(n, 3) % 100 = 2 THEN 'client_gone' ELSE 'ok' END",
    "status": "CASE WHEN hash(n, 3) % 100 < 2 THEN 504 ELSE 200 END",
    "attempts": "CASE WHEN hash(n, 2) % 50 = 0 THEN 2 ELSE 1 END",
    "input_tokens": "CAST(tokens_in AS BIGINT)",
    "output_tokens": "CAST(tokens_out AS BIGINT)",
    "cache_read_tokens": "CASE WHEN hash(n, 4) % 3 = 0 THEN CAST(tokens_in / 3 AS BIGINT) ELSE 0 END",
    "reasoning_tokens": "CASE WHEN hash(n, 5) % 8 = 0 THEN CAST(tokens_out / 3 AS BIGINT) ELSE 0 END",
    "usage_source": "'measured'",
    "charge_nano": "CASE WHEN c = 0 THEN NULL ELSE CAST(tokens_in * 300 + tokens_out * 1500 AS BIGINT) END",
    "charge_state": "CASE WHEN c = 0 THEN 'unpriced' WHEN c < 6 THEN 'estimated' ELSE 'measured' END",
    "hold_nano": "CAST(tokens_in * 900 AS BIGINT)",
    "price_version": "'p1'",
    "config_version": "printf('v%d', day_n // 10)",
    "reason": "'weighted'",
    "probability": "0.5",
    "decide_us": "CAST(30 + hash(n, 7) % 60 AS BIGINT)",
    "ttft_us": "CAST(1000 * first_ms AS BIGINT)",
    "total_us": "CAST(1000 * first_ms + 20000 * tokens_out AS BIGINT)",
    "overhead_us": "CAST(80 + hash(n, 8) % 400 AS BIGINT)",
    "session": "CASE WHEN hash(n, 9) % 2 = 0 THEN printf('s%d', n // 20) ELSE '' END",
    "tags": "printf(',env:%s,cost:c%d,', CASE WHEN k % 4 = 0 THEN 'test' ELSE 'prod' END, k % 25)",
    "cache": "CASE WHEN r % 4 = 0 THEN 'miss' ELSE '' END",
}

# Drawn for each row: key, route, deployment, kind of charge, tokens and milliseconds spread over some powers of e.
_DRAWN = ", ".join(
    (
        *("hash(n, 10) % 5000 AS k", "hash(n, 11) % 40 AS r", "(hash(n, 11) % 40 + hash(n, 12) % 6) % 60 AS d"),
        *("hash(n, 6) % 200 AS c", "exp(4 + 6 * (hash(n, 13) % 1000003) / 1000003.0) AS tokens_in"),
        *(
            "exp(3 + 4 * (hash(n, 14) % 1000003) / 1000003.0) AS tokens_out",
            "exp(5 + 3 * (hash(n, 15) % 1000003) / 1000003.0) AS first_ms",
        ),
    )
)

QUESTIONS = {
    "cost and errors by route": Question(("requests", "error_rate", "measured_nano", "estimated_nano", "unpriced"), ("route",)),
    "tokens and cost by organisation and model": Question(
        ("requests", "input_tokens", "output_tokens", "cached_tokens", "measured_nano"), ("organisation", "model")
    ),
    "latency quantiles by deployment": Question(
        ("requests", "ttft_p50_us", "ttft_p90_us", "ttft_p95_us", "ttft_p99_us", "tokens_per_s"), ("deployment",)
    ),
    "cost by day and tag": Question(("requests", "measured_nano", "failover_rate"), ("tag:cost",), every="day", most=10_000),
    "one key's last week by hour": Question(
        ("requests", "errors", "measured_nano", "total_p95_us"), every="hour", where={"key": ("org7/key7",)},
        since_ms=BEGIN_MS + (DAYS - 7) * DAY_MS,
    ),
}  # fmt: skip


def make(folder: Path, rows: int) -> None:
    """Write the rows of an export, a file a day, and its manifest."""
    (folder / "requests").mkdir(parents=True)
    per_day, parts = rows // DAYS, []
    duck = Duck([folder], BOUNDS, limit_s=3_600)
    columns = ", ".join(f"{_value(name, kind)} AS {name}" for name, kind in TABLES["requests"].items())
    for number in range(DAYS):
        first, begins_ms = number * per_day, BEGIN_MS + number * DAY_MS
        count = per_day if number < DAYS - 1 else rows - first
        day = str(datetime.fromtimestamp(begins_ms / 1000, UTC).date())
        path = folder / "requests" / f"day={day}" / "part-0001.parquet"
        path.parent.mkdir()
        duck.run(
            f"COPY (SELECT {columns} FROM (SELECT n, {number} AS day_n, '{day}' AS day,"  # noqa: S608  names of our own
            f" {begins_ms} + (n - {first}) * {DAY_MS} // {count} AS at_ms, {_DRAWN}"
            f" FROM range({first}, {first + count}) t(n)) rows) TO '{quoted(path)}' (FORMAT parquet, COMPRESSION zstd)"
        )
        name = str(path.relative_to(folder))
        parts.append(Part("requests", day, name, count, first + 1, first + count, path.stat().st_size, {}))
    duck.close()
    (folder / MANIFEST).write_bytes(msgspec.json.encode(Manifest(parts=parts)))


def _value(name: str, kind: str) -> str:
    """Return a column's expression, with the type that an export has."""
    given = {"seq": "n + 1", "at_ms": "at_ms", "day": "day"} | _COLUMNS
    text = given.get(name, "''" if kind == "VARCHAR" else "NULL" if name in ("cached_ms", "saved_nano") else "0")
    return f"CAST({text} AS {kind})"


def measured(folder: Path, rows: int) -> None:
    began_s = time.perf_counter()
    if not (folder / MANIFEST).exists():
        make(folder, rows)
        print(f"made in {time.perf_counter() - began_s:.0f} s")
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    print(f"{rows:,} rows in {DAYS} files, {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row")
    print(
        f"DuckDB: {BOUNDS.memory_mib} MiB, {BOUNDS.workers} threads; seconds of two askings, and of processors in the second"
    )
    with ParquetReader(folder, limit_s=3_600, bounds=BOUNDS) as reader:
        for name, question in QUESTIONS.items():
            taken_s = []
            for _ in range(2):
                began_s, worked_s = time.perf_counter(), time.process_time()
                found = reader.report(question)
                taken_s.append(time.perf_counter() - began_s)
                worked_s = time.process_time() - worked_s
            print(f"{name:45} {taken_s[0]:7.2f} {taken_s[1]:7.2f} {worked_s:7.2f}   {len(found.rows)} rows", flush=True)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        measured(Path(sys.argv[2]), rows)
        return
    with tempfile.TemporaryDirectory(prefix="pointsman-analytics-") as folder:
        measured(Path(folder) / "export", rows)


if __name__ == "__main__":
    main()

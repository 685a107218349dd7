"""Exports: what providers say we used, read from the files and answers they give out.

OpenAI: `GET /v1/organization/usage/completions` and `/v1/organization/costs` (Admin API), pages of buckets. Anthropic: `GET
/v1/organizations/usage_report/messages` (Admin API). Anything else as CSV, its columns named by the operator. All in UTC days.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from pointsman.core.reconcile import Told

NANO = 1_000_000_000
DAY_S = 86_400
MOST_BYTES = 256 * 1024 * 1024
CSV_COLUMNS = ("day", "model", "requests", "input_tokens", "cached_tokens", "output_tokens", "usd")
_COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens")


class ExportError(Exception):
    """Say that an export cannot be read, and where."""


def read_export(data: bytes, columns: Mapping[str, str] | None = None) -> list[Told]:
    """Return what an export tells, its format found by its content; `columns` names those of a CSV file: ours -> theirs. Raise
    ExportError."""
    if len(data) > MOST_BYTES:
        raise ExportError(f"it is larger than {MOST_BYTES // 1024 // 1024} MiB: split it by days")
    if columns:
        return _csv(data, columns)
    if data.lstrip()[:1] not in (b"{", b"["):
        raise ExportError("it is not JSON. For a CSV file name its columns: --column day=date --column model=model …")
    return [told for page in _pages(data) for told in _page(page)]


def _pages(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the pages: one object, an array of them, or one a line."""
    try:
        try:
            decoded = msgspec.json.decode(data)
        except msgspec.DecodeError:
            decoded = msgspec.json.Decoder().decode_lines(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ExportError(f"it is not JSON: {error}") from None
    for page in decoded if isinstance(decoded, list) else [decoded]:
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise ExportError("a page has no list `data`: expected the answer of a usage or costs endpoint")
        yield page


def _page(page: dict[str, Any]) -> Iterator[Told]:
    for n, bucket in enumerate(page["data"]):
        where = f"data[{n}]"
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list):
            raise ExportError(f"{where} has no list `results`")
        day = _day_of(bucket, where)
        for m, result in enumerate(results):
            if not isinstance(result, dict):
                raise ExportError(f"{where}.results[{m}] is not an object")
            yield _result(day, result, f"{where}.results[{m}]")


def _day_of(bucket: dict[str, Any], where: str) -> str:
    start, end = bucket.get("start_time", bucket.get("starting_at")), bucket.get("end_time", bucket.get("ending_at"))
    begin_s, end_s = _seconds(start, f"{where}: its start"), _seconds(end, f"{where}: its end")
    if end_s - begin_s > DAY_S:
        raise ExportError(f"{where} is longer than a day: ask for buckets of a day (bucket_width=1d)")
    return datetime.fromtimestamp(begin_s, UTC).date().isoformat()


def _seconds(value: object, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11:
        return float(value)
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError):
        raise ExportError(f"{what} is no time: {str(value)[:40]!r}") from None


def _result(day: str, result: dict[str, Any], where: str) -> Told:
    if "amount" in result:
        return _cost(day, result, where)
    model = result.get("model")
    if not isinstance(model, str) or not model:
        raise ExportError(f"{where} names no model: ask for it with group_by=model")
    if "uncached_input_tokens" in result:  # Anthropic
        written = result.get("cache_creation") or {}
        read = _count(result, "cache_read_input_tokens", where)
        parts = (_count(written, f"ephemeral_{life}_input_tokens", where) for life in ("5m", "1h"))
        return Told(
            day,
            model,
            None,
            _count(result, "uncached_input_tokens", where) + read + sum(parts),
            read,
            _count(result, "output_tokens", where),
        )
    names = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
    return Told(day, model, *[_count(result, name, where) for name in names])


def _cost(day: str, result: dict[str, Any], where: str) -> Told:
    amount = result["amount"]
    if not isinstance(amount, dict) or str(amount.get("currency", "usd")).lower() != "usd":
        raise ExportError(f"{where}: expected an amount in USD")
    item = result.get("line_item")
    if not isinstance(item, str) or not item:
        raise ExportError(f"{where} names no line item: ask for it with group_by=line_item")
    return Told(day, item.partition(",")[0].strip(), cost_nano=_nano(str(amount.get("value")), f"{where}.amount.value"))


def _count(result: Mapping[str, Any], name: str, where: str) -> int:
    value = result.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ExportError(f"{where}.{name} is no count: {str(value)[:40]!r}")
    return value


def _nano(text: str, where: str) -> int:
    try:
        value = Decimal(text.replace("$", "").replace(",", "").strip())
        if not value.is_finite():
            raise InvalidOperation
        return int((value * NANO).to_integral_value())
    except InvalidOperation:
        raise ExportError(f"{where} is no amount of money: {text[:40]!r}") from None


def _csv(data: bytes, columns: Mapping[str, str]) -> list[Told]:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = rows.fieldnames or []
        for ours in ("day", "model"):
            if ours not in columns:
                raise ExportError(f"which column is the {ours}? Say --column {ours}=NAME, one of: {', '.join(names)}")
        for ours, name in columns.items():
            if name not in names:
                raise ExportError(f"there is no column {name!r} for {ours}; there are: {', '.join(names)}")
        return [_row(row, columns, f"line {rows.line_num}") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"it is not CSV in UTF-8: {error}") from None


def _row(row: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Told:
    given = {ours: (row.get(name) or "").strip() for ours, name in columns.items()}
    try:
        day = datetime.fromisoformat(given["day"][:10]).date().isoformat()
    except ValueError:
        raise ExportError(f"{where}: {given['day'][:40]!r} is no date such as 2026-11-22") from None
    counts = {}
    for ours in _COUNTS:
        if given.get(ours):
            text = given[ours].replace(",", "")
            if not (text.isascii() and text.isdigit()):
                raise ExportError(f"{where}: {ours} is no count: {given[ours][:40]!r}")
            counts[ours] = int(text)
    cost = _nano(given["usd"], f"{where}: usd") if given.get("usd") else None
    return Told(day, given["model"], **counts, cost_nano=cost)

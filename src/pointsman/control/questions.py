"""Questions: reports as people ask for them, in options of the command and in parameters of the admin API, and what came of
them as plain values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from pointsman.control.period import since_ms
from pointsman.control.reports import TAGGED
from pointsman.core.pricing import usd
from pointsman.stores.report import END_MS, MEASURES, TAG, Base, Grain, Question, Report, ReportError, checked

DEFAULT: dict[str, tuple[str, ...]] = {  # measures, where none are named
    "requests": (
        *("requests", "errors", "error_rate", "failovers", "input_tokens", "output_tokens", "measured_nano"),
        *("estimated_nano", "unpriced", "ttft_p50_us", "ttft_p95_us"),
    ),
    "attempts": (
        *(
            "attempts",
            "errors",
            "attempt_error_rate",
            "input_tokens",
            "output_tokens",
            "measured_nano",
            "estimated_nano",
        ),
        *("unpriced", "ttft_p50_us", "ttft_p95_us"),
    ),
}
Given = Mapping[str, Sequence[str]]  # parameters of a question, each given as often as somebody likes


def question_of(given: Given, now_ms: int) -> Question:
    """Return the question that parameters ask: `measure`, `by` and `where` may be given again, "a,b" is as "a", "b"; `where` is
    NAME=VALUE, once for each value. Raise ReportError that says which of them is wrong."""
    of = one_of(given, "of", "requests")
    by = _listed(given, "by")
    for name in by:
        if name.startswith(TAG) and not TAGGED.fullmatch(name):
            raise ReportError("by", f"{TAG}NAME takes A-Z a-z 0-9 . _ @ - in NAME")
    where: dict[str, list[str]] = {}
    for condition in given.get("where", ()):
        name, equals, value = condition.partition("=")
        if not equals:
            raise ReportError("where", f"{condition[:40]!r} is not NAME=VALUE")
        where.setdefault(name.strip(), []).append(value)
    most, order = one_of(given, "most", "1000"), one_of(given, "order", "")
    measures = _listed(given, "measure") or DEFAULT.get(of, ())
    if order in MEASURES and order not in measures:
        measures = (*measures, order)  # what it goes by is shown
    return checked(
        Question(
            measures=measures,
            by=by,
            every=cast("Grain | None", one_of(given, "every", "") or None),
            where={name: tuple(values) for name, values in where.items()},
            since_ms=_moment(given, "since", "30d", now_ms),
            until_ms=_moment(given, "until", "", now_ms),
            order=order,
            most=int(most) if most.isdecimal() and len(most) < 9 else 0,
            of=cast(Base, of),
        )
    )


def plain(report: Report, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an answer as one object: charges in nano-dollars, times in microseconds, exact."""
    names = [column.name for column in report.columns]
    groups = len(names) - len(report.total)
    question = msgspec.to_builtins(report.question)
    return {
        "question": question | {"until_ms": None if question["until_ms"] == END_MS else question["until_ms"]},
        "columns": msgspec.to_builtins(report.columns),
        "rows": [dict(zip(names, row, strict=True)) for row in report.rows],
        "total": dict(zip(names[groups:], report.total, strict=True)),
        "cut": report.cut,
        **(more or {}),
    }


def csv_of(report: Report) -> str:
    """Return the rows as CSV (RFC 4180), money in US dollars. What a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.name.replace("nano", "usd") for column in report.columns])
    for row in report.rows if len(report.columns) > len(report.total) else [report.total]:
        writer.writerow([_cell(value, column.unit) for value, column in zip(row, report.columns, strict=True)])
    return out.getvalue()


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return ""
    if unit == "text":
        return "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r") else str(value)
    if unit == "nano":
        return usd(value, 9) if isinstance(value, int) else repr(value / 1e9)
    return str(value)


def one_of(given: Given, name: str, default: str) -> str:
    """Return a parameter that may be given once. Raise ReportError."""
    values = [value for value in given.get(name, ()) if value]
    if len(values) > 1:
        raise ReportError(name, "is given twice")
    return values[0] if values else default


def _listed(given: Given, name: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(part.strip() for text in given.get(name, ()) for part in text.split(",") if part.strip())
    )


def _moment(given: Given, name: str, default: str, now_ms: int) -> int:
    text = one_of(given, name, default)
    try:
        return since_ms(text, now_ms) if text else END_MS
    except ValueError as error:
        raise ReportError(name, str(error)) from None

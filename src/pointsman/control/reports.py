"""Reports: what the admin API and the commands print of the ledger, as plain values."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.stores.ledger import GROUPS, MOST_GROUPS, TAG, FeedbackCounts, Reader, UsageQuery, UsageRow

TAGGED = re.compile(TAG + r"[A-Za-z0-9._@-]{1,64}")


def group_names(given: list[str]) -> tuple[str, ...]:
    """Return the names to group by; "a,b" is the same as "a", "b". Raise ValueError that says what there is."""
    names = tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))
    for name in names:
        if name not in GROUPS and not TAGGED.fullmatch(name):
            raise ValueError(f"there is no column {name[:40]!r}; columns: {', '.join(GROUPS)}, {TAG}NAME")
    if not 0 < len(names) <= MOST_GROUPS:
        raise ValueError(f"name one or {MOST_GROUPS} columns of {', '.join(GROUPS)}")
    return names


class Usage(msgspec.Struct, frozen=True):
    """Hold the answer to a query: groups, total, and what feedback was given since then."""

    query: UsageQuery
    rows: list[UsageRow]
    total: UsageRow
    feedback: FeedbackCounts


def usage_of(reader: Reader, query: UsageQuery) -> Usage:
    """Return what a ledger says to a query. Raise LedgerError."""
    rows, total = reader.usage(query)
    return Usage(query, rows, total, reader.feedback_counts(query.since_ms))


def usage_report(usage: Usage) -> dict[str, Any]:
    """Return sums as one object: charges in nano-dollars, times in microseconds, exact; scores from 0 to 1."""
    by = usage.query.by

    def plain(row: UsageRow) -> dict[str, Any]:
        values: dict[str, Any] = msgspec.to_builtins(row)
        return dict(zip(by, values.pop("group"), strict=False)) | values

    return {
        "since_ms": usage.query.since_ms,
        "by": by,
        "groups": [plain(row) for row in usage.rows],
        "total": plain(usage.total),
        "feedback": msgspec.to_builtins(usage.feedback),
    }

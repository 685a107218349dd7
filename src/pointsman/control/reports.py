"""Reports: what the admin API and the commands print of the ledger, as plain values."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.stores.ledger import GROUPS, MOST_GROUPS, UsageRow


def group_names(given: list[str]) -> tuple[str, ...]:
    """Return the names to group by; "a,b" is the same as "a", "b". Raise ValueError that says what there is."""
    names = tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"there is no column {name[:40]!r}; columns: {', '.join(GROUPS)}")
    if not 0 < len(names) <= MOST_GROUPS:
        raise ValueError(f"name one or {MOST_GROUPS} columns of {', '.join(GROUPS)}")
    return names


def usage_report(by: tuple[str, ...], since_ms: int, rows: list[UsageRow], total: UsageRow) -> dict[str, Any]:
    """Return sums as one object: charges in nano-dollars, times in microseconds, exact."""

    def plain(row: UsageRow) -> dict[str, Any]:
        values: dict[str, Any] = msgspec.to_builtins(row)
        return dict(zip(by, values.pop("group"), strict=False)) | values

    return {"since_ms": since_ms, "by": by, "groups": [plain(row) for row in rows], "total": plain(total)}

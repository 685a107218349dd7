"""Money on pages: never without saying whether it is measured, estimated or unpriced."""

from __future__ import annotations

from typing import Any

from pointsman.control.figures import count, dollars, money
from pointsman.control.html import Child, el, join
from pointsman.stores.browsing import Sum


def sum_of(row: Sum) -> Child:
    """Return the cost of many requests."""
    parts: list[Child] = [money(row.measured_nano), " measured"] if row.measured_nano or not row.estimated_nano else []
    if row.estimated_nano:
        parts += [" + " if parts else "", money(row.estimated_nano), el("span", " estimated", class_="warn")]
    if row.unpriced:
        parts += [" + ", el("span", f"{count(row.unpriced)} unpriced", class_="warn")]
    return join(*parts)


def charge_of(row: dict[str, Any], digits: int = 6) -> Child:
    """Return the charge of a request or an attempt."""
    if row["charge_nano"] is None:
        return el("span", "unpriced", class_="warn")
    state = row["charge_state"]
    return join(
        dollars(row["charge_nano"], digits), " ", el("span", state, class_="warn" if state != "measured" else "quiet")
    )

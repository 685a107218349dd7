"""Period: since when, as people write it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
EXPECTED = "expected a length of time like 30m, 24h, 7d or 4w, or a date like 2026-11-01 (UTC)"


def since_ms(text: str, now_ms: int) -> int:
    """Return Unix milliseconds for a length of time before now (`90s`, `30m`, `24h`, `7d`, `4w`) or an ISO 8601 date
    or time, UTC unless it says otherwise. Raise ValueError that says what was expected."""
    length = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if length is not None:
        return max(0, now_ms - int(length[1]) * UNITS_MS[length[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(EXPECTED) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000))


def until_ms(text: str, now_ms: int) -> int:
    """Return Unix milliseconds for a length of time from now, or a date or time, as `since_ms` reads them."""
    length = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    return now_ms + int(length[1]) * UNITS_MS[length[2]] if length is not None else since_ms(text, now_ms)

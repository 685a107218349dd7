"""Reading: how the counters of quotas stand, as a worker tells it to people."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """Hold one counter. Amounts are in units of the measure, nano-dollars for usd; times are Unix milliseconds."""

    counter: str
    quota: str
    subject: str
    measure: str
    period: str
    over: str
    limit: int
    used: int
    held: int
    left: int
    at_ms: int
    resets_ms: int


class Readings(msgspec.Struct):
    """Hold what one worker has seen of its counters."""

    rows: list[Reading]


def newest(parts: Iterable[Readings], now_ms: int) -> list[Reading]:
    """Return each counter as it was read last, by quota and subject; one whose window is over is unused again."""
    found: dict[str, Reading] = {}
    for part in parts:
        for row in part.rows:
            known = found.get(row.counter)
            if known is None or known.at_ms < row.at_ms:
                found[row.counter] = row
    rows = [
        msgspec.structs.replace(row, used=0, left=row.limit - row.held) if row.resets_ms <= now_ms else row
        for row in found.values()
    ]
    return sorted(rows, key=lambda row: (row.quota, row.left / row.limit, row.subject))

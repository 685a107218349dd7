"""Reading: how the counters of quotas stand, as a worker tells it to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

NAMES_BEHIND = {
    "organisation": 0,
    "team": 1,
    "project": 2,
    "key": 1,
}  # scope -> names behind the organisation's in a subject
Subject = tuple[str, str]  # scope, and who


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


def subjects_of(name: str, project: str, team: str, organisation: str) -> list[Subject]:
    """Return whose counters the requests of a caller count on, as `gateway/limits.py` names them."""
    paths = {"organisation": (organisation,), "team": (organisation, team), "project": (organisation, team, project)}
    made = [(scope, "/".join(filter(None, path))) for scope, path in paths.items() if path[-1]]
    return [*made, ("key", name)]


def of_organisation(
    readings: Iterable[Reading], organisation: str, given: Mapping[Subject, frozenset[str]]
) -> list[Reading]:
    """Return the counters of one organisation, its teams, projects and keys, and no other's. `given`: whose subjects are that
    the config names, as its names may have a `/` too."""
    found = []
    for row in readings:
        scope = row.counter.partition("=")[0]
        parts = row.subject.split("/")
        stored = parts[0] == organisation and len(parts) == 1 + NAMES_BEHIND.get(scope, -1) and "#" not in row.subject
        owners = given.get((scope, row.subject))
        if owners == frozenset({organisation}) or (owners is None and stored):
            found.append(row)
    return found


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

"""Priority: the classes of requests, and how much of a worker's room each may fill.

Four classes, as in Google's criticality (Site Reliability Engineering, chapter 21, "Handling Overload"). A rank is an index
into PRIORITIES: a smaller one matters more.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Literal

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "normal", "low")
SHARES = (1.0, 0.95, 0.85, 0.70)  # of the room, by rank: a class is refused from here on
EARLY = 0.7  # of a class's room, from which on a key that has its fair share is refused
FAIR = 0.95  # of the room is shared by the keys that are there; the rest is for those that come
NORMAL, LOW = 2, 3
RANKS: dict[str, int] = {name: rank for rank, name in enumerate(PRIORITIES)}


def rank_of(named: str | None, highest: int) -> int:
    """Return the rank of a request that names a class, or none; `highest` is its key's. Raise KeyError for another word."""
    return highest if named is None else max(highest, RANKS[named])


def fair_level(claims: Iterable[tuple[float, float]], room: float) -> float:
    """Return the max-min fair level: who wants no more than level x weight gets all of it, and every other one level x
    weight; together they fill the room. `claims` are (what is wanted, weight > 0); infinite when all of it fits.

    Progressive filling: D. Bertsekas, R. Gallager, Data Networks, 2nd edition, section 6.5.2.
    """
    sorted_claims = sorted(claims, key=lambda claim: claim[0] / claim[1])
    weights = sum(weight for _, weight in sorted_claims)
    for wanted, weight in sorted_claims:
        level = room / weights
        if wanted > level * weight:
            return level
        room -= wanted
        weights -= weight
    return inf

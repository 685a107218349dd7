"""Folding: what new requests add to the sums of hours and days, from the columns of their rows.

Equal to the statements FOLDS of `stores/ledger_browsing.py`, which read the same from the table: those are for a batch of
which a part had been written before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add, itemgetter

from pointsman.stores.browsing import DAY_MS, FIELDS, HOUR_MS, NO_ERROR
from pointsman.stores.ledger import REQUEST_COLUMNS, Column, Row

_HIGHEST = (1 << 63) - 1
_AT = REQUEST_COLUMNS.index("at_ms")
_KEYS = tuple(map(REQUEST_COLUMNS.index, FIELDS))
_SUMMED = tuple(
    REQUEST_COLUMNS.index(name)
    for name in (
        *("outcome", "attempts", "deployment", "planned", "degraded", "cache", "input_tokens", "output_tokens"),
        *("cache_read_tokens", "charge_nano", "charge_state", "saved_nano"),
    )
)
_is_well: Callable[[object], bool] = frozenset(NO_ERROR).__contains__


def alike(column: Column) -> bool:
    """Tell whether all values of a column are equal; with little work where they are not."""
    value = column[0]
    return column[-1] == value == column[len(column) // 2] and column.count(value) == len(column)


def folded(columns: Sequence[Column], same: Sequence[bool]) -> dict[str, list[Row]]:
    """Return what requests, given as columns, add to the tables `hours` and `days`: rows of their keys and MEASURES. `same`: in
    which columns all values are alike."""
    begins = tuple([at_ms // HOUR_MS * HOUR_MS for at_ms in columns[_AT]])
    keyed, summed = [begins, *[columns[place] for place in _KEYS]], [columns[place] for place in _SUMMED]
    # One value tells no rows apart.
    several = [columns[place] for place in _KEYS if not same[place]]
    if not alike(begins):
        several.append(begins)
    all_same = [same[place] for place in _SUMMED]
    groups: dict[Row, list[int]] = {}
    for place, key in enumerate(zip(*several, strict=True)):
        groups.setdefault(key, []).append(place)
    hours: dict[Row, list[int]] = {} if groups else {tuple([column[0] for column in keyed]): _sums(summed)}
    for places in groups.values():
        at = places[0]
        pick = itemgetter(*places) if len(places) > 1 else itemgetter(slice(at, at + 1))
        picked = [
            column[: len(places)] if of_all else pick(column) for column, of_all in zip(summed, all_same, strict=True)
        ]
        hours[tuple([column[at] for column in keyed])] = _sums(picked)
    days: dict[Row, list[int]] = {}
    for (begins_ms, *names), sums in hours.items():
        day = (begins_ms // DAY_MS * DAY_MS, *names)  # type: ignore[operator]
        days[day] = list(map(add, days[day], sums)) if day in days else sums
    return {
        name: [(*key, *[min(each, _HIGHEST) for each in sums]) for key, sums in table.items()]
        for name, table in (("hours", hours), ("days", days))
    }


def _sums(columns: Sequence[Column]) -> list[int]:
    """Return the MEASURES of requests, given as the columns _SUMMED."""
    outcomes, attempts, deployments, planned, degraded, caches, inputs, outputs, cached, charges, states, saved = (
        columns
    )
    count = len(outcomes)
    by_state = {"measured": 0, "estimated": 0}
    unpriced = charges.count(None)
    if not unpriced and states.count("measured") == count:
        by_state["measured"] = sum(charges)
    else:
        for nano, state in zip(charges, states, strict=True):
            if nano is not None and state in by_state:
                by_state[state] += nano
    again = zip(attempts, deployments, planned, strict=True) if max(attempts) > 1 else ()
    return [
        count,
        count - sum(map(_is_well, outcomes)),
        sum(1 for sends, last, first in again if sends > 1 and last != first and first),
        count - degraded.count(""),
        caches.count("hit") + caches.count("semantic"),
        unpriced,
        sum(inputs),
        sum(outputs),
        sum(cached),
        by_state["measured"],
        by_state["estimated"],
        sum(filter(None, saved)),
    ]

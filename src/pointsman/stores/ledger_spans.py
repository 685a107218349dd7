"""Spans: in which stretches of the ledger a route, a deployment or a key occurs, so that their requests are found among any
number of others.

An index on each of them would cost more to keep than the rest of a row's booking; this is an entry for SPAN requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pointsman.stores.ledger import REQUEST_COLUMNS, Column

SPAN = 256  # requests, by `seq`
FIELDS = ("key", "deployment", "route")  # the one that says the most comes first
_PLACES = {field: REQUEST_COLUMNS.index(field) for field in FIELDS}


def _spread(field: str, after: str) -> str:
    """Return the statement that notes the requests with a `seq` after this one."""
    return (
        f"INSERT INTO spans (field, value, part) SELECT DISTINCT '{field}', {field}, seq / {SPAN} FROM requests"  # noqa: S608
        f" WHERE seq > {after} ON CONFLICT DO NOTHING"
    )


# An index for what went wrong alone: it is rare, and looked for.
MIGRATION = f"""
CREATE TABLE spans (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    part INTEGER NOT NULL,            -- seq / {SPAN}
    PRIMARY KEY (field, value, part)
) WITHOUT ROWID;
{"".join(_spread(field, "-1") + f";{chr(10)}DROP INDEX requests_{field};{chr(10)}" for field in FIELDS)}
DROP INDEX requests_outcome;
CREATE INDEX requests_outcome ON requests (outcome, seq) WHERE outcome <> 'ok';
"""
ADD = "INSERT INTO spans (field, value, part) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
SPREADS = tuple(_spread(field, "?") for field in FIELDS)  # the highest `seq` before
# Those of a value that no request is left of.
PRUNE = "DELETE FROM spans WHERE field = ? AND value = ? AND part < (SELECT MIN(seq) FROM requests) / ?"
FIND = """SELECT part FROM spans WHERE field = :field AND value = :value AND part >= :first AND part <= :last
    ORDER BY part DESC"""


def spans_of(columns: Sequence[Column], first_seq: int) -> set[tuple[str, str, int]]:
    """Return the spans of requests with `seq` from this one on, given as columns."""
    found: set[tuple[str, str, int]] = set()
    count, start = len(columns[0]), 0
    while start < count:
        part = (first_seq + start) // SPAN
        end = (part + 1) * SPAN - first_seq
        for field, place in _PLACES.items():
            found.update([(field, value, part) for value in set(columns[place][start:end])])
        start = end
    return found


def stretches(parts: Sequence[int], floor: int, before: int) -> Iterator[tuple[int, int]]:
    """Yield (floor, before) of each run of parts, given from the last to the first, within such bounds; both left out."""
    run: list[int] = []
    for part in parts:
        if run and part != run[-1] - 1:
            yield _bounds(run, floor, before)
            run = []
        run.append(part)
    if run:
        yield _bounds(run, floor, before)


def _bounds(run: Sequence[int], floor: int, before: int) -> tuple[int, int]:
    return max(floor, run[-1] * SPAN - 1), min(before, (run[0] + 1) * SPAN)

"""Decisions in the ledger: what was recorded of requests that were booked together stands in one row for BLOCK of them.

A request is found in it by its `seq`. Decisions that are kept as they were made, and those of a batch of which a part had been
written before, are rows of `decisions`, by request id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pointsman.core.entry import FORMAT, Filed, encode_block
from pointsman.stores.ledger import Batch, Row, recorded_row
from pointsman.stores.sql import Db

BLOCK = 256  # requests, at most
MIGRATION = """
CREATE TABLE decision_blocks (
    first_seq INTEGER PRIMARY KEY,    -- of the requests
    last_seq INTEGER NOT NULL,
    newest_ms INTEGER NOT NULL,       -- when the last of them was admitted
    format INTEGER NOT NULL,          -- core.entry.FORMAT
    blob BLOB NOT NULL                -- MessagePack array of core.entry.Recorded, one for each seq; nil: none
);
CREATE INDEX decision_blocks_newest ON decision_blocks (newest_ms);
"""
# In place of one there is only where somebody has deleted the newest requests by hand, whose numbers then come again.
ADD = """INSERT INTO decision_blocks (first_seq, last_seq, newest_ms, format, blob) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (first_seq) DO UPDATE SET last_seq = excluded.last_seq, newest_ms = excluded.newest_ms,
    format = excluded.format, blob = excluded.blob"""
FIND = """SELECT format, blob, first_seq FROM decision_blocks
    WHERE first_seq = (SELECT MAX(first_seq) FROM decision_blocks WHERE first_seq <= :seq) AND last_seq >= :seq"""
COUNT = "SELECT COALESCE(SUM(last_seq - first_seq + 1), 0) FROM decision_blocks WHERE newest_ms < :before"
SOME = """SELECT first_seq, last_seq - first_seq + 1 FROM decision_blocks WHERE newest_ms < :before
    ORDER BY newest_ms LIMIT :most"""
DELETE = "DELETE FROM decision_blocks WHERE first_seq = ?"
# Those that no request is left of; `last`: the highest `seq` that went.
DELETE_EMPTY = """DELETE FROM decision_blocks WHERE newest_ms < :before AND first_seq <= :last
    AND NOT EXISTS (SELECT 1 FROM requests WHERE seq >= first_seq AND seq <= last_seq)"""


def blocks_of(recorded: Sequence[Filed | None], times_ms: Sequence[int], first_seq: int) -> Iterator[Row]:
    """Yield the blocks of requests with `seq` from this one on, admitted at these times."""
    for start in range(0, len(recorded), BLOCK):
        some = recorded[start : start + BLOCK]
        if any(some):
            first, last = first_seq + start, first_seq + start + len(some) - 1
            yield first, last, max(times_ms[start : start + BLOCK]), FORMAT, encode_block(some)


def rows_of(batch: Batch, ids: frozenset[object] | None = None) -> list[Row]:
    """Return what was recorded of a batch as rows of `decisions`; of the requests with these ids alone, if some are given."""
    return [
        recorded_row(filed)
        for filed in batch.recorded
        if filed is not None and (ids is None or filed.request.id in ids)
    ]


def prune(db: Db, before_ms: int, most: int) -> int:
    """Delete the oldest blocks that are older as a whole, of some `most` requests; return how many decisions they had."""
    values = {"before": before_ms, "most": max(1, most // BLOCK)}
    rows = db.execute(SOME, values).fetchall()
    if rows:
        db.executemany(DELETE, [(row[0],) for row in rows])
    return sum(int(row[1]) for row in rows)

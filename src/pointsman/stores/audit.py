"""Audit: the chain of hashes over the rows of the audit log (S24). Pure.

Each row's hash is SHA-256 over the hash before it and the row itself, as canonical JSON; that of the first row is over
GENESIS. Whoever changes, takes out or puts in a row breaks every hash behind it; whoever writes all of them anew, or cuts
the end off, has another last hash than the one that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from pointsman.stores.callers import AuditRow

GENESIS = "0" * 64


def hash_of(previous: str, row: AuditRow) -> str:
    """Return the hash of a row, 64 hex digits; its own `hash` does not count."""
    fields = [row.seq, row.at_ms, row.actor, row.action, row.target, row.organisation, row.before, row.after]
    return hashlib.sha256(msgspec.json.encode([previous, *fields])).hexdigest()


def broken_at(rows: Iterable[AuditRow]) -> tuple[int, str]:
    """Return the number of the first row that does not hold, 0 when all do, and the hash of the last row that holds.
    `rows` are all there are, in order."""
    last, expected = GENESIS, 1
    for row in rows:
        if row.seq != expected or row.hash != hash_of(last, row):
            return expected, last
        last, expected = row.hash, expected + 1
    return 0, last

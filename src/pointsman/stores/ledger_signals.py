"""Signals in the ledger: what a batch of requests says of answers, found and written in the transaction that books it.

Requests with a Footprint stand in `footprints` as long as another one may say something of them, so it does not matter which
worker, router or batch a fellow comes with, nor how often one is read: a signal's id is made of its request's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pointsman.core.signals import Asking, found
from pointsman.stores.sql import Db

if TYPE_CHECKING:
    from pointsman.stores.ledger import Batch

MIGRATION = """
CREATE TABLE footprints (
    id TEXT PRIMARY KEY,
    thread BLOB NOT NULL,             -- keyed digest of who asks, or of how the conversation begins
    at_ms INTEGER NOT NULL,           -- Unix milliseconds
    until_ms INTEGER NOT NULL,        -- when it may go
    asking BLOB NOT NULL              -- MessagePack of core.signals.Asking
) WITHOUT ROWID;
CREATE INDEX footprints_thread ON footprints (thread, at_ms);
CREATE INDEX footprints_until ON footprints (until_ms);
"""
MOST_FELLOWS = 64  # looked at of one thread, the newest
_INSERT = "INSERT INTO footprints (id, thread, at_ms, until_ms, asking) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FELLOWS = "SELECT asking FROM footprints WHERE thread = :thread ORDER BY at_ms DESC LIMIT :most"
_IS_THERE = "SELECT COUNT(*) FROM feedback WHERE id = :id"
_FORGET = "DELETE FROM footprints WHERE until_ms < :now"
_SIGNAL = """INSERT INTO feedback
    (id, at_ms, key, project, team, organisation, request_id, session, score, thumbs, label, comment, correction, source)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Asking).decode


def book(db: Db, batch: Batch) -> int:
    """Keep the Footprints of a batch, and write the signals that are found with it; return how many were new."""
    askings = batch.askings
    forget(db, max(one.ended_ms for one in askings))
    rows = [(one.id, one.print.thread, one.at_ms, one.until_ms, _encode(one)) for one in askings]
    db.executemany(_INSERT, rows)
    signals = {one.id: one for one in batch.signals}
    for thread in dict.fromkeys(one.print.thread for one in askings):
        fellows = db.execute(_FELLOWS, {"thread": thread, "most": MOST_FELLOWS}).fetchall()
        if len(fellows) > 1:
            for signal in found(_decode(bytes(row[0])) for row in fellows):
                signals.setdefault(signal.id, signal)
    new = [one for one in signals.values() if not db.execute(_IS_THERE, {"id": one.id}).fetchone()[0]]
    if new:
        db.executemany(_SIGNAL, [_row(one) for one in new])
    return len(new)


def _row(signal: msgspec.Struct) -> tuple[object, ...]:
    id, at_ms, caller, *said = msgspec.structs.astuple(signal)
    return (id, at_ms, *caller, *said)


def forget(db: Db, now_ms: int) -> None:
    """Delete the Footprints of which nobody may say anything any more; Unix milliseconds."""
    db.execute(_FORGET, {"now": now_ms})

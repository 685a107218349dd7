"""Notices in the ledger's database: what was found, and what became of it in each channel. They are no books: they may be
written again and again until nothing changes any more, and go with time (`stores/ledger_retention.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pointsman.core.notice import Noted, Notice, Told
from pointsman.stores.sql import Db, Values

MOST_TEXT = 4_096  # characters kept of each text
NEWEST = (1 << 63) - 1  # later than any row
STOPPED = "the router was stopped before it was sent"
Ask = Callable[[str, Values], list[Any]]

# router: the name of the data folder in a shared ledger, '' in a file; waiting: channels that have not been told yet;
# told: JSON of core.notice.Told by channel.
MIGRATION = """
CREATE TABLE notices (
    seq INTEGER PRIMARY KEY,          -- the order of writing
    id TEXT NOT NULL UNIQUE,
    router TEXT NOT NULL,
    at_ms INTEGER NOT NULL,           -- Unix milliseconds
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    what TEXT NOT NULL,
    text TEXT NOT NULL,
    repeated INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    told TEXT NOT NULL
);
CREATE INDEX notices_at ON notices (at_ms);
CREATE INDEX notices_kind ON notices (kind, seq);
CREATE INDEX notices_waiting ON notices (router) WHERE waiting > 0;
"""

_COLUMNS = ("id", "router", "at_ms", "kind", "subject", "what", "text", "repeated", "last_ms", "waiting", "told")
_CHANGING = ("repeated", "last_ms", "waiting", "told")
_KEEP = (
    f"INSERT INTO notices ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  our own table
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
)
_READ = "seq, id, at_ms, kind, subject, what, text, repeated, last_ms, told"
_LISTED = f"""SELECT {_READ} FROM notices WHERE seq < :before AND at_ms >= :since AND at_ms < :until
    AND (:kind = '' OR kind = :kind) ORDER BY seq DESC LIMIT :most"""  # noqa: S608
_WAITING = f"SELECT {_READ} FROM notices WHERE router = :router AND waiting > 0"  # noqa: S608
_told = msgspec.json.Decoder(dict[str, Told])


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for notices of one kind, "" for all, found from `since_ms` to before `until_ms` (Unix milliseconds), and written
    before the row `before`."""

    kind: str = ""
    since_ms: int = 0
    until_ms: int = NEWEST
    before: int = NEWEST
    most: int = 100


def keep(db: Db, noted: Iterable[Noted], router: str) -> None:
    """Write notices, or what has changed of them, inside a transaction."""
    db.executemany(_KEEP, [_row(one, router) for one in noted])


def end(db: Db, router: str, now_ms: int) -> None:
    """Say of notices of before that wait still that nobody sends them any more, inside a transaction."""
    found = [_noted(tuple(row)) for row in db.execute(_WAITING, {"router": router}).fetchall()]
    for one in found:
        for channel, told in one.told.items():
            if told.state == "waiting":
                one.told[channel] = Told("failed", now_ms, told.tries, told.reason or STOPPED)
    if found:
        keep(db, found, router)


def listed(ask: Ask, wish: Wish) -> tuple[list[Noted], int]:
    """Return notices, the newest first, and the row before which the next ones are; 0: there are none. Raise LedgerError."""
    values = {
        "before": wish.before, "since": wish.since_ms, "until": wish.until_ms, "kind": wish.kind, "most": wish.most + 1
    }  # fmt: skip
    rows = [tuple(row) for row in ask(_LISTED, values)]
    return [_noted(row) for row in rows[: wish.most]], rows[wish.most - 1][0] if len(rows) > wish.most else 0


def _row(one: Noted, router: str) -> tuple[object, ...]:
    waiting = sum(told.state == "waiting" for told in one.told.values())
    texts = [_fit(text) for text in (one.notice.subject, one.notice.what, one.notice.text)]
    told = msgspec.json.encode(one.told).decode()
    return (one.id, router, one.at_ms, one.notice.kind, *texts, one.repeated, one.last_ms, waiting, told)


def _noted(row: tuple[Any, ...]) -> Noted:
    _, id, at_ms, kind, subject, what, text, repeated, last_ms, told = row
    return Noted(id, at_ms, Notice(kind, subject, what, text), last_ms, repeated, _told.decode(told))


def _fit(text: str) -> str:
    """Return a text that any database can hold, and not more of it than is kept."""
    return text.replace("\0", "\ufffd")[:MOST_TEXT]

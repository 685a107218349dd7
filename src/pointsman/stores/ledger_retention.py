"""Retention in the ledger: what is older than it need be is deleted, a little at a time, so that who books never waits long.

The newest row of a table always stays: its `seq` is what the next one, exports and invoices count from. Sums by hour and day
are tables of their own and outlive the requests. SQLite gives the room to later rows; the file does not become smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pointsman.core.retention import Retention
from pointsman.stores import ledger_decisions
from pointsman.stores.browsing import DAY_MS
from pointsman.stores.ledger import Writer
from pointsman.stores.sql import Db, Values

BATCH = 500  # requests in one transaction: some milliseconds
ALL = 1 << 62  # a `seq` that no row has
Ask = Callable[[str, Values], Any]  # runs a statement that reads

_OLD_REQUESTS = (
    "FROM requests WHERE at_ms < :before AND seq < :keep AND seq < (SELECT COALESCE(MAX(seq), 0) FROM requests)"
)
_OLD_FEEDBACK = (
    "FROM feedback WHERE at_ms < :before AND seq < :keep AND seq < (SELECT COALESCE(MAX(seq), 0) FROM feedback)"
)
_OLD_DECISIONS = "FROM decisions WHERE request_id < :bound"  # ids sort by time
_OLD_NOTICES = "FROM notices WHERE at_ms < :before"
_COUNT_REQUESTS = f"SELECT COUNT(*) {_OLD_REQUESTS}"
_COUNT_FEEDBACK = f"SELECT COUNT(*) {_OLD_FEEDBACK}"
_COUNT_DECISIONS = f"SELECT COUNT(*) {_OLD_DECISIONS}"
_COUNT_NOTICES = f"SELECT COUNT(*) {_OLD_NOTICES}"
_SOME_REQUESTS = f"SELECT seq, id {_OLD_REQUESTS} ORDER BY at_ms LIMIT :most"
_SOME_FEEDBACK = f"SELECT seq {_OLD_FEEDBACK} ORDER BY at_ms LIMIT :most"
_SOME_DECISIONS = f"SELECT request_id {_OLD_DECISIONS} ORDER BY request_id LIMIT :most"
_SOME_NOTICES = f"SELECT seq {_OLD_NOTICES} ORDER BY at_ms LIMIT :most"
_SUMS = {"hours": "hour_sums_days", "days": "day_sums_days"}


class Kept(msgspec.Struct, frozen=True):
    """Hold the first `seq` of requests and of feedback that must stay, and who needs it; "": nobody."""

    requests: int = ALL
    feedback: int = ALL
    holder: str = ""


# Who may still need rows: asked with the means to read the ledger and the rules; answers the first `seq` that has to stay, of
# requests and of feedback, or None. Add here what else counts on rows, such as bills that are not written yet.
Keeper = Callable[[Ask, Retention], Kept | None]


def unexported(ask: Ask, rules: Retention) -> Kept | None:
    """Keep what an export has not, where rules say so; everything as long as there is no export."""
    if not rules.after_export:
        return None
    [row] = ask("SELECT COALESCE(MIN(requests_seq), 0), COALESCE(MIN(feedback_seq), 0) FROM exports", {})
    return Kept(int(row[0]) + 1, int(row[1]) + 1, "export")


_BILLED = """
    SELECT MIN(upto) FROM (
        SELECT MAX(upto_seq) AS upto, MAX(period) AS last FROM invoices WHERE kind = 'invoice' GROUP BY customer
    ) billed WHERE last IN (SELECT DISTINCT period FROM invoices WHERE kind = 'invoice' ORDER BY period DESC LIMIT 2)"""


def unbilled(ask: Ask, rules: Retention) -> Kept | None:
    """Keep what no invoice has looked at, once there are invoices; a customer without one in the last two months that were
    billed waits for none."""
    [row] = ask(_BILLED, {})
    return None if row[0] is None else Kept(int(row[0]) + 1, ALL, "invoices")


KEEPERS: list[Keeper] = [unexported, unbilled]


def keep_from_seq(ask: Ask, rules: Retention) -> Kept:
    """Return from which `seq` on rows have to stay, whoever needs them. Raise LedgerError."""
    found = [kept for keeper in KEEPERS if (kept := keeper(ask, rules)) is not None]
    return Kept(
        min((kept.requests for kept in found), default=ALL),
        min((kept.feedback for kept in found), default=ALL),
        ", ".join(kept.holder for kept in found),
    )


def note_export(writer: Writer, place: str, seqs: tuple[int, int], now_ms: int) -> None:
    """Note up to which `seq` of requests and feedback an export has all rows. Raise LedgerError."""
    with writer.changing() as db:
        db.execute(
            "INSERT INTO exports (place, requests_seq, feedback_seq, at_ms) VALUES (:place, :requests, :feedback, :now)"
            " ON CONFLICT (place) DO UPDATE SET requests_seq = excluded.requests_seq,"
            " feedback_seq = excluded.feedback_seq, at_ms = excluded.at_ms",
            {"place": place, "requests": seqs[0], "feedback": seqs[1], "now": now_ms},
        )


def forget_export(writer: Writer, place: str) -> None:
    """Wait for an export no more. Raise LedgerError."""
    with writer.changing() as db:
        db.execute("DELETE FROM exports WHERE place = :place", {"place": place})


def due(ask: Ask, rules: Retention, now_ms: int) -> tuple[dict[str, int], Kept]:
    """Return how many rows of each table would be deleted now, and what has to stay. Raise LedgerError."""
    kept = keep_from_seq(ask, rules)
    found: dict[str, int] = {}
    if rules.requests_days:
        values = {"before": _before(rules.requests_days, now_ms), "keep": kept.requests}
        found["requests"] = _count(ask, _COUNT_REQUESTS, values)
    if rules.decisions_days:
        bound = _bound(rules.decisions_days, now_ms)
        blocks = _count(ask, ledger_decisions.COUNT, {"before": _before(rules.decisions_days, now_ms)})
        found["decisions"] = _count(ask, _COUNT_DECISIONS, {"bound": bound}) + blocks
    if rules.feedback_days:
        values = {"before": _before(rules.feedback_days, now_ms), "keep": kept.feedback}
        found["feedback"] = _count(ask, _COUNT_FEEDBACK, values)
    if rules.notices_days:
        found["notices"] = _count(ask, _COUNT_NOTICES, {"before": _before(rules.notices_days, now_ms)})
    for table, setting in _SUMS.items():
        if getattr(rules, setting):
            values = {"before": _before(getattr(rules, setting), now_ms)}
            found[table] = _count(ask, f"SELECT COUNT(*) FROM {table} WHERE begins_ms < :before", values)  # noqa: S608
    return found, kept


def prune(writer: Writer, rules: Retention, now_ms: int) -> Iterator[tuple[str, int]]:
    """Delete what is older than it need be; yield the table and the number of rows after each transaction, so that the
    caller may pause or stop. Raise LedgerError."""
    for table, delete in _DELETES.items():
        while True:
            with writer.changing() as db:
                count = delete(db, rules, now_ms)
            if not count:
                break
            yield table, count


def _requests(db: Db, rules: Retention, now_ms: int) -> int:
    if not rules.requests_days:
        return 0
    keep = keep_from_seq(_ask(db), rules).requests
    values = {"before": _before(rules.requests_days, now_ms), "keep": keep, "most": BATCH}
    rows = db.execute(_SOME_REQUESTS, values).fetchall()
    if rows:
        db.executemany("DELETE FROM sends WHERE request_id = ?", [(row[1],) for row in rows])
        db.executemany("DELETE FROM decisions WHERE request_id = ?", [(row[1],) for row in rows])
        db.executemany("DELETE FROM requests WHERE seq = ?", [(row[0],) for row in rows])
        last = max(row[0] for row in rows)
        db.execute(ledger_decisions.DELETE_EMPTY, {"before": values["before"], "last": last})
    return len(rows)


def _decisions(db: Db, rules: Retention, now_ms: int) -> int:
    if not rules.decisions_days:
        return 0
    values = {"bound": _bound(rules.decisions_days, now_ms), "most": BATCH}
    rows = db.execute(_SOME_DECISIONS, values).fetchall()
    if rows:
        db.executemany("DELETE FROM decisions WHERE request_id = ?", [(row[0],) for row in rows])
    return len(rows) or ledger_decisions.prune(db, _before(rules.decisions_days, now_ms), BATCH)


def _feedback(db: Db, rules: Retention, now_ms: int) -> int:
    if not rules.feedback_days:
        return 0
    keep = keep_from_seq(_ask(db), rules).feedback
    values = {"before": _before(rules.feedback_days, now_ms), "keep": keep, "most": BATCH}
    rows = db.execute(_SOME_FEEDBACK, values).fetchall()
    if rows:
        db.executemany("DELETE FROM feedback WHERE seq = ?", [(row[0],) for row in rows])
    return len(rows)


def _notices(db: Db, rules: Retention, now_ms: int) -> int:
    if not rules.notices_days:
        return 0
    rows = db.execute(_SOME_NOTICES, {"before": _before(rules.notices_days, now_ms), "most": BATCH}).fetchall()
    if rows:
        db.executemany("DELETE FROM notices WHERE seq = ?", [(row[0],) for row in rows])
    return len(rows)


def _sums(table: str) -> Callable[[Db, Retention, int], int]:
    """Return what deletes the oldest hour or day of a table of sums."""
    oldest = f"SELECT begins_ms, COUNT(*) FROM {table} WHERE begins_ms < :before GROUP BY 1 ORDER BY 1 LIMIT 1"  # noqa: S608
    gone = f"DELETE FROM {table} WHERE begins_ms = :begins"  # noqa: S608  hours, days

    def delete(db: Db, rules: Retention, now_ms: int) -> int:
        days = getattr(rules, _SUMS[table])
        rows = db.execute(oldest, {"before": _before(days, now_ms)}).fetchall() if days else []
        for begins_ms, _ in rows:
            db.execute(gone, {"begins": begins_ms})
        return int(rows[0][1]) if rows else 0

    return delete


_DELETES: dict[str, Callable[[Db, Retention, int], int]] = {
    "requests": _requests,
    "decisions": _decisions,
    "feedback": _feedback,
    "notices": _notices,
    **{table: _sums(table) for table in _SUMS},
}


def _ask(db: Db) -> Ask:
    return lambda statement, values: db.execute(statement, values).fetchall()


def _count(ask: Ask, statement: str, values: Values) -> int:
    return int(ask(statement, values)[0][0])


def _before(days: int, now_ms: int) -> int:
    return now_ms - days * DAY_MS


def _bound(days: int, now_ms: int) -> str:
    return f"req_{max(0, _before(days, now_ms)):012x}"

"""Retention deletes what is old, a little at a time, and never what somebody still needs."""

from __future__ import annotations

from typing import Any

import pytest
from ledgers import Ledger
from records import decided
from report_ledgers import BEGIN_MS, Books

from pointsman.core.retention import Retention
from pointsman.stores import ledger_retention
from pointsman.stores.browsing import Sums
from pointsman.stores.ledger import Batch, decision_row
from pointsman.stores.ledger_retention import Kept, due, forget_export, note_export, prune

DAY_MS = 86_400_000
NOW_MS = BEGIN_MS + 9 * DAY_MS
COUNT = 1_300


@pytest.fixture
def books(ledger: Ledger) -> Books:
    made = Books(seed=31, count=COUNT)
    writer = ledger.writer()
    writer.write(made.batch())
    writer.write(Batch(decisions=[decision_row(row["id"], decided()) for row in made.requests]))
    return made


def left(ledger: Ledger) -> dict[str, int]:
    tables = ("requests", "attempts", "decisions", "feedback", "hours", "days")
    return {table: ledger.ask(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables}


def pruned(ledger: Ledger, rules: Retention, now_ms: int = NOW_MS) -> dict[str, int]:
    found: dict[str, int] = {}
    for table, count in prune(ledger.writer(), rules, now_ms):
        assert count <= ledger_retention.BATCH or table in ("hours", "days")
        found[table] = found.get(table, 0) + count
    return found


def counted(ledger: Ledger, rules: Retention) -> tuple[dict[str, int], Kept]:
    with ledger.reader() as reader:
        return due(reader.ask, rules, NOW_MS)


def test_requests_go_with_all_they_have_and_sums_stay(ledger: Ledger, books: Books) -> None:
    old = {row["id"] for row in books.requests if row["at_ms"] < NOW_MS - 4 * DAY_MS}
    before, rules = left(ledger), Retention(requests_days=4)
    assert counted(ledger, rules)[0] == {"requests": len(old), "notices": 0} and left(ledger) == before
    assert pruned(ledger, rules) == {"requests": len(old)} and 500 < len(old) < COUNT
    now = left(ledger)
    assert (now["requests"], now["decisions"]) == (COUNT - len(old), COUNT - len(old))
    assert now["attempts"] == sum(row["request_id"] not in old for row in books.attempts)
    assert {name: now[name] for name in ("feedback", "hours", "days")} == {
        n: before[n] for n in ("feedback", "hours", "days")
    }
    with ledger.reader() as reader:
        assert reader.sums(Sums(("route",)))[1].requests == COUNT
    assert pruned(ledger, rules) == {}


def test_each_table_has_days_of_its_own(ledger: Ledger, books: Books) -> None:
    rules = Retention(decisions_days=3, feedback_days=5, hour_sums_days=2, day_sums_days=7)
    found = pruned(ledger, rules)
    assert found.keys() == {"decisions", "feedback", "hours", "days"} and left(ledger)["requests"] == COUNT
    assert left(ledger)["decisions"] == sum(row["at_ms"] >= NOW_MS - 3 * DAY_MS for row in books.requests)
    assert left(ledger)["feedback"] == sum(row["at_ms"] >= NOW_MS - 5 * DAY_MS for row in books.feedback)
    assert ledger.ask("SELECT MIN(begins_ms) FROM hours")[0][0] >= NOW_MS - 2 * DAY_MS
    assert ledger.ask("SELECT MIN(begins_ms) FROM days")[0][0] >= NOW_MS - 7 * DAY_MS


def test_nothing_is_deleted_unless_somebody_says_so(ledger: Ledger, books: Books) -> None:
    before = left(ledger)
    assert pruned(ledger, Retention(), NOW_MS + 10_000 * DAY_MS) == {} and left(ledger) == before


def test_the_newest_row_stays_so_that_numbers_go_on(ledger: Ledger, books: Books) -> None:
    pruned(ledger, Retention(requests_days=1, feedback_days=1), NOW_MS + 1_000 * DAY_MS)
    assert (left(ledger)["requests"], left(ledger)["feedback"]) == (1, 1)
    more = Books(seed=32, count=5)
    for n, row in enumerate(more.requests):
        row["id"] = f"req_{n:028x}"
    assert ledger.writer().write(more.batch()) == 5
    assert ledger.ask("SELECT MIN(seq), MAX(seq) FROM requests WHERE id < 'req_00000001'")[0] == (COUNT + 1, COUNT + 5)


def test_what_no_export_has_stays_where_rules_say_so(ledger: Ledger, books: Books) -> None:
    rules, writer = Retention(requests_days=1, feedback_days=1, after_export=True), ledger.writer()
    assert pruned(ledger, rules) == {} and counted(ledger, rules)[1].holder == "export"
    note_export(writer, "/one", (400, 30), NOW_MS)
    note_export(writer, "/two", (300, 20), NOW_MS)
    old = [row for row in books.requests if row["at_ms"] < NOW_MS - DAY_MS]
    assert pruned(ledger, rules)["requests"] == sum(row["seq"] <= 300 for row in old)
    note_export(writer, "/two", (350, 20), NOW_MS)
    pruned(ledger, rules)
    assert ledger.ask("SELECT COUNT(*) FROM requests")[0][0] == COUNT - sum(row["seq"] <= 350 for row in old)
    forget_export(writer, "/two")
    pruned(ledger, rules)
    assert ledger.ask("SELECT COUNT(*) FROM requests")[0][0] == COUNT - sum(row["seq"] <= 400 for row in old)


def test_who_else_needs_rows_is_asked(ledger: Ledger, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    def unbilled(ask: Any, rules: Retention) -> Kept:
        return Kept(requests=int(ask("SELECT 200", {})[0][0]), holder="bills")

    monkeypatch.setattr(ledger_retention, "KEEPERS", [*ledger_retention.KEEPERS, unbilled])
    pruned(ledger, Retention(requests_days=1))
    assert ledger.ask("SELECT MIN(seq) FROM requests WHERE seq >= 200")[0][0] == 200
    assert counted(ledger, Retention(requests_days=1))[1] == Kept(requests=200, holder="bills")


def test_booking_goes_on_between_the_pieces(ledger: Ledger, books: Books) -> None:
    writer, more = ledger.writer("other"), Books(seed=33, count=4)
    for n, row in enumerate(more.requests):
        row["id"] = f"req_f{n:027x}"
    steps = prune(ledger.writer(), Retention(requests_days=1), NOW_MS)
    next(steps)
    assert writer.write(more.batch()) == 4  # no lock is held while the caller pauses
    assert sum(1 for _ in steps) >= 1

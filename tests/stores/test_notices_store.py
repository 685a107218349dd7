"""Notices are kept, changed until nothing happens to them any more, found, and go with time."""

from __future__ import annotations

from typing import Any

import pytest
from ledgers import Ledger

from pointsman.core.notice import Noted, Notice, Told
from pointsman.core.retention import Retention
from pointsman.stores.ledger_retention import due, prune
from pointsman.stores.notices import MOST_TEXT, STOPPED, Wish, end, keep, listed

DAY_MS = 86_400_000


def noted(n: int, state: Any = "delivered", kind: Any = "quota", **more: Any) -> Noted:
    told = {"ops": Told(state, 1_000 + n, 1)}
    return Noted(
        f"ntc_{n:024x}", 1_000 + n, Notice(kind, f"q{n}", "near", f"text {n}"), 1_000 + n, **{"told": told} | more
    )


def write(ledger: Ledger, *rows: Noted, router: str = "") -> None:
    with ledger.writer().changing() as db:
        keep(db, rows, router)


def read(ledger: Ledger, **wish: Any) -> tuple[list[Noted], int]:
    with ledger.reader() as reader:
        return listed(reader.ask, Wish(**wish))


def test_what_was_kept_is_read_back_and_written_again_changes_only_what_may(ledger: Ledger) -> None:
    one = noted(1, "waiting")
    write(ledger, one)
    one.told["ops"] = Told("failed", 2_000, 4, "answers with status 500")
    one.repeated, one.last_ms = 7, 3_000
    write(ledger, one)
    write(ledger, one)
    assert read(ledger) == ([one], 0)


def test_pages_follow_one_another_by_kind_and_time(ledger: Ledger) -> None:
    rows = [noted(n, kind="quota" if n % 3 else "price") for n in range(25)]
    write(ledger, *rows)
    found: list[Noted] = []
    before, pages = 0, 0
    while True:
        page, before = read(ledger, most=10, **({"before": before} if before else {}))
        found, pages = found + page, pages + 1
        if not before:
            break
    assert found == rows[::-1] and pages == 3
    assert read(ledger, kind="price")[0] == [row for row in rows[::-1] if row.notice.kind == "price"]
    assert read(ledger, since_ms=1_010, until_ms=1_012)[0] == [rows[11], rows[10]]
    exact, following = read(ledger, most=25)
    assert len(exact) == 25 and following == 0


def test_what_waited_when_its_router_ended_is_told_to_nobody(ledger: Ledger) -> None:
    mine, told, theirs = noted(1, "waiting"), noted(2), noted(3, "waiting")
    mine.told["mail"] = Told("delivered", 5, 1)
    mine.told["tried"] = Told("waiting", 5, 2, "cannot be reached: timed out")
    write(ledger, mine, told, router="a")
    write(ledger, theirs, router="b")
    with ledger.writer().changing() as db:
        end(db, "a", 9_000)
    found = {one.id: one for one in read(ledger)[0]}
    assert found[mine.id].told == {
        "ops": Told("failed", 9_000, 1, STOPPED),
        "mail": Told("delivered", 5, 1),
        "tried": Told("failed", 9_000, 2, "cannot be reached: timed out"),
    }
    assert (found[told.id], found[theirs.id]) == (told, theirs)


def test_texts_are_bounded_and_of_any_character(ledger: Ledger) -> None:
    row = Noted("ntc_1", 1, Notice("quota", "a\0b", "w", "x" * 10_000), 1, told={"c\0": Told("failed", 1, 1, "\0'\"")})
    write(ledger, row)
    [found] = read(ledger)[0]
    assert found.notice.subject == "a\ufffdb" and len(found.notice.text) == MOST_TEXT and found.told == row.told


@pytest.mark.parametrize(("days", "left"), [(0, 1_200), (2, 700)])
def test_they_go_with_time_unless_the_config_keeps_them(ledger: Ledger, days: int, left: int) -> None:
    now_ms = 10 * DAY_MS
    rows = [noted(n) for n in range(1_200)]
    for n, row in enumerate(rows):
        row.at_ms = now_ms - (3 if n < 500 else 1) * DAY_MS
    write(ledger, *rows)
    rules = Retention(notices_days=days)
    with ledger.reader() as reader:
        assert due(reader.ask, rules, now_ms)[0].get("notices", 0) == 1_200 - left
    assert sum(count for _, count in prune(ledger.writer(), rules, now_ms)) == 1_200 - left
    assert read(ledger, most=10_000)[0] == rows[::-1][:left]

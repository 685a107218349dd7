"""Feedback in the ledger: whom it reaches, which of it counts, and that nothing is counted twice or for others."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledgers import Ledger, migrations
from records import AT_MS, admitted, attempt, decided, feedback, id_of, request_row, settled

from pointsman.core.entry import Feedback
from pointsman.stores.ledger import (
    FEEDBACK_COLUMNS,
    GROUPS,
    Batch,
    FeedbackCounts,
    LedgerError,
    UsageQuery,
    UsageRow,
    Writer,
    feedback_row,
)
from pointsman.stores.ledger_reading import MOST_FEEDBACK
from pointsman.stores.ledger_schema import MIGRATIONS
from pointsman.stores.postgres import migrate
from pointsman.stores.sqlite import FILE, SqliteWriter

ALONE = ("dev", "", "", "")
HOUR_MS = 3_600_000


@pytest.fixture
def writer(ledger: Ledger) -> Writer:
    made = ledger.writer()
    assert made.marks() == {}  # and there are tables
    return made


def requests(*numbers: int, arm: str = "", **more: Any) -> Batch:
    """Return the rows of these requests, with fields of their admissions as given."""
    made = decided(arm=arm)
    rows = [request_row(admitted(n, **more), settled(n, attempt()), made.head, {}) for n in numbers]
    return Batch(requests=rows)


def given(writer: Writer, *records: Feedback) -> None:
    writer.write(Batch(feedback=[feedback_row(record) for record in records]))


def usage(ledger: Ledger, *by: str, since_ms: int = 0) -> tuple[dict[tuple[str, ...], UsageRow], UsageRow]:
    with ledger.reader() as reader:
        rows, total = reader.usage(UsageQuery(by=by or ("route",), since_ms=since_ms))
    return {row.group: row for row in rows}, total


def reached(ledger: Ledger, n: int = 0) -> list[dict[str, Any]]:
    """Return the feedback that the ledger shows with request number `n`."""
    with ledger.reader() as reader:
        entry = reader.entry(id_of(n))
    assert entry is not None
    return entry.feedback


def counts(ledger: Ledger, since_ms: int = 0) -> FeedbackCounts:
    with ledger.reader() as reader:
        return reader.feedback_counts(since_ms)


def test_the_columns_are_those_of_the_table_and_of_the_row(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    given(writer, feedback(0))
    assert tuple(reached(ledger)[0]) == ("seq", *FEEDBACK_COLUMNS)
    record = feedback(0, score=0.25, label="l", comment="c", correction="k", source="qa", session="")
    row = dict(zip(FEEDBACK_COLUMNS, feedback_row(record), strict=True))
    plain = msgspec.structs.asdict(record)
    key, project, team, organisation = plain.pop("caller")
    assert row == plain | {"key": key, "project": project, "team": team, "organisation": organisation}


@pytest.mark.parametrize("first", ["request", "feedback"])
def test_either_may_be_booked_first(ledger: Ledger, writer: Writer, first: str) -> None:
    steps = [lambda: writer.write(requests(0)), lambda: given(writer, feedback(0))]
    for step in steps if first == "request" else reversed(steps):
        step()
    assert [row["score"] for row in reached(ledger)] == [1.0]
    assert usage(ledger)[1].feedback_count == 1 and counts(ledger) == FeedbackCounts(1, 0)


def test_i02_writing_again_changes_nothing(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    for score in (1.0, 0.0):
        given(writer, feedback(0, score=score))
    assert [row["score"] for row in reached(ledger)] == [1.0]


def test_the_last_score_counts_and_what_has_none_does_not(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0, 1, 2))
    later = AT_MS + 2 * HOUR_MS
    given(
        writer,
        feedback(0, id="b", at_ms=later, score=0.0),
        feedback(0, id="a", score=1.0),  # given before, booked after
        feedback(0, id="c", at_ms=later + 1, score=None, comment="as I said"),
        feedback(1, id="d", at_ms=later, score=0.1),
        feedback(1, id="e", at_ms=later, score=0.5),  # at the same time: booked after
    )
    _, total = usage(ledger)
    assert (total.feedback, total.feedback_count) == (0.25, 2)
    assert [row["id"] for row in reached(ledger)] == ["a", "b", "c"]
    assert [row["id"] for row in reached(ledger, 2)] == []


def test_without_feedback_there_is_no_mean(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    given(writer, feedback(0, score=None, label="odd"))
    groups, total = usage(ledger)
    assert {(row.feedback, row.feedback_count) for row in (*groups.values(), total)} == {(None, 0)}


SAME = ("dev", "site", "web", "acme")
TENANTS = [
    (SAME, SAME, True, True),
    (SAME, ("app", *SAME[1:]), True, False),  # another key of the team: by our id only
    (SAME, ("dev", "site", "web", ""), False, False),
    (SAME, ("dev", "site", "", "acme"), False, False),
    (SAME, ("dev", "", "web", "acme"), False, False),
    (SAME, ALONE, False, False),
    (ALONE, SAME, False, False),
    (ALONE, ALONE, True, True),
    (ALONE, ("app", "", "", ""), False, False),  # nothing in common but having no team
    (("", "", "", ""), ("", "", "", ""), True, True),  # a router without keys
    (("", "", "", ""), ALONE, False, False),
]


@pytest.mark.parametrize(("asked", "judged", "by_id", "by_name"), TENANTS)
def test_only_what_the_same_tenant_asked_is_reached(
    ledger: Ledger, writer: Writer, asked: Any, judged: Any, by_id: bool, by_name: bool
) -> None:
    writer.write(requests(0, caller=asked, client_id="mine", session="talk"))
    for name, reaches in (
        ({"request_id": id_of(0)}, by_id),
        ({"request_id": "mine"}, by_name),
        ({"request_id": "", "session": "talk"}, by_name),
    ):
        before = counts(ledger)
        given(writer, feedback(0, id=str(name), caller=judged, **name))
        shown = [row for row in reached(ledger) if row["id"] == str(name)]
        assert bool(shown) is reaches, name
        assert counts(ledger) == FeedbackCounts(before.given + 1, before.unmatched + (not reaches))
    expected = (by_id or by_name) + by_name  # the request, the session
    assert usage(ledger)[1].feedback_count == expected


def test_a_name_used_again_means_the_last_request_before_the_feedback(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0, 10, 20, client_id="mine"))
    at_ms = AT_MS + 15_000
    given(
        writer,
        feedback(0, id="a", request_id="mine", at_ms=at_ms, score=0.0),
        feedback(0, id="b", request_id="mine", at_ms=AT_MS - 1),  # there was none yet
    )
    assert [len(reached(ledger, n)) for n in (0, 10, 20)] == [0, 1, 0]
    assert counts(ledger) == FeedbackCounts(2, 1) and usage(ledger)[1].feedback == 0.0


def test_our_id_goes_before_a_name_that_is_spelled_like_it(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    writer.write(requests(1, client_id=id_of(0)))
    given(writer, feedback(0))
    assert [len(reached(ledger, n)) for n in (0, 1)] == [1, 0]


def test_requests_without_a_name_are_reached_by_no_name(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    given(writer, feedback(0, request_id="", session=""))
    assert reached(ledger) == [] and counts(ledger) == FeedbackCounts(1, 1)


def test_a_session_is_one_vote_in_each_group_it_has_requests_in(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(*range(10), session="long", arm="r/a"))
    writer.write(requests(10, session="short", arm="r/a"))
    writer.write(requests(11, session="long", arm="r/b"))
    writer.write(requests(12, session="", arm="r/b"))
    about: dict[str, Any] = {"request_id": "", "at_ms": AT_MS + HOUR_MS}
    given(
        writer,
        feedback(0, id="a", session="long", score=1.0, **about),
        feedback(0, id="b", session="long", score=0.0, request_id="", at_ms=AT_MS + HOUR_MS + 1),
        feedback(0, id="c", session="short", score=1.0, **about),
        feedback(12, id="d", score=0.5),
        feedback(3, id="e", score=1.0),  # a request of the session: a vote of its own
    )
    groups, total = usage(ledger, "arm")
    assert (groups["r/a",].feedback, groups["r/a",].feedback_count) == (pytest.approx(2 / 3), 3)
    assert (groups["r/b",].feedback, groups["r/b",].feedback_count) == (0.25, 2)
    assert (total.feedback, total.feedback_count) == (pytest.approx(2.5 / 4), 4)
    assert [row["id"] for row in reached(ledger, 3)] == ["a", "b", "e"]


def test_a_session_is_judged_up_to_then(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0, session="talk", arm="r/a"))
    writer.write(requests(100, session="talk", arm="r/b"))
    given(writer, feedback(0, request_id="", session="talk", at_ms=AT_MS + 50_000))
    groups, _ = usage(ledger, "arm")
    assert (groups["r/a",].feedback_count, groups["r/b",].feedback_count) == (1, 0)
    assert [len(reached(ledger, n)) for n in (0, 100)] == [1, 0]


def test_a_period_is_one_of_requests_and_late_feedback_belongs_to_theirs(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0, 100))
    given(
        writer,
        feedback(0, id="a", at_ms=AT_MS + 400 * 86_400_000, score=0.0),
        feedback(100, id="b", at_ms=AT_MS + 100_000),
    )
    assert usage(ledger)[1].feedback_count == 2
    _, later = usage(ledger, since_ms=AT_MS + 50_000)
    assert (later.feedback, later.feedback_count) == (1.0, 1)
    days, _ = usage(ledger, "day")
    assert list(days) == [("2026-11-18",)] and days["2026-11-18",].feedback_count == 2
    assert counts(ledger, AT_MS + 86_400_000) == FeedbackCounts(1, 0)


@pytest.mark.parametrize("name", GROUPS)
def test_every_grouping_has_it(ledger: Ledger, writer: Writer, name: str) -> None:
    writer.write(requests(0, session="s", arm="r/a"))
    given(writer, feedback(0), feedback(0, id="s", request_id="", session="s", score=0.0))
    groups, _ = usage(ledger, name)
    assert [(row.feedback, row.feedback_count) for row in groups.values()] == [(0.5, 2)]
    both, _ = usage(ledger, *dict.fromkeys((name, "route")))
    assert [row.feedback_count for row in both.values()] == [2]


def test_groups_beyond_the_most_count_in_the_total(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0, 1, arm="r/a"))
    writer.write(requests(2, arm="r/b"))
    given(writer, feedback(0), feedback(2, score=0.0))
    with ledger.reader() as reader:
        [row], total = reader.usage(UsageQuery(by=("arm",), most=1))
    assert (row.group, row.feedback_count, total.feedback, total.feedback_count) == (("r/a",), 1, 0.5, 2)


def test_the_newest_are_shown_of_very_many(ledger: Ledger, writer: Writer) -> None:
    writer.write(requests(0))
    given(writer, *[feedback(0, id=f"f{n:04}", at_ms=AT_MS + n) for n in range(MOST_FEEDBACK + 50)])
    shown = [row["id"] for row in reached(ledger)]
    assert shown == [f"f{n:04}" for n in range(50, MOST_FEEDBACK + 50)]


def test_a_failing_batch_keeps_no_feedback(ledger: Ledger, writer: Writer) -> None:
    batch = Batch(feedback=[feedback_row(feedback(0))], decisions=[("too", "short")])
    with pytest.raises(LedgerError):
        writer.write(batch)
    assert counts(ledger) == FeedbackCounts(0, 0)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_f91_an_older_ledger_is_brought_up_to_date_by_the_writer_and_refused_by_readers(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    with migrations(monkeypatch, MIGRATIONS[:version]):
        older = ledger.writer()
        if ledger.name == "postgres":
            migrate(older._link, 1, MIGRATIONS[:version])  # type: ignore[attr-defined]  # all that it can do
        older.close()
    with pytest.raises(LedgerError, match="older version of pointsman: `pointsman serve`"):
        ledger.reader()
    writer = ledger.writer()
    writer.write(requests(0, client_id="mine"))
    given(writer, feedback(0))
    assert usage(ledger)[1].feedback_count == 1
    with ledger.reader() as reader:
        assert reader.find("mine") == [id_of(0)]


@pytest.mark.parametrize("statement", ["scores", "counts"])
def test_no_request_is_looked_for_by_reading_all(tmp_path: Path, statement: str) -> None:
    from pointsman.stores.ledger_feedback import COUNTS_SQL
    from pointsman.stores.report import Question
    from pointsman.stores.report_sql import SQLITE, scores_sql, values

    question = Question(("feedback_count",), ("arm",))
    text = COUNTS_SQL if statement == "counts" else scores_sql(question, SQLITE)
    SqliteWriter(tmp_path / FILE).close()
    plan = [
        row[3]
        for row in sqlite3.connect(tmp_path / FILE).execute("EXPLAIN QUERY PLAN " + text, values(question, "", 1))
    ]
    assert [step for step in plan if step.startswith("SCAN r")] == [] and [s for s in plan if "SEARCH r " in s]

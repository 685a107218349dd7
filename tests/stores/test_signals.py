"""Signals in the ledger: found across batches, written once, shown apart from what people said, and soon forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from ledgers import Ledger
from records import AT_MS, admitted, attempt, decided, feedback, id_of, request_row, settled

from pointsman.core.footprint import Digests, Footprint, Signals
from pointsman.core.signals import asking_of
from pointsman.stores.ledger import Batch, UsageQuery, Writer, feedback_row
from pointsman.stores.ledger_signals import forget
from pointsman.stores.report import Question

MADE = Digests(b"k" * 32)
RULES = Signals()


@pytest.fixture
def writer(ledger: Ledger) -> Writer:
    made = ledger.writer()
    assert made.marks() == {}
    return made


def seen(question: bytes = b"How tall is the Eiffel tower?", **more: Any) -> Footprint:
    whole = MADE.of(question)
    return Footprint(MADE.of(b"me"), whole, b"", MADE.of(b""), MADE.words(question), True, False, 0)


def batch(*numbers: int, arm: str = "", **more: Any) -> Batch:
    """Return the rows of requests with a Footprint, a second apart, each answered in 0.9."""
    made = Batch()
    for n in numbers:
        asked, ended = admitted(n, footprint=seen(), **more), settled(n, attempt())
        made.requests.append(request_row(asked, ended, decided(arm=arm).head, {}))
        asking = asking_of(asked, ended, RULES)
        assert asking is not None
        made.askings.append(asking)
    return made


def shown(ledger: Ledger, n: int) -> list[tuple[str, float]]:
    with ledger.reader() as reader:
        entry = reader.entry(id_of(n))
    assert entry is not None
    return [(row["source"], row["score"]) for row in entry.feedback]


REGENERATED = [("implicit:regeneration", 0.2)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the later one booked first"])
def test_batches_need_not_come_in_order(ledger: Ledger, writer: Writer, order: tuple[int, int]) -> None:
    for n in order:
        one = batch(n)
        writer.write(one)
    assert (shown(ledger, 0), shown(ledger, 1)) == (REGENERATED, [])
    assert one.signalled == 1


def test_i02_what_is_booked_again_doubles_nothing(ledger: Ledger, writer: Writer) -> None:
    for _ in range(3):
        made = batch(0, 1)
        writer.write(made)
    assert shown(ledger, 0) == REGENERATED
    assert made.signalled == 0


def test_another_router_finds_it_too(ledger: Ledger, writer: Writer) -> None:
    if ledger.name == "sqlite":
        writer.write(batch(0, 1))  # one router alone
    else:
        writer.write(batch(0))
        ledger.writer("there").write(batch(1))
    assert shown(ledger, 0) == REGENERATED


def test_what_was_said_and_what_was_seen_are_never_one_mean(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(0, 1, arm="drafts/b"))
    later = AT_MS + 7_200_000
    writer.write(Batch(feedback=[feedback_row(feedback(0, score=1.0, at_ms=later))]))
    given = feedback(1, id="fbk_x", score=0.5, thumbs="", source="implicit", at_ms=later)  # of the application
    writer.write(Batch(feedback=[feedback_row(given)]))
    with ledger.reader() as reader:
        for by in ("route", "model", "arm"):
            [row], total = reader.usage(UsageQuery(by=(by,)))
            for each in (row, total):
                assert (each.feedback, each.feedback_count) == (1.0, 1)
                assert each.implicit == pytest.approx(0.35) and each.implicit_count == 2
        report = reader.report(Question(("implicit_score", "implicit_count", "feedback_score", "thumbs"), by=("arm",)))
    assert report.rows == [("drafts/b", pytest.approx(0.35), 2, 1.0, 1)]


def test_footprints_go_when_nobody_may_say_anything_of_them(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(0, 1))
    with writer.changing() as db:
        forget(db, AT_MS + 3_600_000)
        assert db.execute("SELECT COUNT(*) FROM footprints").fetchone()[0] == 0
    writer.write(batch(0, 1))
    writer.write(batch(3_600))  # an hour later
    with writer.changing() as db:
        assert db.execute("SELECT COUNT(*) FROM footprints").fetchone()[0] == 1
    assert shown(ledger, 0) == REGENERATED


def test_no_word_of_a_question_is_in_the_table(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(0, 1))
    with writer.changing() as db:
        rows = db.execute("SELECT id, asking FROM footprints").fetchall()
    assert len(rows) == 2
    assert all(b"Eiffel" not in bytes(row[1]) and b"eiffel" not in bytes(row[1]) for row in rows)

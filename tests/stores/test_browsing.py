"""What people look for in a ledger is found, page by page; sums of hours and days are those of the requests."""

from __future__ import annotations

import pytest
from ledgers import Ledger
from records import AT_MS, admitted, attempt, decided, id_of, request_row, settled

from pointsman.stores import ledger_reading
from pointsman.stores.browsing import DAY_MS, FIELDS, HOUR_MS, Search, Sums
from pointsman.stores.ledger import Batch, attempt_rows

ACME, GLOBEX = ("acme/dev", "bot", "care", "acme"), ("globex/dev", "bot", "care", "globex")


def batch(*numbers: int) -> Batch:
    """Requests an hour apart, each second one of another tenant, each third one failed over to another route's deployment."""
    made = Batch()
    for n in numbers:
        sends = [attempt(outcome="timeout", status=0, deployment="mini", message="Nothing CAME of it", charge_nano=-1,
                         charge_state="unpriced")] if n % 3 == 0 else []  # fmt: skip
        ended = settled(n, *sends, attempt(charge_nano=n, charge_state="estimated" if n % 2 else "measured"))
        asked = admitted(n, at_ms=AT_MS + n * HOUR_MS, caller=GLOBEX if n % 2 else ACME)
        made.requests.append(request_row(asked, ended, decided().head, {}))
        made.attempts += attempt_rows(ended)
    return made


@pytest.mark.parametrize("whole_days", [False, True])
def test_sums_are_those_of_the_requests_however_often_they_are_written(ledger: Ledger, whole_days: bool) -> None:
    writer = ledger.writer()
    assert writer.write(batch(0, 1, 2)) == 3
    assert writer.write(batch(1, 2, 3)) == 1  # read twice after a crash
    assert writer.write(batch(3)) == 0
    assert writer.write(batch(*range(4, 60))) == 56
    with ledger.reader() as reader:
        rows, total = reader.sums(Sums(("organisation",), whole_days=whole_days))
        assert {row.group[0]: row.requests for row in rows} == {"acme": 30, "globex": 30} and total.requests == 60
        assert (total.errors, total.input_tokens, total.unpriced) == (0, 80_000, 20)
        assert total.measured_nano == sum(n for n in range(60) if n % 2 == 0 and n % 3)
        assert total.estimated_nano == sum(n for n in range(60) if n % 2 and n % 3)
        for name in FIELDS:
            assert sum(row.requests for row in reader.sums(Sums((name,), whole_days=whole_days))[0]) == 60
        days, _ = reader.sums(Sums(("day", "organisation"), whole_days=whole_days))
        assert [row.group[0] for row in days] == sorted((row.group[0] for row in days), reverse=True)
        assert all(int(row.group[0]) % DAY_MS == 0 for row in days)
        one, part = reader.sums(Sums(("hour",), {"organisation": "acme"}, most=5))
        assert (
            len(one) == 5
            and part.requests == 30
            and int(one[0].group[0]) == (AT_MS + 58 * HOUR_MS) // HOUR_MS * HOUR_MS
        )
        since_ms = AT_MS + 50 * HOUR_MS
        left = reader.sums(Sums((), since_ms=since_ms, whole_days=whole_days))[1].requests
        assert left == sum(
            (AT_MS + n * HOUR_MS) // DAY_MS >= since_ms // DAY_MS if whole_days else n >= 50 for n in range(60)
        )
        assert reader.sums(Sums(("route",), {"key": "nobody"}))[1].requests == 0
        assert reader.of("acme").sums(Sums(("key",)))[1].requests == 30


def test_s14_only_columns_of_the_list_get_into_a_question(ledger: Ledger) -> None:
    ledger.writer().write(batch(1))
    with ledger.reader() as reader, pytest.raises(KeyError):
        reader.sums(Sums(("id; DROP TABLE requests",)))
    with ledger.reader() as reader, pytest.raises(KeyError):
        reader.search(Search({"1=1 OR id": "x"}))


def test_a_list_goes_back_to_the_first(ledger: Ledger) -> None:
    ledger.writer().write(batch(*range(25)))
    with ledger.reader() as reader:
        seen: list[str] = []
        before = 0
        for _ in range(3):
            found = reader.search(Search(before=before, most=10))
            seen += [row["id"] for row in found.rows]
            before = found.next
        assert before == 0 and seen == [id_of(n) for n in reversed(range(25))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Search({"key": "acme/dev"}), [0, 2, 4, 6, 8]),
        (Search({"organisation": "globex", "route": "drafts"}), [1, 3, 5, 7, 9]),
        (Search({"outcome": "timeout"}), []),
        (Search(failed=True), []),
        (Search(words=("nothing", "came")), [0, 3, 6, 9]),
        (Search({"key": "acme/dev"}, words=("NOTHING",)), [0, 6]),
        (Search(words=("LARGE-1",)), list(range(10))),
        (Search(words=("100%", "'; --")), []),
        (Search(since_ms=AT_MS + 8 * HOUR_MS), [8, 9]),
    ],
)
def test_what_is_looked_for_is_found(ledger: Ledger, query: Search, found: list[int]) -> None:
    ledger.writer().write(batch(*range(10)))
    with ledger.reader() as reader:
        assert [row["id"] for row in reader.search(query).rows] == [id_of(n) for n in reversed(found)]
        mine = reader.of("acme").search(query).rows
        assert [row["id"] for row in mine] == [id_of(n) for n in reversed(found) if n % 2 == 0]


def test_a_search_passes_over_a_bounded_number_of_rows_and_says_so(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_reading, "LOOKED", 10)
    ledger.writer().write(batch(*range(35)))
    with ledger.reader() as reader:
        query, pages = Search(words=("req_",)), []
        wanted = Search({"key": "acme/dev", "outcome": "nothing"})
        found = reader.search(wanted)
        while True:
            pages.append((len(found.rows), found.cut))
            if not found.next:
                break
            assert len(pages) < 10
            found = reader.search(Search(wanted.where, before=found.next))
        assert pages == [(0, True), (0, True), (0, True), (0, False)]
        assert len(reader.search(query).rows) == 10 and reader.search(query).cut
        one = reader.search(Search({"outcome": "nothing"}))  # an index leads there: nothing is passed over
        assert (one.rows, one.next, one.cut) == ([], 0, False)

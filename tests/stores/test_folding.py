"""What is folded from rows in hand is what the tables say; what stands in a statement is stored as what is handed over."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Ledger
from records import AT_MS, admitted, attempt, decided, id_of, request_row, settled

from pointsman.core.entry import Hit
from pointsman.core.usage import Usage
from pointsman.stores import ledger_browsing, ledger_spans
from pointsman.stores.browsing import HOUR_MS, Search, Sums
from pointsman.stores.ledger import Batch, Row, attempt_rows
from pointsman.stores.ledger_spans import SPAN
from pointsman.stores.sqlite import WORTH_ROWS, SqliteWriter

HIT = Hit("req_1", "large", "lab", "large-1", "large-2026", 12_345, 5_000)


def row(n: int, kind: int, key: str = "dev") -> Row:
    """A request that ended in one of some ways, at one of some hours."""
    sends: list[Any] = [
        [attempt(usage=Usage(n, 5, 3), charge_nano=n)],
        [attempt(outcome="timeout", deployment="mini", charge_nano=7), attempt(charge_state="estimated")],
        [attempt(outcome="server_error", charge_nano=-1, charge_state="unpriced")],
        [],
        [attempt(charge_state="estimated", charge_nano=3)],
    ]
    ended = settled(n, *sends[kind % 5] or [attempt()])
    if kind % 5 == 3:
        ended = msgspec.structs.replace(ended, attempts=(), cache="hit", hit=HIT, outcome="ok")
    if kind % 7 == 6:
        ended = msgspec.structs.replace(ended, degraded="echo", outcome="degraded")
    asked = admitted(n, at_ms=AT_MS + kind % 40 * HOUR_MS, caller=(key, "site", "web", "acme"))
    return request_row(asked, ended, decided().head, {})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["dev", "o'brien", "?"])), min_size=1, max_size=70))
def test_i2_sums_folded_from_rows_are_those_of_the_table(tmp_path_factory: Any, drawn: list[tuple[int, str]]) -> None:
    rows = [row(n, kind, key) for n, (kind, key) in enumerate(drawn)]
    writer = SqliteWriter(tmp_path_factory.mktemp("folded") / "ledger.sqlite")
    assert writer.write(Batch(requests=rows)) == len(rows)
    db = writer._db
    tables = {name: sorted(db.execute(f"SELECT * FROM {name}")) for name in ("hours", "days", "spans")}
    for name in tables:
        db.execute(f"DELETE FROM {name}")
    for statement in (*ledger_browsing.FOLDS, *ledger_spans.SPREADS):
        db.execute(statement, (0,))
    assert tables == {name: sorted(db.execute(f"SELECT * FROM {name}")) for name in tables}
    writer.close()


def test_i2_rows_that_come_again_among_new_ones_are_counted_once(ledger: Ledger) -> None:
    writer = ledger.writer()
    first, both = [row(n, n) for n in range(60)], [row(n, n) for n in range(30, 400)]
    assert (writer.write(Batch(requests=first)), writer.write(Batch(requests=both))) == (60, 340)
    with ledger.reader() as reader:
        assert reader.sums(Sums())[1].requests == 400 == reader.sums(Sums(whole_days=True))[1].requests
        assert len(reader.search(Search({"key": "dev"}, most=500)).rows) == 400


def test_i2_one_row_many_times_in_a_batch_is_stored_once(ledger: Ledger) -> None:
    writer = ledger.writer()
    assert writer.write(Batch(requests=[row(1, 1)] * (WORTH_ROWS + 1))) == 1
    with ledger.reader() as reader:
        assert reader.sums(Sums())[1].requests == 1


def test_values_that_all_rows_share_are_stored_as_they_are(ledger: Ledger) -> None:
    """Quotes, marks of parameters, what is no text, and what is long: none of it reaches the statement as SQL."""
    words = ("", "dev", "o'brien", "x'); DROP TABLE requests; --", "?", ":within", "é", "a b", "-1", "1e5", "NULL")
    writer, number = ledger.writer(), 0
    for word in words:
        made = Batch()
        for _ in range(WORTH_ROWS + 3):
            ended = settled(number, attempt(message=word, charge_nano=-1, charge_state="unpriced", served_model=word))
            asked = admitted(number, caller=(word, word, "web", "acme"), session=word, client_id=word)
            made.requests.append(request_row(asked, ended, decided(arm_probability=0.5, arm="r/a").head, {}))
            made.attempts += attempt_rows(ended)
            number += 1
        assert writer.write(made) == len(made.requests)
    with ledger.reader() as reader:
        for n in (0, number // 2, number - 1):
            entry = reader.entry(id_of(n))
            word = words[n // (WORTH_ROWS + 3)]
            assert entry is not None
            told, sent = entry.request, entry.attempts[0]
            assert (told["key"], told["session"], told["client_id"], told["served_model"]) == (word,) * 4
            assert (told["charge_nano"], told["arm_probability"], sent["message"]) == (None, 0.5, word)


def test_a_rare_key_is_found_among_many_rows_page_by_page(ledger: Ledger) -> None:
    writer, rare = ledger.writer(), {3, SPAN - 1, SPAN, 4 * SPAN + 7, 5 * SPAN}
    for start in range(0, 6 * SPAN, 500):
        writer.write(Batch(requests=[row(n, 0, "rare" if n in rare else "dev") for n in range(start, start + 500)]))
    with ledger.reader() as reader:
        seen: list[str] = []
        before = 0
        while True:
            found = reader.search(Search({"key": "rare"}, before=before, most=2))
            seen += [told["id"] for told in found.rows]
            before = found.next
            if not before:
                break
        assert seen == [id_of(n) for n in sorted(rare, reverse=True)] and not found.cut
        assert reader.search(Search({"key": "nobody"})).rows == []
        many = reader.search(Search({"key": "dev", "route": "drafts"}, before=SPAN + 2, most=SPAN))
        assert len(many.rows) == SPAN + 1 - 3 and many.next == 0

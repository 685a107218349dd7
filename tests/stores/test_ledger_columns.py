"""Rows that are made together, as columns, are those that are made one by one."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from records import AT_MS, admitted, attempt, decided, id_of, recorded_as_filed, request_row, settled

from pointsman.core.entry import AttemptRow, Filed, Hit, Settled
from pointsman.core.head import Head
from pointsman.core.request import Features
from pointsman.core.usage import Usage
from pointsman.stores.ledger import REQUEST_COLUMNS, Made, Place, attempt_rows, decision_row
from pointsman.stores.ledger_columns import batch_of, request_columns

PLACES = {"large": Place("lab", "large-1", "p1"), "mini": Place("lab", "mini-1", "")}
TIMES = st.one_of(st.just(0.0), st.floats(-1.0, 1e7))
TOKENS = st.integers(0, 10**6)
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, source=st.sampled_from(["measured", "estimated", "unknown"]))
ATTEMPTS = st.builds(
    AttemptRow,
    *(st.sampled_from(["large", "mini"]), st.just("lab"), st.sampled_from(["m", "n"])),
    *(st.sampled_from(["ok", "timeout"]), st.sampled_from([200, 0]), TIMES, TIMES, TIMES, TIMES, USAGES),
    *(st.integers(-1, 10**9), st.sampled_from(["measured", "estimated", "unpriced"]), st.sampled_from(["", "p1"])),
    *(st.sampled_from(["", "m-2026"]), st.sampled_from(["", "", "it said no"])),
)
HITS = st.builds(
    Hit, st.just("req_1"), st.just("mini"), st.just("lab"), st.just("m"), st.just(""), TOKENS, st.integers(-1, 9)
)
HEADS = st.one_of(
    st.none(),
    st.just(decided().head),
    st.builds(
        Head, st.just("r"), st.just("fastest"), st.sampled_from(["", "large", "gone"]), st.integers(-1, 10**9),
        st.just("why"), st.one_of(st.none(), st.floats(0.0, 1.0)), st.just("a, b"), st.just("r/a"), st.just(0.5),
    ),
)  # fmt: skip


@st.composite
def piece(draw: st.DrawFn) -> tuple[list[tuple[Filed | None, Settled]], list[Made]]:
    """Return requests that ended, with their decisions; most of them like most are."""
    ended: list[tuple[Filed | None, Settled]] = []
    made: list[Made] = []
    usual = draw(st.booleans())
    for n in range(draw(st.integers(1, 8))):
        if usual:
            ended.append((recorded_as_filed(admitted(n)), settled(n)))
            made.append((decided().head, None, PLACES))
            continue
        sends = draw(st.one_of(st.just((attempt(),)), st.lists(ATTEMPTS, max_size=3).map(tuple)))
        times = draw(st.tuples(TIMES, TIMES, TIMES, TIMES, TIMES))
        end = Settled(
            *(id_of(n), AT_MS + n, "drafts", draw(st.sampled_from(["ok", "timeout"])), 200, sends, *times),
            *(draw(st.sampled_from(["", "cheap"])), draw(st.sampled_from(["", "hit"])), draw(st.none() | HITS)),
        )
        tags = draw(st.sampled_from([(), ("a",), ("a", "b")]))
        at_ms, features = AT_MS + draw(st.integers(0, 10**9)), Features(9, stream=draw(st.booleans()))
        asked = admitted(n, client_id="theirs", at_ms=at_ms, tags=tags, session="s")
        asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, features=features))
        known = draw(st.booleans())
        ended.append((recorded_as_filed(asked) if known else None, end))
        head = draw(HEADS) if known else None
        own = known and head is not None and draw(st.booleans())
        made.append((head, decision_row(end.id, decided()) if own else None, PLACES if known else {}))
    return ended, made


@given(piece())
@example(([(None, settled(0, attempt(), attempt(charge_nano=-1, charge_state="unpriced")))], [(None, None, {})]))
def test_rows_made_together_are_those_made_one_by_one(
    given: tuple[list[tuple[Filed | None, Settled]], list[Made]],
) -> None:
    ended, made = given
    one_by_one = [
        request_row(filed, end, head, places) for (filed, end), (head, _, places) in zip(ended, made, strict=True)
    ]
    columns = request_columns(ended, made)
    assert len(columns) == len(REQUEST_COLUMNS)
    rows = list(zip(*columns, strict=True))
    assert rows == one_by_one
    assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in one_by_one]
    batch = batch_of(ended, made)
    assert batch.columns == columns and batch.ended == ended
    assert batch.attempts == [row for _, end in ended for row in attempt_rows(end)]
    assert batch.decisions == [row for _, row, _ in made if row is not None]
    kept = [filed if head and row is None else None for (filed, _), (head, row, _) in zip(ended, made, strict=True)]
    assert batch.recorded == kept


def test_nothing_that_ended_is_nothing_to_write() -> None:
    batch = batch_of([], [])
    assert (batch.columns, batch.attempts, batch.decisions, batch.recorded, batch.ended) == ([], [], [], [], [])

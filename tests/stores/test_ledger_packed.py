"""What the ledger does not store twice is there all the same: attempts that follow from their requests, decisions in blocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import Ledger, migrations
from records import AT_MS, admitted, attempt, decided, id_of, policy, request_row, settled

from pointsman.control.replay import Policies, decision_again
from pointsman.core.entry import AttemptRow, Filed, Hit, Settled, decode_filed, encode_records
from pointsman.core.retention import Retention
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.stores import ledger_decisions, ledger_postgres
from pointsman.stores.export_columns import SOURCES
from pointsman.stores.ledger import (
    ATTEMPT_COLUMNS,
    LONE_COLUMNS,
    REQUEST_COLUMNS,
    SHOWN_COLUMNS,
    Batch,
    Row,
    attempt_row,
    attempt_rows,
    decision_row,
)
from pointsman.stores.ledger_decisions import BLOCK
from pointsman.stores.ledger_retention import due, prune
from pointsman.stores.ledger_schema import MIGRATIONS
from pointsman.stores.reckonings import sent

DAY_MS = 86_400_000
ATTEMPTS = st.builds(
    attempt,
    outcome=st.sampled_from(["ok", "ok", "ok", "timeout"]),
    status=st.sampled_from([200, 200, 0, 504]),
    message=st.sampled_from(["", "", "it said no"]),
    charge_nano=st.sampled_from([-1, 0, 17]),
    charge_state=st.sampled_from(["measured", "estimated", "unpriced"]),
    usage=st.sampled_from([Usage(10, 5, 3), NO_USAGE]),
    started_ms=st.sampled_from([0.0, 0.3, -1.0]),
    connected_ms=st.sampled_from([0.0, 1.2]),
    answered_ms=st.sampled_from([0.0, 200.3]),
    ended_ms=st.sampled_from([0.0, 900.30049]),
    provider=st.sampled_from(["lab", "azure"]),
)
HIT = Hit("req_1", "large", "lab", "large-1", "large-2026", 12_345, 5_000)


def filed(n: int, **more: Any) -> Filed:
    [made] = decode_filed(encode_records([admitted(n, **more)]))
    assert isinstance(made, Filed)
    return made


def recorded(*numbers: int, without: tuple[int, ...] = (), **more: Any) -> Batch:
    """Return a batch of requests whose decisions are kept as they were recorded, but for some."""
    made = Batch()
    for n in numbers:
        made.requests.append(request_row(admitted(n, **more), settled(n), decided().head, {}))
        made.recorded.append(None if n in without else filed(n, asked_model=f"asked-{n}", **more))
    return made


def asked(ledger: Ledger, *numbers: int) -> list[str | None]:
    """Return what was asked for, as the decisions of requests tell it."""
    with ledger.reader() as reader:
        entries = [reader.entry(id_of(n)) for n in numbers]
    return [e.recorded.asked_model if e is not None and e.recorded is not None else None for e in entries]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(ATTEMPTS, max_size=3), st.booleans()), min_size=1, max_size=8), st.data())
def test_i2_every_reader_sees_each_attempt_as_it_was(
    ledger: Ledger, drawn: list[tuple[list[AttemptRow], bool]], data: st.DataObject
) -> None:
    ends: list[Settled] = []
    base = data.draw(st.integers(0, 1 << 20)) * 100  # one ledger for all examples: other ids each time
    for n, (sends, hit) in enumerate(drawn, base):
        more = {"attempts": tuple(sends)} | ({"hit": HIT, "cache": "hit"} if hit else {})
        status = sends[-1].status if sends and data.draw(st.booleans()) else 200
        ends.append(settled(n, **more, outcome=sends[-1].outcome if sends else "ok", status=status))
    made = Batch()
    for n, end in enumerate(ends, base):
        made.requests.append(request_row(admitted(n), end, decided().head, {}))
        made.attempts += attempt_rows(end)
    writer = ledger.writer()
    writer.marks()  # and there are tables
    before = dict.fromkeys(ledger.ask("SELECT request_id, n FROM attempts"))
    new = writer.write(made)
    expected = [attempt_row(end.id, n, a) for end in ends for n, a in enumerate(end.attempts, 1)]
    if new < len(ends):
        return  # some of these ids were drawn before
    assert len(ledger.ask("SELECT n FROM attempts")) == len(before) + len(expected)
    with ledger.reader() as reader:
        entries = [reader.entry(end.id) for end in ends]
        assert [tuple(a.values()) for e in entries if e is not None for a in e.attempts] == expected
        rows = reader.ask(f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM {SOURCES['attempts']} r ORDER BY seq, n", ())
        told = {end.id for end in ends}
        assert [tuple(row) for row in rows if row[0] in told] == expected
        seqs = {e.request["seq"] for e in entries if e is not None}
        found = [one for one in sent(reader.ask, 0, 1 << 60, 1 << 60) if one.seq in seqs and one.n]
        assert [(o.n, o.provider, o.charge_nano, o.usage) for o in found] == [_sent(row) for row in expected]


def _sent(row: Row) -> tuple[Any, ...]:
    named: dict[str, Any] = dict(zip(ATTEMPT_COLUMNS, row, strict=True))
    counted = [named[name] for name in ATTEMPT_COLUMNS if name.endswith("_tokens")]
    return named["n"], named["provider"], named["charge_nano"], Usage(*counted, source=named["usage_source"])


def test_an_attempt_that_follows_from_its_request_is_not_stored_and_one_that_does_not_is(ledger: Ledger) -> None:
    for end, stored in (
        (settled(0), 0),
        (settled(1, attempt(message="it said no")), 1),
        (settled(2, attempt(outcome="timeout"), outcome="client_gone"), 1),
        (settled(3, attempt(status=0)), 1),
        (settled(4, attempt(charge_state="unpriced", charge_nano=5)), 1),
        (settled(5, attempt(), attempt()), 2),
        (settled(6, attempt(), hit=HIT), 1),
    ):
        assert len(attempt_rows(end)) == stored, end


def test_decisions_of_many_requests_stand_in_few_rows_and_each_is_found(ledger: Ledger) -> None:
    writer = ledger.writer()
    count = 2 * BLOCK + 7
    writer.write(recorded(*range(3)))
    writer.write(recorded(*range(3, count), without=(4, BLOCK + 1)))
    wanted: list[str | None] = [f"asked-{n}" for n in range(count)]
    wanted[4] = wanted[BLOCK + 1] = None
    assert asked(ledger, *range(count)) == wanted
    rows = ledger.ask("SELECT COUNT(*) FROM decision_blocks")[0][0] + ledger.ask("SELECT COUNT(*) FROM decisions")[0][0]
    assert rows == (4 if ledger.name == "sqlite" else count - 2)


def test_i2_decisions_of_a_batch_of_which_a_part_was_there_are_those_of_their_requests(ledger: Ledger) -> None:
    writer = ledger.writer()
    writer.write(recorded(0, 1, 2))
    assert writer.write(recorded(5, 1, 6, 2, 7)) == 3
    assert writer.write(recorded(8, 9)) == 2
    numbers = (0, 1, 2, 5, 6, 7, 8, 9)
    assert asked(ledger, *numbers) == [f"asked-{n}" for n in numbers]
    assert writer.write(recorded(*numbers)) == 0 and asked(ledger, *numbers) == [f"asked-{n}" for n in numbers]


def test_a_block_that_cannot_be_read_loses_decisions_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_decisions, "encode_block", lambda some: b"\x91")
    monkeypatch.setattr(ledger_decisions, "recorded_row", lambda one: (one.request.id, 3, b"\x91"))
    ledger.writer().write(recorded(0, 1))
    assert asked(ledger, 0, 1) == [None, None]


def test_decisions_go_by_their_days_and_no_block_goes_before_all_of_it_is_old(ledger: Ledger) -> None:
    writer, now_ms = ledger.writer(), AT_MS + 10 * DAY_MS
    days = (0, 3, 6)  # 300 requests of each day
    for day in days:
        batch = Batch()
        for n in range(day * 86_400, day * 86_400 + 300):
            part = recorded(n)
            batch.requests += part.requests
            batch.recorded += part.recorded
        writer.write(batch)
    late = recorded(6 * 86_400 + 400, 1_000)  # booked together, of different days
    writer.write(late)
    rules = Retention(decisions_days=9)
    with ledger.reader() as reader:
        told = due(reader.ask, rules, now_ms)[0]["decisions"]
    gone = sum(count for table, count in prune(writer, rules, now_ms) if table == "decisions")
    first = (0, 299, 1_000)
    if ledger.name == "sqlite":
        assert gone == told == 300 and asked(ledger, *first) == [None, None, "asked-1000"]
    else:
        assert gone == told == 301 and asked(ledger, *first) == [None, None, None]
    assert asked(ledger, 3 * 86_400, 6 * 86_400, 6 * 86_400 + 400) == ["asked-259200", "asked-518400", "asked-518800"]
    assert list(prune(writer, rules, now_ms)) == []


def test_a_block_goes_with_the_last_of_its_requests(ledger: Ledger) -> None:
    writer = ledger.writer()
    writer.write(recorded(*range(300)))
    writer.write(recorded(*range(400, 410)))
    upto = AT_MS + 280 * 1_000 + DAY_MS
    assert sum(count for _, count in prune(writer, Retention(requests_days=1), upto)) == 280
    assert asked(ledger, 0, 279, 280, 299, 405) == [None, None, "asked-280", "asked-299", "asked-405"]
    left = ledger.ask("SELECT COUNT(*) FROM decision_blocks")[0][0]
    assert left == (2 if ledger.name == "sqlite" else 0)  # of the first 300, the second; and the last ten
    assert ledger.ask("SELECT COUNT(*) FROM attempts")[0][0] == 30
    list(prune(writer, Retention(requests_days=1), upto + 30_000))
    assert ledger.ask("SELECT COUNT(*) FROM decision_blocks")[0][0] == (1 if ledger.name == "sqlite" else 0)


def test_f91_a_ledger_from_before_is_read_with_what_is_booked_now(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored in full stays where it is."""
    end, width = settled(0, attempt(status=0)), len(REQUEST_COLUMNS) - len(LONE_COLUMNS)
    old = {
        "requests": (SHOWN_COLUMNS, request_row(admitted(0), end, decided().head, {})[:width]),
        "attempts": (ATTEMPT_COLUMNS, attempt_row(end.id, 1, end.attempts[0])),
        "decisions": (("request_id", "format", "blob"), decision_row(end.id, decided())),
    }
    with migrations(monkeypatch, MIGRATIONS[:-1]), monkeypatch.context() as patch:
        patch.setattr(ledger_postgres, "TABLES", {name: columns for name, (columns, _) in old.items()})
        ledger.writer().marks()
        for table, (columns, row) in old.items():
            values = ", ".join(literal(value, ledger.name) for value in row)
            ledger.ask(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})")
    writer = ledger.writer()
    Policies(writer).keep(policy())
    writer.write(recorded(1))
    with ledger.reader() as reader:
        first, second = reader.entry(id_of(0)), reader.entry(id_of(1))
        assert sum(row.attempts for row in reader.booked(("lab",), "2026-01-01", "2027-01-01")) == 2
    assert first is not None and second is not None
    assert first.attempts[0] | {"request_id": id_of(1), "status": 200} == second.attempts[0]
    assert first.decision == decided().decision
    assert decision_again(second) is not None
    assert (
        ledger.ask("SELECT COUNT(*) FROM sends")[0][0] == 1 and ledger.ask("SELECT COUNT(*) FROM attempts")[0][0] == 2
    )


def literal(value: object, database: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'" if database == "sqlite" else f"decode('{value.hex()}', 'hex')"
    if isinstance(value, int | float):
        return str(value)
    colon = f"' || {'char' if database == 'sqlite' else 'chr'}(58) || '"  # it would begin the name of a value
    return f"'{str(value).replace(':', colon)}'"

"""The ledger in SQLite: rows, sums, and what it refuses."""

from __future__ import annotations

import ast
import inspect
import sqlite3
from pathlib import Path

import msgspec
import pytest
from records import AT_MS, HOLD_NANO, admitted, attempt, decided, decision, settled

from pointsman.core.entry import FORMAT, Admitted, Hit, Settled
from pointsman.core.pricing import Price, Rates, nano_of
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.stores import sqlite as store
from pointsman.stores.ledger import (
    ATTEMPT_COLUMNS,
    GROUPS,
    REQUEST_COLUMNS,
    TOKEN_COLUMNS,
    Batch,
    Decided,
    LedgerBusy,
    LedgerError,
    LedgerMissing,
    Mark,
    Place,
    UsageQuery,
    attempt_rows,
    decision_row,
    recovered_row,
    request_row,
)
from pointsman.stores.sqlite import SqliteReader, SqliteWriter
from pointsman.stores.sqlite_schema import MIGRATIONS

PLACES = {"large": Place("lab", "large-1", "p1")}


Pair = tuple[Admitted | None, Settled | None, Decided | None] | tuple[Admitted | None, Settled | None]


def batch(*pairs: Pair) -> Batch:
    made = Batch()
    for before, after, *why in pairs:
        made_by = (why[0] if why else decided()) if before is not None else None
        if after is not None:
            made.requests.append(request_row(before, after, made_by, PLACES))
            made.attempts += attempt_rows(after)
        elif before is not None:
            made.requests.append(recovered_row(before, made_by, PLACES))
        if before is not None and made_by is not None:
            made.decisions.append(decision_row(before.id, made_by))
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / store.FILE


@pytest.fixture
def writer(path: Path) -> SqliteWriter:
    return SqliteWriter(path)


def row_of(path: Path, n: int = 0) -> dict[str, object]:
    with SqliteReader(path) as reader:
        entry = reader.entry(admitted(n).id)
    assert entry is not None
    return entry.request


def test_a_request_comes_back_with_its_attempts_and_its_decision(path: Path, writer: SqliteWriter) -> None:
    failed = attempt(deployment="mini", outcome="timeout", usage=NO_USAGE, charge_nano=0, message="too slow")
    assert writer.write(batch((admitted(), settled(0, failed, attempt())))) == 1
    with SqliteReader(path) as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None and entry.decision == decision()
    assert [(a["n"], a["deployment"], a["outcome"], a["message"]) for a in entry.attempts] == [
        (1, "mini", "timeout", "too slow"),
        (2, "large", "ok", ""),
    ]
    row = entry.request
    assert row["deployment"] == row["planned"] == "large" and row["model"] == "large-1"
    assert (row["charge_nano"], row["charge_state"], row["hold_nano"]) == (120_000, "measured", HOLD_NANO)
    assert (row["input_tokens"], row["cache_read_tokens"], row["usage_source"]) == (1_000, 400, "measured")
    times = [row[f"{name}_us"] for name in ("queue", "decide", "connect", "ttft", "total", "overhead")]
    assert times == [10, 40, 900, 200_400, 901_000, 150]
    assert [entry.attempts[1][f"{name}_us"] for name in ("started", "connect", "ttft", "total")] == [
        300,
        900,
        200_000,
        900_000,
    ]
    assert (row["day"], row["probability"], row["attempts"], row["recovered"]) == ("2026-11-18", 0.7, 2, 0)


def test_i02_writing_again_changes_nothing(path: Path, writer: SqliteWriter) -> None:
    rows = batch((admitted(), settled()), (admitted(1), None))
    assert writer.write(rows) == 2
    before = sqlite3.connect(path).execute("SELECT * FROM requests").fetchall()
    assert writer.write(rows) == 0
    assert writer.write(batch((None, settled()), (admitted(1), settled(1, attempt(charge_nano=7))))) == 0
    assert sqlite3.connect(path).execute("SELECT * FROM requests").fetchall() == before


def test_i05_unknown_is_a_state_and_never_zero(path: Path, writer: SqliteWriter) -> None:
    unpriced = attempt(usage=NO_USAGE, charge_nano=-1, charge_state="unpriced")
    writer.write(batch((admitted(0), settled(0, unpriced)), (admitted(1), None, Decided(decision(), -1))))
    for n, outcome in ((0, "ok"), (1, "recovered")):
        row = row_of(path, n)
        assert (row["outcome"], row["charge_nano"], row["charge_state"]) == (outcome, None, "unpriced")
        assert row["usage_source"] == "unknown"
    with SqliteReader(path) as reader:
        _, total = reader.usage(UsageQuery())
    assert (total.unpriced, total.measured_nano, total.estimated_nano) == (2, 0, 0)


def test_i07_the_price_version_stands_beside_what_it_priced(path: Path, writer: SqliteWriter) -> None:
    usage = Usage(1_000, 50, 400)
    price = Price(
        rates=Rates(input=100_000_000, output=800_000_000, cache_read=10_000_000), version="p9", source="config"
    )
    row = attempt(usage=usage, charge_nano=nano_of(usage, price.rates), price_version=price.version)
    writer.write(batch((admitted(), settled(0, row))))
    with SqliteReader(path) as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None
    [booked] = entry.attempts
    again = Usage(*[booked[name] for name in TOKEN_COLUMNS])
    assert booked["price_version"] == "p9" and nano_of(again, price.rates) == booked["charge_nano"]


def test_f79_a_recovered_row_is_charged_with_its_hold(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch((admitted(), None)))
    row = row_of(path)
    assert (row["outcome"], row["recovered"], row["charge_nano"], row["charge_state"]) == (
        "recovered",
        1,
        HOLD_NANO,
        "estimated",
    )
    assert (row["deployment"], row["provider"], row["model"], row["price_version"]) == ("large", "lab", "large-1", "p1")


def test_f81_a_settlement_without_its_admission_still_has_a_row(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch((None, settled())))
    row = row_of(path)
    assert (row["charge_nano"], row["reason"], row["at_ms"]) == (120_000, "admission lost", AT_MS)


def test_a_request_that_nobody_could_serve_has_a_row(path: Path, writer: SqliteWriter) -> None:
    nobody = decided(order=(), scores=(), probabilities=(), reasons=("context", "context"), reason="nobody:context")
    end = msgspec.structs.replace(settled(), attempts=(), outcome="context_length", status=400)
    writer.write(batch((admitted(), end, nobody)))
    row = row_of(path)
    assert (row["planned"], row["deployment"], row["probability"], row["charge_nano"]) == ("", "", None, 0)


def test_usage_sums_by_group_and_in_total(path: Path, writer: SqliteWriter) -> None:
    slow = attempt(deployment="mini", outcome="timeout", usage=NO_USAGE, charge_nano=0)
    pairs: list[Pair] = [(admitted(n), settled(n, first_ms=n + 1.0)) for n in range(100)]
    other_end = settled(100, slow, attempt(), route="other")
    pairs.append((admitted(100, route="other"), other_end, decided(order=(0, 1), route="other")))
    pairs.append((admitted(101), settled(101, attempt(outcome="client_gone", charge_state="estimated"), first_ms=0.0)))
    pairs.append((admitted(102), settled(102, attempt(outcome="server_error"), first_ms=0.0)))
    pairs.append((admitted(103), None))
    writer.write(batch(*pairs))
    with SqliteReader(path) as reader:
        [drafts, other], total = reader.usage(UsageQuery(by=("route",)))
        by_two, _ = reader.usage(UsageQuery(by=("route", "outcome")))
        [newest], some = reader.usage(UsageQuery(since_ms=AT_MS + 103_000))
        [one], everything = reader.usage(UsageQuery(most=1))
    assert (drafts.group, other.group, total.group) == (("drafts",), ("other",), ())
    assert (total.requests, total.errors, total.failovers, total.recovered) == (104, 2, 1, 1)
    assert (drafts.failovers, other.failovers) == (0, 1)
    assert (drafts.ttft_p50_us, drafts.ttft_p95_us) == (50_000, 95_000)
    assert total.input_tokens == 103 * 1_000 and total.cached_tokens == 103 * 400
    assert ("drafts", "recovered") in {row.group for row in by_two}
    assert newest.requests == some.requests == 1 and some.ttft_p50_us is None
    assert one.group == ("drafts",) and everything.requests == 104


@pytest.mark.parametrize("name", GROUPS)
def test_usage_groups_by_every_name_it_offers(path: Path, writer: SqliteWriter, name: str) -> None:
    record = msgspec.structs.replace(admitted(), session="s-1", tags=("a", "b"))
    writer.write(
        batch((record, settled(degraded="smaller", cache="miss"), decided(arm="drafts/new", arm_probability=0.1)))
    )
    with SqliteReader(path) as reader:
        [row], total = reader.usage(UsageQuery(by=(name,)))
    assert row.requests == total.requests == 1 and row.group != ("",)


def test_an_id_is_found_by_itself_its_beginning_or_the_clients_own(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch(*[(admitted(n, client_id=f"mine-{n % 2}"), settled(n)) for n in range(4)]))
    first = admitted(0).id
    with SqliteReader(path) as reader:
        assert reader.find(first) == [first]
        assert reader.find(admitted(2).id[:-4]) == [admitted(2).id]
        assert len(reader.find("req_")) == 4
        assert reader.find("mine-1") == [admitted(3).id, admitted(1).id]
        assert reader.find("nothing") == reader.find("")[4:] == []
        assert reader.find("' OR 1=1 --") == []
        assert reader.entry("nothing") is None


def test_recent_rows_come_in_the_order_of_booking(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch(*[(admitted(n), settled(n)) for n in (3, 1, 2)]))
    with SqliteReader(path) as reader:
        rows = reader.recent(2)
        assert [row["id"] for row in rows] == [admitted(1).id, admitted(2).id]
        writer.write(batch((admitted(9), settled(9))))
        assert [row["id"] for row in reader.recent(10, after=rows[-1]["seq"])] == [admitted(9).id]


def test_a_request_whose_policy_is_lost_still_has_a_row(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch((admitted(0), settled(0), None), (admitted(1), None, None)))
    first, second = row_of(path, 0), row_of(path, 1)
    assert (first["route"], first["planned"], first["charge_nano"]) == ("drafts", "", 120_000)
    assert (second["outcome"], second["charge_nano"], second["charge_state"]) == ("recovered", None, "unpriced")


def test_policies_are_kept_once(path: Path, writer: SqliteWriter) -> None:
    writer.keep_policy("v1", b"one")
    writer.keep_policy("v1", b"two")
    assert writer.policy("v1") == b"one" and writer.policy("v2") is None


def test_marks_are_kept_with_the_rows_and_forgotten_when_told(path: Path, writer: SqliteWriter) -> None:
    made = batch((admitted(), settled()))
    made.marks = {"a.pmj": Mark(100), "b.pmj": Mark(7, 3)}
    writer.write(made)
    writer.write(Batch(marks={"a.pmj": Mark(200)}))
    assert writer.marks() == {"a.pmj": Mark(200), "b.pmj": Mark(7, 3)}
    writer.forget(["a.pmj"])
    writer.close()
    assert SqliteWriter(path).marks() == {"b.pmj": Mark(7, 3)}


def test_a_batch_that_fails_leaves_nothing(path: Path, writer: SqliteWriter) -> None:
    made = batch((admitted(), settled()))
    made.attempts.append(("too", "short"))
    with pytest.raises(LedgerError):
        writer.write(made)
    assert writer.write(batch((admitted(), settled()))) == 1


def test_a_decision_of_another_format_is_left_out(path: Path, writer: SqliteWriter) -> None:
    made = batch((admitted(), settled()))
    made.decisions = [(admitted().id, FORMAT + 1, b"\x90")]
    writer.write(made)
    with SqliteReader(path) as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None and entry.decision is None


def test_f91_a_newer_file_is_refused_by_reader_and_writer(path: Path, writer: SqliteWriter) -> None:
    writer.close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    for opening in (SqliteWriter, SqliteReader):
        with pytest.raises(LedgerError, match="newer version of pointsman"):
            opening(path)


def test_f91_a_migration_cut_off_half_way_starts_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store.sql, "MIGRATIONS", (MIGRATIONS[0] + "CREATE TABLE oops (;\n",))
        with pytest.raises(LedgerError):
            SqliteWriter(path)
    assert SqliteWriter(path).write(batch((admitted(), settled()))) == 1


def test_f91_a_ledger_of_the_version_before_the_cache_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store.sql, "MIGRATIONS", MIGRATIONS[:3])
        writer = SqliteWriter(path)
        old = [name for name in REQUEST_COLUMNS if name not in ("cache", "cached_id", "cached_ms", "saved_nano")]
        row = dict(zip(REQUEST_COLUMNS, batch((admitted(), settled())).requests[0], strict=True))
        names, marks = ", ".join(old), ", ".join("?" * len(old))
        writer._db.execute(f"INSERT INTO requests ({names}) VALUES ({marks})", [row[name] for name in old])
        writer.close()
    with pytest.raises(LedgerError, match="`pointsman serve` brings it up to date"):
        SqliteReader(path)
    SqliteWriter(path).close()
    found = row_of(path)
    assert (found["cache"], found["cached_id"], found["cached_ms"], found["saved_nano"]) == ("", "", None, None)
    assert found["charge_nano"] == row["charge_nano"]


def test_a_hit_is_a_row_without_cost_that_says_what_it_saved(path: Path, writer: SqliteWriter) -> None:
    hit = Hit("req_1", "large", "lab", "large-1", "large-2026", 12_345, 5_000)
    free = settled(1, attempts=(), cache="hit", hit=hit)
    unpriced = settled(2, attempts=(), cache="hit", hit=msgspec.structs.replace(hit, saved_nano=-1))
    writer.write(batch((admitted(), settled(cache="miss")), (admitted(1), free), (admitted(2), unpriced)))
    with SqliteReader(path) as reader:
        rows, total = reader.usage(UsageQuery(by=("cache",)))
        found = reader.recent(3)[1]
    assert {row.group: (row.requests, row.hits, row.saved_nano) for row in rows} == {
        ("hit",): (2, 2, 5_000),
        ("miss",): (1, 0, 0),
    }
    assert (total.requests, total.hits, total.saved_nano) == (3, 2, 5_000)
    assert (found["charge_nano"], found["charge_state"], found["attempts"], found["input_tokens"]) == (
        0,
        "measured",
        0,
        0,
    )
    assert (found["cached_id"], found["cached_ms"], found["saved_nano"]) == ("req_1", 12_345, 5_000)
    assert (found["deployment"], found["served_model"]) == ("large", "large-2026")


def test_what_is_no_ledger_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match="there is no ledger at"):
        SqliteReader(tmp_path / "none.sqlite")
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE t (a)").connection.commit()
    text = tmp_path / "text.sqlite"
    text.write_text("no database " * 100)
    for wrong in (other, text):
        for opening in (SqliteWriter, SqliteReader):
            with pytest.raises(LedgerError):
                opening(wrong)


def test_a_reader_cannot_write(path: Path, writer: SqliteWriter) -> None:
    with SqliteReader(path) as reader, pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM requests")


def test_f90_a_reader_does_not_wait_for_the_writer(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch((admitted(), settled())))
    writer._db.execute("BEGIN IMMEDIATE")
    assert row_of(path)["outcome"] == "ok"
    writer._db.execute("ROLLBACK")


def test_f102_a_question_is_cut_off_at_its_limit(path: Path, writer: SqliteWriter) -> None:
    writer.write(batch(*[(admitted(n), settled(n)) for n in range(3_000)]))
    with SqliteReader(path, limit_s=0.0) as reader, pytest.raises(LedgerBusy, match="too long"):
        reader.usage(UsageQuery())


def test_the_columns_are_those_of_the_tables(path: Path, writer: SqliteWriter) -> None:
    db = sqlite3.connect(path)
    for table, columns in (("requests", ("seq", *REQUEST_COLUMNS)), ("attempts", ATTEMPT_COLUMNS)):
        assert tuple(row[1] for row in db.execute(f"PRAGMA table_info({table})")) == columns
    assert (*Usage.__struct_fields__[:-1], "usage_source") == TOKEN_COLUMNS


def test_s14_statements_are_not_put_together_where_they_are_executed() -> None:
    for node in ast.walk(ast.parse(inspect.getsource(store))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("execute", "executemany", "_all"):
            assert not isinstance(node.args[0], ast.JoinedStr)
            if isinstance(node.args[0], ast.BinOp):
                assert isinstance(node.args[0].left, ast.Constant) and "PRAGMA" in node.args[0].left.value

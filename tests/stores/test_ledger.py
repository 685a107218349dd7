"""What every ledger does, whatever keeps it: rows, sums, and what it refuses."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest
from ledgers import Ledger, migrations
from records import AT_MS, HOLD_NANO, admitted, attempt, decided, decision, feedback, id_of, request_row, settled

from pointsman.core.entry import FORMAT, Admitted, Hit, Settled
from pointsman.core.pricing import Price, Rates, nano_of
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.stores import ledger_browsing, ledger_postgres, ledger_schema, ledger_spans, sqlite
from pointsman.stores.ledger import (
    ATTEMPT_COLUMNS,
    GROUPS,
    LONE_COLUMNS,
    REQUEST_COLUMNS,
    SHOWN_COLUMNS,
    TOKEN_COLUMNS,
    Batch,
    Column,
    Decided,
    LedgerBusy,
    LedgerError,
    Mark,
    Place,
    UsageQuery,
    Writer,
    attempt_rows,
    decision_row,
    feedback_row,
    recovered_row,
)
from pointsman.stores.ledger_schema import MIGRATIONS

PLACES = {"large": Place("lab", "large-1", "p1")}


Pair = tuple[Admitted | None, Settled | None, Decided | None] | tuple[Admitted | None, Settled | None]


def batch(*pairs: Pair) -> Batch:
    made = Batch()
    for before, after, *why in pairs:
        made_by = (why[0] if why else decided()) if before is not None else None
        if after is not None:
            made.requests.append(request_row(before, after, made_by and made_by.head, PLACES))
            made.attempts += attempt_rows(after)
        elif before is not None:
            made.requests.append(recovered_row(before, made_by and made_by.head, PLACES))
        if before is not None and made_by is not None:
            made.decisions.append(decision_row(before.id, made_by))
    return made


@pytest.fixture
def writer(ledger: Ledger) -> Writer:
    made = ledger.writer()
    assert made.marks() == {}  # and there are tables
    return made


def row_of(ledger: Ledger, n: int = 0) -> dict[str, object]:
    with ledger.reader() as reader:
        entry = reader.entry(admitted(n).id)
    assert entry is not None
    return entry.request


def test_a_request_comes_back_with_its_attempts_and_its_decision(ledger: Ledger, writer: Writer) -> None:
    failed = attempt(deployment="mini", outcome="timeout", usage=NO_USAGE, charge_nano=0, message="too slow")
    assert writer.write(batch((admitted(), settled(0, failed, attempt())))) == 1
    with ledger.reader() as reader:
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


def test_i02_writing_again_changes_nothing(ledger: Ledger, writer: Writer) -> None:
    rows = batch((admitted(), settled()), (admitted(1), None))
    assert writer.write(rows) == 2
    before = ledger.ask("SELECT * FROM requests")
    assert writer.write(rows) == 0
    assert writer.write(batch((None, settled()), (admitted(1), settled(1, attempt(charge_nano=7))))) == 0
    assert ledger.ask("SELECT * FROM requests") == before


def test_i05_unknown_is_a_state_and_never_zero(ledger: Ledger, writer: Writer) -> None:
    unpriced = attempt(usage=NO_USAGE, charge_nano=-1, charge_state="unpriced")
    writer.write(batch((admitted(0), settled(0, unpriced)), (admitted(1), None, Decided(decision(), -1))))
    for n, outcome in ((0, "ok"), (1, "recovered")):
        row = row_of(ledger, n)
        assert (row["outcome"], row["charge_nano"], row["charge_state"]) == (outcome, None, "unpriced")
        assert row["usage_source"] == "unknown"
    with ledger.reader() as reader:
        _, total = reader.usage(UsageQuery())
    assert (total.unpriced, total.measured_nano, total.estimated_nano) == (2, 0, 0)


def test_i07_the_price_version_stands_beside_what_it_priced(ledger: Ledger, writer: Writer) -> None:
    usage = Usage(1_000, 50, 400)
    price = Price(
        rates=Rates(input=100_000_000, output=800_000_000, cache_read=10_000_000), version="p9", source="config"
    )
    row = attempt(usage=usage, charge_nano=nano_of(usage, price.rates), price_version=price.version)
    writer.write(batch((admitted(), settled(0, row))))
    with ledger.reader() as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None
    [booked] = entry.attempts
    again = Usage(*[booked[name] for name in TOKEN_COLUMNS])
    assert booked["price_version"] == "p9" and nano_of(again, price.rates) == booked["charge_nano"]


def test_f79_a_recovered_row_is_charged_with_its_hold(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch((admitted(), None)))
    row = row_of(ledger)
    assert (row["outcome"], row["recovered"], row["charge_nano"], row["charge_state"]) == (
        "recovered",
        1,
        HOLD_NANO,
        "estimated",
    )
    assert (row["deployment"], row["provider"], row["model"], row["price_version"]) == ("large", "lab", "large-1", "p1")


def test_f81_a_settlement_without_its_admission_still_has_a_row(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch((None, settled())))
    row = row_of(ledger)
    assert (row["charge_nano"], row["reason"], row["at_ms"]) == (120_000, "admission lost", AT_MS)


def test_a_request_that_nobody_could_serve_has_a_row(ledger: Ledger, writer: Writer) -> None:
    nobody = decided(order=(), scores=(), probabilities=(), reasons=("context", "context"), reason="nobody:context")
    end = msgspec.structs.replace(settled(), attempts=(), outcome="context_length", status=400)
    writer.write(batch((admitted(), end, nobody)))
    row = row_of(ledger)
    assert (row["planned"], row["deployment"], row["probability"], row["charge_nano"]) == ("", "", None, 0)


def test_usage_sums_by_group_and_in_total(ledger: Ledger, writer: Writer) -> None:
    slow = attempt(deployment="mini", outcome="timeout", usage=NO_USAGE, charge_nano=0)
    pairs: list[Pair] = [(admitted(n), settled(n, first_ms=n + 1.0)) for n in range(100)]
    other_end = settled(100, slow, attempt(), route="other")
    pairs.append((admitted(100, route="other"), other_end, decided(order=(0, 1), route="other")))
    pairs.append((admitted(101), settled(101, attempt(outcome="client_gone", charge_state="estimated"), first_ms=0.0)))
    pairs.append((admitted(102), settled(102, attempt(outcome="server_error"), first_ms=0.0)))
    pairs.append((admitted(103), None))
    writer.write(batch(*pairs))
    with ledger.reader() as reader:
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
def test_usage_groups_by_every_name_it_offers(ledger: Ledger, writer: Writer, name: str) -> None:
    record = msgspec.structs.replace(admitted(), session="s-1", tags=("a", "b"))
    writer.write(
        batch((record, settled(degraded="smaller", cache="miss"), decided(arm="drafts/new", arm_probability=0.1)))
    )
    with ledger.reader() as reader:
        [row], total = reader.usage(UsageQuery(by=(name,)))
    assert row.requests == total.requests == 1 and row.group != ("",)


def test_an_id_is_found_by_itself_its_beginning_or_the_clients_own(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(*[(admitted(n, client_id=f"mine-{n % 2}"), settled(n)) for n in range(4)]))
    first = admitted(0).id
    with ledger.reader() as reader:
        assert reader.find(first) == [first]
        assert reader.find(admitted(2).id[:-4]) == [admitted(2).id]
        assert len(reader.find("req_")) == 4
        assert reader.find("mine-1") == [admitted(3).id, admitted(1).id]
        assert reader.find("nothing") == reader.find("")[4:] == []
        assert reader.find("' OR 1=1 --") == []
        assert reader.entry("nothing") is None


def test_recent_rows_come_in_the_order_of_booking(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(*[(admitted(n), settled(n)) for n in (3, 1, 2)]))
    with ledger.reader() as reader:
        rows = reader.recent(2)
        assert [row["id"] for row in rows] == [admitted(1).id, admitted(2).id]
        writer.write(batch((admitted(9), settled(9))))
        assert [row["id"] for row in reader.recent(10, after=rows[-1]["seq"])] == [admitted(9).id]


def test_a_request_whose_policy_is_lost_still_has_a_row(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch((admitted(0), settled(0), None), (admitted(1), None, None)))
    first, second = row_of(ledger, 0), row_of(ledger, 1)
    assert (first["route"], first["planned"], first["charge_nano"]) == ("drafts", "", 120_000)
    assert (second["outcome"], second["charge_nano"], second["charge_state"]) == ("recovered", None, "unpriced")


def test_policies_are_kept_once(ledger: Ledger, writer: Writer) -> None:
    writer.keep_policy("v1", b"one")
    writer.keep_policy("v1", b"two")
    assert writer.policy("v1") == b"one" and writer.policy("v2") is None


def test_marks_are_kept_with_the_rows_and_forgotten_when_told(ledger: Ledger, writer: Writer) -> None:
    made = batch((admitted(), settled()))
    made.marks = {"a.pmj": Mark(100), "b.pmj": Mark(7, 3)}
    writer.write(made)
    writer.write(Batch(marks={"a.pmj": Mark(200)}))
    assert writer.marks() == {"a.pmj": Mark(200), "b.pmj": Mark(7, 3)}
    writer.forget(["a.pmj"])
    writer.close()
    assert ledger.writer().marks() == {"b.pmj": Mark(7, 3)}


def test_a_batch_that_fails_leaves_nothing(ledger: Ledger, writer: Writer) -> None:
    made = batch((admitted(), settled()))
    made.attempts.append(("too", "short"))
    with pytest.raises(LedgerError):
        writer.write(made)
    assert writer.write(batch((admitted(), settled()))) == 1


def test_a_decision_of_another_format_is_left_out(ledger: Ledger, writer: Writer) -> None:
    made = batch((admitted(), settled()))
    made.decisions = [(admitted().id, FORMAT + 1, b"\x90")]
    writer.write(made)
    with ledger.reader() as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None and entry.decision is None


def test_f91_a_newer_file_is_refused_by_reader_and_writer(ledger: Ledger, writer: Writer) -> None:
    writer.marks()
    writer.close()
    ledger.set_version(len(MIGRATIONS) + 1)
    for opening in (lambda: ledger.writer().marks(), ledger.reader):
        with pytest.raises(LedgerError, match="newer version of pointsman"):
            opening()


def test_f91_a_migration_cut_off_half_way_starts_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (MIGRATIONS[0] + "CREATE TABLE oops (;\n",)
    with migrations(monkeypatch, broken), pytest.raises(LedgerError):
        ledger.writer().marks()
    assert ledger.writer().write(batch((admitted(), settled()))) == 1


def _old_requests(db: sqlite3.Connection, columns: list[Column]) -> int:
    return db.executemany(ledger_schema.INSERT_REQUEST, list(zip(*columns, strict=True))).rowcount


def test_f91_a_ledger_of_the_version_before_the_cache_is_brought_up_to_date(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ("cache", "cached_id", "cached_ms", "saved_nano", *LONE_COLUMNS)
    old = [name for name in REQUEST_COLUMNS if name not in later]
    row = dict(zip(REQUEST_COLUMNS, batch((admitted(), settled())).requests[0], strict=True))
    with migrations(monkeypatch, MIGRATIONS[:3]), monkeypatch.context() as patch:
        patch.setattr(ledger_schema, "INSERT_REQUEST", ledger_schema._insert("requests", tuple(old)))
        patch.setattr(ledger_browsing, "FOLDS", ())  # there were no tables of sums and spans either
        patch.setattr(ledger_spans, "SPREADS", ())
        patch.setattr(sqlite, "_requests", lambda db, made, columns: _old_requests(db, columns))
        tables = {"requests": tuple(old), "attempts": ATTEMPT_COLUMNS}
        patch.setattr(
            ledger_postgres, "TABLES", tables | {n: ledger_postgres.TABLES[n] for n in ("decisions", "feedback")}
        )
        writer = ledger.writer()
        writer.write(Batch(columns=[(row[name],) for name in old]))
        writer.close()
    with pytest.raises(LedgerError, match="`pointsman serve` brings it up to date"):
        ledger.reader()
    ledger.writer().marks()
    found = row_of(ledger)
    assert (found["cache"], found["cached_id"], found["cached_ms"], found["saved_nano"]) == ("", "", None, None)
    assert found["charge_nano"] == row["charge_nano"]


def test_a_hit_is_a_row_without_cost_that_says_what_it_saved(ledger: Ledger, writer: Writer) -> None:
    hit = Hit("req_1", "large", "lab", "large-1", "large-2026", 12_345, 5_000)
    free = settled(1, attempts=(), cache="hit", hit=hit)
    unpriced = settled(2, attempts=(), cache="hit", hit=msgspec.structs.replace(hit, saved_nano=-1))
    writer.write(batch((admitted(), settled(cache="miss")), (admitted(1), free), (admitted(2), unpriced)))
    with ledger.reader() as reader:
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


def test_f102_a_question_is_cut_off_at_its_limit(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch(*[(admitted(n), settled(n)) for n in range(3_000)]))
    with ledger.slow() as limit_s, ledger.reader(limit_s) as reader, pytest.raises(LedgerBusy, match="too long"):
        reader.usage(UsageQuery())


def test_the_columns_are_those_of_the_tables(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch((admitted(), settled())))
    with ledger.reader() as reader:
        entry = reader.entry(admitted().id)
    assert entry is not None
    assert tuple(entry.request) == ("seq", *SHOWN_COLUMNS) and tuple(entry.attempts[0]) == ATTEMPT_COLUMNS
    assert (*Usage.__struct_fields__[:-1], "usage_source") == TOKEN_COLUMNS


def test_usage_groups_by_what_follows_a_name_in_a_tag(ledger: Ledger, writer: Writer) -> None:
    tags = (("env:prod", "batch"), ("env:test", "env:prod"), ("batch",), ("environment:x", "a:env:y"), (), ("env",))
    rows = batch(*((admitted(n, tags=given), settled(n, attempt())) for n, given in enumerate(tags)))
    writer.write(rows)

    def sums(*by: str) -> dict[tuple[str, ...], int]:
        with ledger.reader() as reader:
            return {row.group: row.requests for row in reader.usage(UsageQuery(by=by))[0]}

    assert sums("tag:env") == {("prod",): 1, ("test",): 1, ("env",): 1, ("",): 3}
    assert sums("tag:batch") == {("batch",): 2, ("",): 4}
    assert sums("route", "tag:env")["drafts", "prod"] == 1
    assert sums("tag:batch", "tag:env")["batch", "prod"] == 1


def test_a_tag_s_name_is_a_value_and_no_sql(ledger: Ledger, writer: Writer) -> None:
    writer.write(batch((admitted(0, tags=("a'b:c",)), settled(0, attempt()))))
    with ledger.reader() as reader:
        assert [row.group for row in reader.usage(UsageQuery(by=("tag:a'b",)))[0]] == [("c",)]


def test_s04_a_reader_of_one_organisation_sees_nothing_of_another(ledger: Ledger, writer: Writer) -> None:
    callers = (("acme/dev", "bot", "support", "acme"), ("globex/dev", "bot", "support", "globex"), ("dev", "", "", ""))
    rows = batch(*((admitted(n, caller=one, client_id="c1"), settled(n, attempt())) for n, one in enumerate(callers)))
    rows.feedback += [feedback_row(feedback(n, caller=one, request_id=id_of(n))) for n, one in enumerate(callers)]
    writer.write(rows)
    with ledger.reader() as every, ledger.reader() as mine:
        assert mine.of("acme") is mine and every.of("") is every
        assert (every.usage(UsageQuery(by=("key",)))[1].requests, mine.usage(UsageQuery(by=("key",)))[1].requests) == (
            3,
            1,
        )
        assert [row.group for row in mine.usage(UsageQuery(by=("key",)))[0]] == [("acme/dev",)]
        assert (every.usage(UsageQuery())[1].feedback_count, mine.usage(UsageQuery())[1].feedback_count) == (3, 1)
        assert (every.feedback_counts(0).given, mine.feedback_counts(0).given) == (3, 1)
        assert len(every.find("c1")) == 3 and mine.find("c1") == [id_of(0)] == mine.find(id_of(0)[:8])
        assert mine.find(id_of(1)) == [] and mine.entry(id_of(1)) is None and every.entry(id_of(1)) is not None
        assert mine.entry(id_of(0)) is not None
        assert [row["key"] for row in mine.recent(9)] == [row["key"] for row in mine.recent(9, after=0)] == ["acme/dev"]
        assert mine.of("globex").of("").recent(9)[0]["key"] == "globex/dev"  # nothing widens it


def test_attempts_are_summed_by_day_model_and_kind_of_end(ledger: Ledger, writer: Writer) -> None:
    broken = attempt(outcome="client_gone", usage=Usage(700, 20, source="estimated"), charge_state="estimated")
    unreached = attempt(outcome="unreachable", status=0, usage=NO_USAGE, charge_nano=0)
    other = attempt(provider="elsewhere")
    day = 86_400  # seconds, and so requests of one a second
    writer.write(
        batch(
            (admitted(0), settled(0)),
            (admitted(1), settled(1, unreached, attempt())),
            (admitted(2), settled(2, other, broken)),
            (admitted(day, caller=("dev", "", "", "globex")), settled(day)),
        )
    )
    with ledger.reader() as reader:
        rows = reader.booked(("lab",), "2026-11-18", "2026-11-18")
        assert [(row.outcome, row.usage_source, row.attempts, row.input_tokens) for row in rows] == [
            ("client_gone", "estimated", 1, 700),
            ("ok", "measured", 2, 2_000),
        ]
        assert (rows[1].cached_tokens, rows[1].cost_nano, rows[1].served_model) == (800, 240_000, "large-1-2026")
        both = reader.booked(("lab", "elsewhere"), "2026-11-18", "2026-11-19")
        assert sum(row.attempts for row in both) == 5 and {row.day for row in both} == {"2026-11-18", "2026-11-19"}
        assert reader.booked(("a' OR 'a'='a",), "2026-11-18", "2026-11-19") == []
        assert sum(row.attempts for row in reader.of("globex").booked(("lab",), "2026-11-18", "2026-11-19")) == 1

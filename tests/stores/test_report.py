"""Every engine gives the same answers, and they are those of a plain reckoning of the rows."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import Ledger
from report_ledgers import BEGIN_MS, DAYS, NOW_MS, Books, naive

from pointsman.stores.duck import Bounds
from pointsman.stores.export import Exporter
from pointsman.stores.ledger import LedgerBusy, LedgerError
from pointsman.stores.ledger_postgres import PostgresReader, PostgresWriter
from pointsman.stores.report import GRAINS, TAG, Question, ReportError, dimensions_of, measures_of
from pointsman.stores.report_parquet import ParquetReader
from pointsman.stores.report_reading import Reports
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter
from servers import PostgresServer

COUNT = 2_000
BOUNDS = Bounds(memory_mib=512, threads=2)
Engines = dict[str, Reports]


@pytest.fixture(scope="module")
def books() -> Books:
    return Books(seed=7, count=COUNT)


@pytest.fixture(scope="module")
def engines(books: Books, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Engines]:
    """The same rows in every engine; those in Parquet exported from either database."""
    folder, url = tmp_path_factory.mktemp("report"), postgres.database()
    with contextlib.ExitStack() as opened:
        for writer in (SqliteWriter(folder / FILE), PostgresWriter(url, "here")):
            opened.callback(writer.close)
            for first in range(0, COUNT, 500):
                writer.write(books.batch(first, first + 500 if first + 500 < COUNT else None))
        sqlite, database = SqliteReader(folder / FILE), PostgresReader(url)
        made: Engines = {"sqlite": opened.enter_context(sqlite), "postgres": opened.enter_context(database)}
        for name, source in (("parquet", sqlite), ("parquet of postgres", database)):
            Exporter(source, folder / name, BOUNDS).run(NOW_MS)
            made[name] = opened.enter_context(ParquetReader(folder / name, bounds=BOUNDS))
        yield made


def questions() -> list[Question]:
    """Each dimension alone, some in pairs, with times and conditions; every measure in each."""
    dice = random.Random(11)
    made = [Question(tuple(measures_of("requests"))), Question(tuple(measures_of("attempts")), of="attempts")]
    for of in ("requests", "attempts"):
        measures = tuple(measures_of(of))
        names = [*dimensions_of(of), TAG + "env", TAG + "cost", TAG + "odd"]
        made += [Question(measures, (name,), of=of) for name in names if name != "session"]
        for every in (None, *GRAINS, *GRAINS):
            by = tuple(dice.sample(names, dice.randrange(3)))
            where = {
                name: tuple(dice.sample(_VALUES[name], 2)) for name in dice.sample(list(_VALUES), dice.randrange(3))
            }
            since_ms = BEGIN_MS + dice.randrange(DAYS) * 40_000_000
            until_ms = since_ms + dice.randrange(1, 500_000_000)
            made.append(Question(measures, by, every, where, since_ms, until_ms, most=100_000, of=of))
    return made


_VALUES = {"route": ["drafts", "support", ""], "key": ["dev", "acme/bot", "none"], "tag:env": ["prod", "env", ""],
           "stream": ["stream", "whole"], "hour_of_day": ["00", "13", "23"], "status": ["200", "504"]}  # fmt: skip


@pytest.mark.parametrize("question", questions(), ids=lambda q: f"{q.of}-{q.every}-{'+'.join(q.by)}-{len(q.where)}")
def test_every_engine_answers_as_the_rows_say(books: Books, engines: Engines, question: Question) -> None:
    rows, total = naive(books, question)
    rows = rows if question.by or question.every else []
    answers = {name: engine.report(question) for name, engine in engines.items()}
    for name, found in answers.items():
        clean = [tuple(v.replace("\ufffd", "\0") if isinstance(v, str) else v for v in row) for row in found.rows]
        assert found.total == total, name
        assert sorted(clean, key=lambda row: row[: len(row) - len(question.measures)]) == rows, name
        assert all(type(a) is type(b) for a, b in zip(found.total, total, strict=True))
    _, first, *others = answers.values()
    assert all(answer == first for answer in others)  # the order of the rows too


@pytest.mark.parametrize("order", ["requests", "ttft_p95_us", "error_rate", "feedback_score", "route", ""])
def test_the_order_and_the_cut_are_the_same(engines: Engines, order: str) -> None:
    measures = ("errors", "requests", "ttft_p95_us", "error_rate", "feedback_score")
    question = Question(measures, ("route", "model"), order=order, most=5)
    found = [engine.report(question) for engine in engines.values()]
    assert all(one == found[0] for one in found) and len(found[0].rows) == 5 and found[0].cut
    if order and order != "route":
        column = [row[2 + measures.index(order)] for row in found[0].rows]
        assert column == sorted(column, key=lambda value: -1 if value is None else value, reverse=True)


def test_of_an_organisation_nothing_else_is_seen(books: Books, engines: Engines) -> None:
    question = Question(("requests", "feedback_count", "measured_nano"), ("organisation",))
    part = Question(question.measures, question.by, where={"organisation": ("acme",)})
    expected = naive(books, part)
    for engine in engines.values():
        engine._within = "acme"
        try:
            found = engine.report(question)
        finally:
            engine._within = ""
        assert (found.rows, found.total) == expected


@pytest.mark.parametrize(
    ("question", "what"),
    [
        (Question(()), "measure"),
        (Question(("nothing",)), "measure"),
        (Question(("failovers",), of="attempts"), "measure"),
        (Question(("requests",), ("route; DROP TABLE requests",)), "by"),
        (Question(("requests",), ("route", "route")), "by"),
        (Question(("requests",), ("attempt",)), "by"),
        (Question(("requests",), ("route", "model", "key")), "by"),
        (Question(("requests",), where={"1=1": ("x",)}), "where"),
        (Question(("requests",), where={"route": ()}), "where"),
        (Question(("requests",), every="minute"), "every"),  # type: ignore[arg-type]
        (Question(("requests",), order="errors"), "order"),
        (Question(("requests",), most=0), "most"),
    ],
)  # fmt: skip
def test_s14_what_cannot_be_asked_is_refused_before_anybody_is(engines: Engines, question: Question, what: str) -> None:
    for engine in engines.values():
        with pytest.raises(ReportError) as refused:
            engine.report(question)
        assert refused.value.what == what


def test_the_name_of_a_tag_is_no_pattern(tmp_path: Path) -> None:
    books = Books(seed=4, count=300)
    tags = (
        ",a.b:1,",
        ",axb:2,",
        ",x:y,a.b:,",
        ",a.b,a.b:3,",
        ",a.b,",
        ",a.b:x y,a.b:4,",
        ",(:5,[a]+$:6,",
        ",a.b:l\ni,",
        "",
    )
    for n, row in enumerate(books.requests):
        row["tags"] = tags[n % len(tags)]
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    writer.close()
    with SqliteReader(tmp_path / FILE) as sqlite:
        Exporter(sqlite, tmp_path / "out", BOUNDS).run(NOW_MS)
        with ParquetReader(tmp_path / "out", bounds=BOUNDS) as parquet:
            for name in ("a.b", "(", "[a]+$", "a", "x", "\\E"):
                question = Question(("requests", "ttft_p50_us"), (TAG + name,), where={TAG + name: ("1", "3", "", "6")})
                expected = naive(books, question)
                for engine in (sqlite, parquet):
                    found = engine.report(question)
                    assert (sorted(found.rows), found.total) == expected, name
                whole = Question(("requests",), (TAG + name,))
                assert sorted(parquet.report(whole).rows) == naive(books, whole)[0]


@pytest.mark.parametrize("few", [5_000, 2])
def test_quantiles_are_exact_wherever_the_values_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Ties, neighbours at the border of a range, and values up to centuries; in few groups and in many."""
    monkeypatch.setattr("pointsman.stores.report_parquet.FEW_GROUPS", few)
    dice, books = random.Random(6), Books(seed=6, count=1_500)
    borders = [(8 * n) ** 2 + d for n in (1, 2, 3, 500, 10**4, 10**7) for d in (-9, -1, 0, 1, 9)]
    for row in books.requests:
        row["ttft_us"] = dice.choice((7, dice.choice(borders), dice.randrange(1, 2 ** dice.randrange(1, 53)), -3, 0))
        row["total_us"] = 1_000_000
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    writer.close()
    with SqliteReader(tmp_path / FILE) as sqlite:
        Exporter(sqlite, tmp_path / "out", BOUNDS).run(NOW_MS)
    names = tuple(f"{column}_p{percent}_us" for column in ("ttft", "total") for percent in (50, 90, 95, 99))
    with ParquetReader(tmp_path / "out", bounds=BOUNDS) as parquet:
        for by in ((), ("route",), ("route", "model"), ("session", "key")):
            question = Question(names, by)
            found = parquet.report(question)
            rows, total = naive(books, question)
            assert (sorted(found.rows, key=lambda row: row[: len(by)]) if by else rows, found.total) == (rows, total)
        cut = parquet.report(Question(("keys", "requests", "ttft_p50_us"), ("day",), most=2))
        assert cut.cut and cut.total == naive(books, cut.question)[1]  # of all groups, not of those that are shown


def test_sums_beyond_two_to_the_53_are_exact_and_one_beyond_the_integers_is_told(
    tmp_path: Path, postgres_url: str
) -> None:
    books = Books(seed=3, count=20)
    for row in books.requests:
        row |= {
            "charge_nano": 2**55 + 1,
            "charge_state": "measured",
            "saved_nano": None,
            "output_tokens": 2**59 + row["seq"],
        }
    writers = [SqliteWriter(tmp_path / FILE), PostgresWriter(postgres_url, "here")]
    for writer in writers:
        writer.write(books.batch())
        writer.close()
    readers: list[Reports] = [SqliteReader(tmp_path / FILE), PostgresReader(postgres_url)]
    expected = sum(row["charge_nano"] for row in books.requests)
    for reader in readers:
        assert reader.report(Question(("measured_nano",))).total == (expected,) and expected > 2**53
    assert readers[1].report(Question(("output_tokens",))).total == (20 * 2**59 + 210,)
    with pytest.raises(LedgerError, match="larger than 2"):
        readers[0].report(Question(("output_tokens",)))
    for reader in readers:
        reader.close()  # type: ignore[attr-defined]


def test_a_question_under_way_is_ended_from_another_thread(ledger: Ledger) -> None:
    writer = ledger.writer()
    books = Books(seed=5, count=3_000)
    for row in books.requests:
        row |= {"session": "s", "key": "dev", "project": "", "team": "", "organisation": ""}
    writer.write(books.batch())
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT COUNT(*) FROM n"
    )
    with ledger.reader() as reader:
        began_s = time.monotonic()
        timer = threading.Timer(0.3, reader.interrupt)
        timer.start()
        with pytest.raises(LedgerBusy):
            reader.ask(endless, {})
        assert time.monotonic() - began_s < 10
        with pytest.raises(LedgerBusy):  # as well as what would be asked after it
            reader.ask(endless, {})


def test_a_question_to_parquet_is_ended_too(engines: Engines, tmp_path: Path) -> None:
    from pointsman.stores.duck import Duck

    slow = "SELECT COUNT(*) FROM range(100000000000) a"
    duck = Duck([tmp_path], BOUNDS, limit_s=0.3)
    with pytest.raises(LedgerBusy):
        duck.run(slow)
    assert duck.run("SELECT 1") == [(1,)]
    threading.Timer(0.2, duck.interrupt).start()
    with pytest.raises(LedgerBusy):
        Duck.run(duck, "SELECT COUNT(*) FROM range(100000000000) a")
    duck.close()


def test_duckdb_reaches_nothing_but_its_folder(tmp_path: Path) -> None:
    from pointsman.stores.duck import Duck

    inside, outside = tmp_path / "in", tmp_path / "out.csv"
    inside.mkdir()
    outside.write_text("1\n")
    duck = Duck([inside], BOUNDS, limit_s=10)
    for statement in (f"SELECT * FROM read_csv('{outside}')", "INSTALL httpfs", "SET enable_external_access = true"):
        with pytest.raises(LedgerError):
            duck.run(statement)
    duck.close()

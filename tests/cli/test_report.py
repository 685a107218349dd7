"""The commands `report`, `ledger export` and `ledger prune`, as people use them."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from records import policy
from report_ledgers import BEGIN_MS, Books
from typer.testing import CliRunner, Result

from command_line import app
from pointsman.control.replay import Policies
from pointsman.stores.report import dimensions_of, measures_of
from pointsman.stores.sqlite import FILE, SqliteReader, SqliteWriter

COUNT = 400
CONFIG = """
providers: {lab: {dialect: openai, base_url: "http://127.0.0.1:9/v1"}}
deployments:
  mini: {provider: lab, model: m, price: {input: 1, output: 2}}
  large: {provider: lab, model: l, price: {input: 10, output: 20}}
routes: {drafts: {candidates: [mini, large]}, support: {candidates: [large]}}
server: {retention: {requests_days: 5, after_export: AFTER}}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def books() -> Books:
    """Rows of days that are closed, the oldest eleven days old."""
    made = Books(seed=51, count=COUNT)
    shift = (time.time_ns() // 1_000_000 - BEGIN_MS) // 86_400_000 * 86_400_000 - 11 * 86_400_000
    for row in (*made.requests, *made.feedback):
        row["at_ms"] += shift
    for row in made.requests:
        row["day"] = time.strftime("%Y-%m-%d", time.gmtime(row["at_ms"] // 1000))
        row["id"] = row["id"][:4] + f"{row['at_ms']:012x}" + row["id"][16:]
    made.attempts.clear()
    return made


@pytest.fixture
def data(tmp_path: Path, books: Books) -> str:
    writer = SqliteWriter(tmp_path / FILE)
    writer.write(books.batch())
    for version in ("v1", "v2"):
        Policies(writer).keep(policy(version))
    writer.close()
    return str(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG.replace("AFTER", "false"))
    return str(path)


def as_json(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_report_is_a_table_with_a_total(data: str) -> None:
    done = run("report", "--data", data, "--by", "route", "--every", "week", "-m", "requests,error_rate,measured_nano")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and "time" in done.stdout and "support" in done.stdout and "%" in done.stdout
    total = next(line for line in lines if line.strip().startswith("total"))
    assert " 400 " in total and "$" in total
    assert run("report", "--data", data).exit_code == 0


def test_json_has_exact_figures_and_csv_dollars(data: str, books: Books) -> None:
    asked = ("report", "--data", data, "--by", "route", "-m", "requests,measured_nano", "--where", "stream=stream")
    found = as_json(*asked)
    mine = [row for row in books.requests if row["stream"]]
    nano = sum(row["charge_nano"] for row in mine if row["charge_state"] == "measured")
    assert found["total"] == {"requests": len(mine), "measured_nano": nano}
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--csv").stdout)))
    assert {row["route"]: int(row["requests"]) for row in rows} == {r["route"]: r["requests"] for r in found["rows"]}
    assert sum(round(float(row["measured_usd"]) * 1e9) for row in rows) == nano


def test_a_time_and_the_number_of_rows_are_bounded(data: str, books: Books) -> None:
    begin = min(row["day"] for row in books.requests)
    some = as_json("report", "--data", data, "--until", begin, "-m", "requests")
    assert some["total"]["requests"] == 0
    cut = run("report", "--data", data, "--every", "hour", "-m", "requests", "--most", "3")
    assert "The first 3 rows; the total is over all." in cut.stdout


def test_nothing_is_told_as_nothing(data: str) -> None:
    asked = ("report", "--data", data, "--by", "route", "-m", "requests", "--where", "key=nobody")
    assert "Nothing was booked" in run(*asked).stdout and run(*asked, "--csv").stdout.split() == ["route,requests"]
    assert as_json(*asked)["rows"] == [] and as_json(*asked)["total"] == {"requests": 0}


def test_against_tells_what_it_assumes(data: str, config: str) -> None:
    asked = ("report", "--data", data, "--by", "route", "-m", "requests")
    done = run(*asked, "--against", "dearest")
    assert done.exit_code == 0 and "the same counts of tokens" in done.stdout and "drafts: large" in done.stdout
    found = as_json(*asked, "--against", "mini", "--config", config)
    assert found["against"]["deployments"]["support"] == "mini"
    total = found["total"]
    assert total["difference_nano"] == total["against_nano"] - total["charged_nano"] != 0
    assert total["compared"] + total["no_price"] + total["not_compared"] == total["requests"] == COUNT
    wrong = run(*asked, "--against", "nobody")
    assert wrong.exit_code == 2 and wrong.stderr.startswith("--against: there is no deployment 'nobody'")


def test_an_export_answers_as_the_ledger_does(data: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    done = run("ledger", "export", "--out", out, "--data", data)
    assert done.exit_code == 0 and "400 requests" in done.stdout, done.output
    assert "Nothing to do" in run("ledger", "export", "--out", out, "--data", data).stdout
    asked = ("--by", "route", "--by", "model", "-m", "requests,measured_nano,ttft_p99_us,keys", "--since", "2020-01-01")
    assert as_json("report", "--over", out, *asked) == as_json("report", "--data", data, *asked)
    against = as_json("report", "--over", out, "--against", "dearest", "-m", "requests", "--since", "2020-01-01")
    assert against == as_json(
        "report", "--data", data, "--against", "dearest", "-m", "requests", "--since", "2020-01-01"
    )
    assert as_json("ledger", "export", "--out", out, "--data", data)["swept"]["requests"] == COUNT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "-m", "bogus"), "--measure: there is no measure 'bogus'"),
        (("report", "--by", "route,model,key"), "--by: name at most 2"),
        (("report", "--where", "route"), "--where: 'route' is not NAME=VALUE"),
        (("report", "--since", "soon"), "--since: expected a length of time"),
        (("report", "--most", "0"), "--most: is a whole number"),
        (("report", "--every", "year"), "--every: is one of hour"),
        (("report", "--over", "nowhere"), "there is no export at nowhere"),
        (("report", "--over", "nowhere", "--memory-mib", "1"), "--memory-mib is at least 64"),
        (("ledger", "export", "--out", "x", "--since", "soon"), "--since soon: expected"),
        (("ledger", "export", "--out", "/dev/null/x"), "/dev/null/x: Not a directory"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(
    data: str, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words, "--data", data)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_without_the_extra_it_says_what_to_install(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = run("ledger", "export", "--out", str(tmp_path / "out"), "--data", data)
    assert done.exit_code == 2 and "pip install 'pointsman[analytics]'" in done.stderr


def test_what_can_be_asked_is_listed() -> None:
    for of in ("requests", "attempts"):
        listed = run("report", "--list", "--of", of).stdout
        assert all(name in listed for name in (*measures_of(of), *dimensions_of(of)))  # type: ignore[arg-type]


def test_prune_counts_first_and_deletes_then(data: str, config: str, books: Books, tmp_path: Path) -> None:
    cut_ms = time.time_ns() // 1_000_000 - 5 * 86_400_000
    old = sum(row["at_ms"] < cut_ms and row["seq"] < COUNT for row in books.requests)
    dry = as_json("ledger", "prune", config, "--dry-run", "--data", data)
    assert dry == {"dry_run": True, "rows": {"requests": old, "notices": 0}, "kept_for": ""} and old
    assert as_json("ledger", "prune", config, "--data", data)["rows"] == {"requests": old}
    with SqliteReader(tmp_path / FILE) as reader:
        assert reader.ask("SELECT COUNT(*) FROM requests", {})[0][0] == COUNT - old
    assert as_json("ledger", "prune", config, "--data", data)["rows"] == {}
    [row] = [row for row in as_json("audit", "--data", data) if row["action"] == "ledger.prune"]
    assert row["actor"].startswith("cli: ") and row["after"] == {"requests": old}


def test_prune_waits_for_exports_and_can_be_told_not_to(data: str, config: str, tmp_path: Path) -> None:
    Path(config).write_text(CONFIG.replace("AFTER", "true"))
    dry = as_json("ledger", "prune", config, "--dry-run", "--data", data)
    assert dry["rows"] == {"requests": 0, "notices": 0} and dry["kept_for"] == "export"
    for name in ("one", "two"):
        assert run("ledger", "export", "--out", str(tmp_path / name), "--data", data).exit_code == 0
    due = as_json("ledger", "prune", config, "--dry-run", "--data", data)["rows"]["requests"]
    assert due > 0
    assert run("ledger", "export", "--out", str(tmp_path / "one"), "--forget", "--data", data).exit_code == 0
    told = run("ledger", "prune", config, "--data", data)
    assert told.exit_code == 0 and f"{due:,} deleted" in told.stdout and "Kept for export" in told.stdout
    Path(config).write_text(CONFIG.split("server")[0] + "server: {retention: {notices_days: 0}}\n")
    assert run("ledger", "prune", config, "--data", data).exit_code == 2

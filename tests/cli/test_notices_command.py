"""The command `notices`: what was told to which channels, as people and as programs read it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from test_reading import run

from pointsman.core.notice import Noted, Notice, Told
from pointsman.stores.choose import Stores
from pointsman.stores.notices import keep

AT_MS = 1_790_000_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        Noted("ntc_1", AT_MS, Notice("quota", "budget", "near", "quota `budget` is near [its] limit"), AT_MS + 60_000, 3,
              {"ops": Told("delivered", AT_MS, 1), "mail": Told("failed", AT_MS, 4, "the mail server answers 550")}),
        Noted("ntc_2", AT_MS, Notice("price", "luna", "1 -> 2", "the price has changed"), AT_MS),
    ]  # fmt: skip
    with closing(Stores(tmp_path).writer()) as writer, writer.changing() as db:
        keep(db, rows, "")
    return tmp_path


def test_a_table_for_people(data: Path) -> None:
    told = run("notices", "--data", data)
    said = " ".join(told.output.split())
    assert told.exit_code == 0 and said.index("the price has changed") < said.index("quota `budget`")
    assert "near [its] limit (and 3 more," in said and "ops: delivered; mail: failed, the mail server answers" in said


def test_json_for_programs_of_one_kind_and_time(data: Path) -> None:
    [row] = json.loads(run("notices", "--kind", "quota", "--json", "--data", data).output)
    assert (row["id"], row["repeated"], row["channels"][1]["reason"]) == ("ntc_1", 3, "the mail server answers 550")
    assert [one["id"] for one in json.loads(run("notices", "-n", "1", "--json", "--data", data).output)] == ["ntc_2"]
    assert json.loads(run("notices", "--since", "2031-01-01", "--json", "--data", data).output) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--kind", "quotas"), 2, "--kind quotas: expected one of deployment, quota"),
        (("--since", "soon"), 2, "--since soon: expected a length of time"),
        (("--kind", "ledger"), 0, "None is like that."),
    ],
)
def test_what_is_not_there_is_said(data: Path, words: tuple[str, ...], code: int, said: str) -> None:
    told = run("notices", *words, "--data", data)
    assert told.exit_code == code and said in told.output + told.stderr


def test_without_a_ledger_it_says_where_to_look(tmp_path: Path) -> None:
    told = run("notices", "--data", tmp_path / "none")
    assert told.exit_code == 2 and "there is no ledger" in told.stderr
    Stores(tmp_path).writer().close()
    assert "Nothing has happened that is told." in run("notices", "--data", tmp_path).output

"""`pointsman test`: as a program's tests are run, in a terminal and in CI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import app

CONFIG = """
providers: {p: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${NEVER_SET}"}}
deployments:
  a: {provider: p, model: a, context: 9000, price: {input: 1, output: 2}}
  b: {provider: p, model: b, context: 9000, price: {input: 2, output: 4}}
routes: {r: {candidates: [a, b], strategy: cheapest}}
keys: [{name: k1, key: "${KEY_ONE}"}, {name: k2, key: "${KEY_TWO}"}]
"""
TESTS = """
config: conf/router.yaml
tests:
  - {name: the cheaper one is taken, request: {model: r}, expect: {deployment: a}}
  - {name: else the other, request: {model: r}, state: {a: down}, expect: {deployment: b}}
"""
runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "router.yaml").write_text(CONFIG)
    (tmp_path / "router.test.yaml").write_text(TESTS)
    return tmp_path / "router.test.yaml"


def test_all_passed(file: Path) -> None:
    said = runner.invoke(app, ["test", str(file)])
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert lines[:2] == ["ok    the cheaper one is taken", "ok    else the other"]
    assert lines[2].startswith("2 passed, 0 failed in ") and "version " in lines[2]


def test_a_failure_shows_what_was_expected_what_came_and_why(file: Path) -> None:
    file.write_text(TESTS.replace("expect: {deployment: b}", "expect: {deployment: a, max_usd: 0}"))
    said = runner.invoke(app, ["test", str(file)])
    assert said.exit_code == 1
    shown = said.output
    assert "FAIL  else the other" in shown and "ok    the cheaper one is taken" in shown
    assert "deployment: expected a, got b" in shown and "max_usd: expected at most 0, got" in shown
    assert "Route r: cheapest chose b, out of 1 eligible of 2 candidates." in shown
    assert "a: ejected after failures" in shown and "b: number 1 in the plan" in shown
    assert shown.splitlines()[-1].startswith("1 passed, 1 failed")


def test_as_json_it_is_one_object(file: Path) -> None:
    file.write_text(TESTS.replace("{deployment: b}", "{deployment: a}"))
    said = runner.invoke(app, ["test", str(file), "--json"])
    told = json.loads(said.output)
    assert said.exit_code == 1 and (told["ok"], told["passed"], told["failed"]) == (False, 1, 1)
    assert [test["name"] for test in told["tests"]] == ["the cheaper one is taken", "else the other"]
    assert told["tests"][0]["problems"] == [] and told["tests"][0]["got"] is None
    assert told["tests"][1]["got"]["plan"] == ["b"] and told["config"]


def test_another_config_can_be_tested_with_the_same_tests(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("price: {input: 1, output: 2}", "price: {input: 9, output: 9}"))
    said = runner.invoke(app, ["test", str(file), "--config", str(other)])
    assert said.exit_code == 1 and "expected a, got b" in said.output
    assert runner.invoke(app, ["test", str(file), "-c", str(tmp_path / "conf" / "router.yaml")]).exit_code == 0


def refused(*words: str) -> str:
    said = runner.invoke(app, ["test", *words])
    assert said.exit_code == 2 and "Traceback" not in said.output and said.stdout == ""
    return said.stderr


def test_files_that_cannot_be_used_are_told(file: Path, tmp_path: Path) -> None:
    assert "no such file" in refused(str(tmp_path / "nothing.yaml"))
    assert "no such file" in refused(str(file), "-c", str(tmp_path / "nothing.yaml"))
    file.write_text("tests: [{name: a, request: {model: r}, expect: {deployment: a}}]")
    assert "says no `config`; name one with --config" in refused(str(file))
    file.write_text(TESTS + "\n  - {name: [")
    assert f"{file}:" in refused(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    assert str(file) in refused(str(file))
    file.write_text(TESTS)
    (tmp_path / "conf" / "router.yaml").write_text(CONFIG.replace("strategy: cheapest", "strategy: chepest"))
    assert 'unknown strategy "chepest"' in refused(str(file))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("expect: {deployment: b}", "expect: {deploymnt: b}", 5, "deploymnt"),
        ("state: {a: down}", "state: {a: dwn}", 5, "dwn"),
        ("{model: r}, expect", "{model: r}, at: noon, expect", 4, "at"),
        ("name: the cheaper one is taken, ", "", 4, "name"),
    ],
)
def test_a_file_that_is_no_test_file_is_refused_with_its_line(
    file: Path, old: str, new: str, line: int, said: str
) -> None:
    file.write_text(TESTS.replace(old, new))
    told = refused(str(file))
    assert told.startswith(f"{file}:{line}:") and said in told, told


def test_nothing_secret_is_needed_or_shown(file: Path) -> None:
    said = runner.invoke(app, ["test", str(file), "--json"], env={"NEVER_SET": "sk-canary-0123456789"})
    assert said.exit_code == 0 and "canary" not in said.output and "made-up" not in said.output

"""`pointsman route`: where a request would go, and why, with nobody called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from command_line import app

CONFIG = """
providers:
  one: {dialect: openai, base_url: "http://127.0.0.1:1/v1"}
  two: {dialect: anthropic, base_url: "http://127.0.0.1:2/v1", api_key: "${NEVER_SET}"}
deployments:
  good: {provider: two, model: g, price: {input: 3, output: 15}, context: 100000, modalities: [text]}
  cheap: {provider: one, model: c, price: {input: 1, output: 4}, context: 8000}
routes:
  auto:
    rules:
      - {when: 'caller.team == "support"', use: support}
      - {when: '"x-plan" in request.headers', use: support}
      - {use: drafts}
  support: {candidates: [good, cheap], limits: {ttft_ms_p95: 900}, degrade: [{reply: "Sorry."}]}
  drafts: {candidates: [{cheap: 3}, {good: 1}]}
server: {rule_headers: [x-plan]}
"""
runner = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "router.yaml").write_text(CONFIG)
    return str(tmp_path / "router.yaml")


def told(config: str, *words: str, code: int = 0) -> dict[str, Any]:
    said = runner.invoke(app, ["route", config, *words, "--json"])
    assert said.exit_code == code, said.output
    found: dict[str, Any] = json.loads(said.output)
    return found


def test_it_shows_the_way_the_choice_and_what_would_follow(config: str) -> None:
    said = runner.invoke(app, ["route", config, "auto", "Where is it?", "--caller", "team=support"])
    assert said.exit_code == 0
    shown = said.output
    assert "auto rule 1." in shown and "Route support: priority chose good" in shown
    assert "Predicted cost: $0.0077" in shown and "When none of them answers: reply." in shown
    assert "good" in shown and "cheap" in shown and "healthy" in shown


def test_callers_headers_states_and_draws_can_be_given(config: str) -> None:
    assert told(config, "auto")["route"] == "drafts"
    assert told(config, "auto", "--caller", "team=support", "--caller", "tier=gold")["path"] == ["auto rule 1"]
    assert told(config, "auto", "--header", "X-Plan=pro")["path"] == ["auto rule 2"]
    assert told(config, "support", "--state", "two=down")["deployment"] == "cheap"
    assert told(config, "support", "--state", "good=4000")["deployment"] == "cheap"
    assert told(config, "support", "--state", "good=800")["deployment"] == "good"
    assert told(config, "drafts", "--seed", "0.1")["deployment"] == "cheap"
    assert told(config, "drafts", "--seed", "1")["deployment"] == "good"
    assert {c["deployment"]: c["probability"] for c in told(config, "drafts")["candidates"]} == {
        "cheap": 0.75,
        "good": 0.25,
    }


def test_exit_code_one_says_that_nobody_could(config: str) -> None:
    found = told(config, "support", "--state", "one=down", "--state", "two=cooling", code=1)
    assert found["deployment"] is None and found["refused"] in {"ejected", "cooling"} and found["ladder"] == ["reply"]
    said = runner.invoke(app, ["route", config, "support", "--state", "one=down", "--state", "two=down"])
    assert said.exit_code == 1 and "none of its 2 candidates could take it" in said.output


def test_a_whole_body_can_be_given(config: str, tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = {"model": "another", "messages": [{"role": "user", "content": [picture]}], "max_tokens": 77}
    (tmp_path / "body.json").write_text(json.dumps(body))
    found = told(config, "support", "--body", str(tmp_path / "body.json"))
    assert found["asked"] == "support" and found["deployment"] == "cheap"  # the other one reads no pictures
    assert found["facts"]["needs"] == ["images"] and found["facts"]["output_tokens_limit"] == 77


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["suport"], 'no route or deployment is called "suport"; routes: auto, support, drafts'),
        (["support", "--state", "goood=down"], 'no deployment or provider is called "goood"; did you mean "good"?'),
        (["support", "--state", "good=5s"], 'expected down, cooling, probing or milliseconds, got "5s"'),
        (["support", "--state", "good"], 'expected NAME=VALUE, got "good"'),
        (["support", "--state", "good=-5"], '"-5"'),
        (["support", "--state", "good=nan"], '"nan"'),
        (["support", "--caller", "taem=support"], '"taem"'),
        (["support", "--body", "nothing.json"], "nothing.json"),
        (["auto#1"], 'no route or deployment is called "auto#1"'),
    ],
)
def test_what_cannot_be_asked_is_said_in_plain_words(config: str, words: list[str], says: str) -> None:
    said = runner.invoke(app, ["route", config, *words])
    assert said.exit_code == 2 and said.stdout == ""
    assert says in said.stderr and "Traceback" not in said.stderr
    assert "Object" not in said.stderr and "field" not in said.stderr


def test_a_body_that_is_none_is_refused(config: str, tmp_path: Path) -> None:
    for text in ("[1]", "{", '{"messages": 3, "stream": "x"}', '{"pointsman": {"tag": 1}}'):
        (tmp_path / "body.json").write_text(text)
        said = runner.invoke(app, ["route", config, "support", "--body", str(tmp_path / "body.json")])
        assert said.exit_code == 2 and said.stderr and "Traceback" not in said.stderr, text


def test_a_config_that_is_invalid_is_told_as_check_does(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(CONFIG.replace("use: drafts", "use: draughts"))
    said = runner.invoke(app, ["route", str(tmp_path / "bad.yaml"), "auto"])
    assert said.exit_code == 2 and "bad.yaml:" in said.stderr and 'Did you mean "drafts"?' in said.stderr

"""The published policies: each is valid without a warning, and its tests pass as a user would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from command_line import app

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
CONFIGS = sorted(file for file in EXAMPLES.glob("*.yaml") if not file.name.endswith(".test.yaml"))
EVERY = pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
runner = CliRunner()


def cases_of(config: Path) -> Path:
    return config.with_suffix(".test.yaml")


def environment(config: Path) -> dict[str, str]:
    return {name: f"{name}-dummy-0123456789" for name in re.findall(r"\$\{(\w+)", config.read_text())}


def test_there_are_at_least_seven_and_each_has_tests() -> None:
    assert len(CONFIGS) >= 7
    assert {file.name for file in EXAMPLES.iterdir()} == {
        file.name for config in CONFIGS for file in (config, cases_of(config))
    }


@EVERY
def test_an_example_is_valid_without_a_warning_but_of_the_calendar(config: Path) -> None:
    """Models retire and prices change on days that are known; an example may still be about them."""
    said = runner.invoke(app, ["check", "--json", str(config)], env=environment(config))
    assert said.exit_code == 0, said.output
    warnings = [warning["message"] for warning in json.loads(said.output)["warnings"]]
    assert [text for text in warnings if "price changes on" not in text and "retire" not in text] == []


@EVERY
def test_the_tests_of_an_example_pass_and_need_no_secret(config: Path) -> None:
    cases = yaml.safe_load(cases_of(config).read_text())["tests"]
    assert 5 <= len(cases) <= 12
    assert len({case["name"] for case in cases}) == len(cases)
    said = runner.invoke(app, ["test", str(cases_of(config))], env=dict.fromkeys(environment(config), ""))
    assert said.exit_code == 0, said.output
    assert f"{len(cases)} passed, 0 failed" in said.output


@EVERY
def test_the_tests_of_an_example_test_something(config: Path, tmp_path: Path) -> None:
    """Whichever deployment is taken away, some test of it fails: each is there for a reason."""
    shutil.copy(cases_of(config), tmp_path)
    text = yaml.safe_load(config.read_text())
    for name in text["deployments"]:
        down = yaml.safe_load(cases_of(config).read_text())
        for case in down["tests"]:
            case["state"] = case.get("state", {}) | {name: "down"}
        (tmp_path / "down.test.yaml").write_text(yaml.safe_dump(down, sort_keys=False))
        said = runner.invoke(app, ["test", str(tmp_path / "down.test.yaml"), "--config", str(config)])
        assert said.exit_code == 1, f"{name} down: {said.output}"


def test_no_example_holds_a_secret() -> None:
    for config in CONFIGS:
        for line in config.read_text().splitlines():
            for found in re.findall(r"\bkey: (\S+)|api_key: (\S+)", line):
                assert all(text.startswith('"${') for text in found if text), line
    assert "OPENAI_API_KEY" not in os.environ

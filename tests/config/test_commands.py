"""The commands `check`, `models` and `config schema`: exit codes, what they print, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pointsman.cli.check import check
from pointsman.cli.config import config_app
from pointsman.cli.models import models

app = typer.Typer()
app.command()(check)
app.command()(models)
app.add_typer(config_app, name="config")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def test_a_valid_config_is_summed_up_on_one_screen(full: Path) -> None:
    result = run("check", full)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) < 24 and max(map(len, lines)) <= 160
    assert any(line.startswith("deployments    5  4 priced by genai-prices, 1 priced by config") for line in lines)
    assert any("support (fastest, 2), drafts (weighted, 2)" in line for line in lines)


def test_warnings_fail_only_when_asked_to(full: Path) -> None:
    full.write_text("deployments: {dark: {provider: openai, model: no-such-model}}\n")
    assert run("check", full).exit_code == 0
    strict = run("check", full, "--strict")
    assert strict.exit_code == 1 and "warning: " in strict.output


def test_problems_are_lines_on_stderr_and_exit_code_1(full: Path) -> None:
    full.write_text("deployments: {a: {provider: opnai}}\n")
    result = run("check", full)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == f'{full}:1:29: deployments.a.provider: unknown provider "opnai". Did you mean "openai"?\n'


def test_a_missing_file_is_exit_code_2(tmp_path: Path) -> None:
    assert run("check", tmp_path / "none.yaml").exit_code == 2
    assert run("models", tmp_path / "none.yaml").exit_code == 2


def test_json_has_the_same_for_machines(full: Path) -> None:
    good = json.loads(run("check", full, "--json").stdout)
    assert good["ok"] and good["routes"] == ["support", "drafts", "spare"] and good["keys"] == ["dev"]
    full.write_text("deployments: {a: {provider: opnai}}\n")
    bad = json.loads(run("check", full, "--json").stdout)
    assert not bad["ok"]
    assert (bad["problems"][0]["line"], bad["problems"][0]["path"]) == (1, "deployments.a.provider")


def test_models_of_a_file_have_price_facts_and_origin(full: Path) -> None:
    rows = {row["deployment"]: row for row in json.loads(run("models", full, "--json").stdout)}
    assert rows["qwen"]["price"]["input"] == "0.10" and rows["qwen"]["sources"]["price"] == "config"
    assert rows["luna"]["sources"]["context"] == "overlay"
    assert rows["luna"]["price"]["tiers"][0]["over_input_tokens"] == 272_000
    table = run("models", full).output
    assert "luna" in table and "g/o" in table and max(map(len, table.splitlines())) <= 100


def test_models_without_a_file_are_the_catalog_within_100_columns() -> None:
    output = run("models").output
    assert "gpt-6-luna" in output and "claude-haiku-5-5" in output
    assert max(map(len, output.splitlines())) <= 100
    rows = json.loads(run("models", "--json").stdout)
    luna = next(row for row in rows if row["model"] == "gpt-6-luna")
    assert luna["overlay"]["source"].startswith("https://") and luna["overlay"]["seen"]
    everything = json.loads(run("models", "--all", "--json").stdout)
    assert len(everything) > len(rows)


def test_unknown_is_shown_as_unknown_never_as_zero(full: Path) -> None:
    full.write_text("deployments: {dark: {provider: openai, model: no-such-model}}\n")
    assert json.loads(run("models", full, "--json").stdout)[0]["price"] is None
    line = next(line for line in run("models", full).output.splitlines() if line.startswith("dark"))
    assert line.split() == ["dark", *["-"] * 9, "-/-"]


def test_no_output_holds_a_secret(full: Path) -> None:
    for arguments in (["check"], ["check", "--json"], ["models"], ["models", "--json"]):
        assert "canary" not in run(arguments[0], full, *arguments[1:]).output


def test_the_schema_is_printed_or_written(tmp_path: Path) -> None:
    printed = run("config", "schema").stdout
    assert json.loads(printed)["title"] == "Pointsman configuration"
    out = tmp_path / "schema.json"
    assert run("config", "schema", "--out", out).exit_code == 0 and out.read_text() == printed
    assert run("config", "schema", "--out", tmp_path / "no" / "such.json").exit_code == 2


def test_importing_the_commands_is_cheap() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pointsman.cli.check, pointsman.cli.models, pointsman.cli.config; "
        "print([m for m in ('pydantic', 'yaml', 'genai_prices', 'rich.table', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

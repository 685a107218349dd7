"""The command `reconcile`, over a real ledger: what agrees, what is left over, what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from records import admitted, attempt, settled
from test_reading import booked, run

from pointsman.core.usage import Usage

EXPORTS = Path(__file__).parent.parent / "dialects" / "exports"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with five answered requests, whose day the export of OpenAI tells of."""
    folder = tmp_path / "data"
    booked(folder, *(record for n in range(5) for record in (admitted(n), settled(n))))
    return folder


def test_an_account_that_agrees_is_said_to(data: Path) -> None:
    result = run("reconcile", EXPORTS / "openai-usage.json", "--provider", "lab", "--data", data)
    assert result.exit_code == 0, result.output
    assert "1 of 1 days and models agree." in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_what_is_left_over_is_shown_with_its_cause_and_exit_code_1(data: Path) -> None:
    broken = attempt(outcome="client_gone", usage=Usage(1_000, 20, source="estimated"), charge_state="estimated")
    booked(data, admitted(7), settled(7, broken))
    result = run("reconcile", EXPORTS / "openai-usage.json", "--provider", "lab", "--data", data)
    assert result.exit_code == 1
    assert "large-1" in result.output and "-1 000" in result.output
    assert "the usage of 1 attempt is our estimate (1020 tokens)" in result.output
    loose = run("reconcile", EXPORTS / "openai-usage.json", "--provider", "lab", "--data", data, "--tolerance", "20")
    assert loose.exit_code == 0 and "agree within 20 %" in loose.output


def test_json_has_every_figure(data: Path) -> None:
    result = run("reconcile", EXPORTS / "openai-usage.json", "--provider", "lab", "--data", data, "--json")
    told = json.loads(result.output)
    assert (told["from"], told["to"], told["beyond"]) == ("2026-11-18", "2026-11-18", 0)
    assert told["rows"][0]["booked"]["input_tokens"] == told["total"]["told"]["input_tokens"] == 5_000


def test_csv_and_what_is_wrong_with_it(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("date,model,usd\n2026-11-18,large-1,0.0006\n")
    columns = ("--column", "day=date", "--column", "model=model", "--column", "usd=usd")
    result = run("reconcile", file, "--provider", "lab", "--data", data, *columns)
    assert result.exit_code == 0, result.output
    for arguments, said in [
        ((file,), "name its columns"),
        ((file, "--column", "cost=usd"), "OURS one of day"),
        ((tmp_path / "none.json",), "cannot be read"),
        ((file, *columns[:2], "--column", "model=nothing"), "no column 'nothing'"),
    ]:
        refused = run("reconcile", *arguments, "--provider", "lab", "--data", data)
        assert refused.exit_code == 2 and said in refused.output + refused.stderr, arguments

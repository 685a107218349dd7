"""`pointsman cache` and GET /v1/cache: how often answers to similar questions were wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import app
from pointsman.control.similar import similar_rows
from pointsman.core.policy import Semantic
from pointsman.stores.trusts import Trusts

SEMANTIC = Semantic(threshold=0.8, wrong_hits=0.01)


def ran(folder: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cache", "--data", str(folder), *more])
    return result.exit_code, result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    trusts = Trusts(tmp_path / "similar")
    for wrong in [False] * 99 + [True]:
        trusts.judge("faq", SEMANTIC, 7, wrong=wrong, down=wrong)
    for _ in range(18):
        trusts.judge("bad", SEMANTIC, 8, wrong=True)
    return tmp_path


def test_each_route_is_shown_with_its_interval_and_bound(data: Path) -> None:
    code, said = ran(data)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert code == 0
    assert "faq 0.800 100 1 0.03% to 5.45% 1.00% 1 of 100 0 up, 0 down" in lines
    assert any(line.startswith("bad off") and "18 of 18" in line for line in lines)


def test_json_has_every_figure(data: Path) -> None:
    code, said = ran(data, "--json")
    bad, faq = json.loads(said)
    assert code == 0 and (bad["route"], bad["off"], bad["tightened"]) == ("bad", True, 5)
    assert (faq["judged"], faq["wrong"], faq["down"], faq["embeddings"]) == (100, 1, 1, "local")
    assert (faq["wrong_low"], faq["wrong_high"]) == pytest.approx((0.000253, 0.054459), abs=1e-6)
    assert [row.route for row in similar_rows(data)] == ["bad", "faq"]


def test_a_route_with_other_settings_is_shown_as_it_was_judged_last(data: Path) -> None:
    Trusts(data / "similar").judge("faq", Semantic(threshold=0.9), 9, wrong=False)
    [faq] = [row for row in similar_rows(data) if row.route == "faq"]
    assert (faq.threshold, faq.judged_ever) == (0.9, 1)


def test_where_nothing_was_judged_it_is_said(tmp_path: Path) -> None:
    code, said = ran(tmp_path)
    assert code == 2 and "no answer to a similar question has been judged" in said

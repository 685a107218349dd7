"""The manual of policies says what the code says: facts, rungs, demands, the formula."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pointsman.config.explain import settings_at
from pointsman.config.routes import DEMANDS
from pointsman.core.facts import FACTS
from pointsman.core.policy import Objective, Rung

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_fact_is_told_with_type_empty_value_and_meaning() -> None:
    assert rows("Facts") == [
        [f"`{name}`", fact.type, f"`{json.dumps(fact.empty)}`", fact.says] for name, fact in FACTS.items()
    ]


def test_every_demand_is_told() -> None:
    told = [re.findall(r"`(?:limits\.)?(\w+)`", row[0])[0] for row in rows("Cheapest that is good enough")]
    assert sorted(told) == sorted(DEMANDS)


def test_every_kind_of_rung_is_told() -> None:
    told = [re.findall(r"`(\w+)", row[0])[0] for row in rows("When nobody can answer")]
    assert sorted(told) == sorted(settings_at(("routes", "x", "degrade", 0)))
    assert {field.removesuffix("_s").removesuffix("_tokens") for field in Rung.__struct_fields__} >= set(told)


def test_the_half_points_are_those_of_the_core() -> None:
    part = PAGE.split("## Weighing quality, time and money")[1]
    assert f"`half_ms` ({Objective().half_ms:.0f})" in part
    assert f"`half_usd` ({Objective().half_nano / 1e9:g})" in part

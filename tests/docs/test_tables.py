"""Tables in the pages say what the code says: dependencies, layers, limits, strategies, providers, controls."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import provider_table
import pytest
from code_index import SRC, fault
from doc_pages import page, rows, section, words

from pointsman.core.filters import Reason
from pointsman.strategies import NAMES

PROJECT = tomllib.loads(page("pyproject.toml"))["project"]
MODULES = {"cel-expr-python": "cel_expr_python", "genai-prices": "genai_prices", "pyyaml": "yaml"}
CONTROLS = range(1, 29)


def named(requirements: list[str]) -> list[str]:
    return sorted(re.split(r"[<>=\[ ]", one)[0] for one in requirements)


@cache
def imports(file: Path) -> set[str]:
    """Return the modules a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages_importing(module: str) -> set[str]:
    return {
        file.relative_to(SRC).parts[0]
        for file in SRC.rglob("*.py")
        if any(name == module or name.startswith(module + ".") for name in imports(file))
    }


@pytest.mark.parametrize(
    ("heading", "requirements"),
    [
        ("At run time", PROJECT["dependencies"]),
        ("`analytics`", PROJECT["optional-dependencies"]["analytics"]),
        ("`demo`", PROJECT["optional-dependencies"]["demo"]),
        ("`billing`", PROJECT["optional-dependencies"]["billing"]),
        ("`oidc`", PROJECT["optional-dependencies"]["oidc"]),
        ("`otel`", PROJECT["optional-dependencies"]["otel"]),
        ("`postgres`", PROJECT["optional-dependencies"]["postgres"]),
        ("`dev`", PROJECT["optional-dependencies"]["dev"]),
    ],
)
def test_every_dependency_is_argued_for_and_no_other(heading: str, requirements: list[str]) -> None:
    table = rows(section(page("docs/dependencies.md"), heading))
    assert sorted(words(row[0])[0] for row in table) == named(requirements)
    assert all(len(row[-3]) > 5 and row[-1] for row in table)  # a reason and a licence


def test_every_dependency_is_imported_where_the_page_says() -> None:
    for name, rooms, *_ in rows(section(page("docs/dependencies.md"), "At run time")):
        distribution = words(name)[0]
        found = packages_importing(MODULES.get(distribution, distribution))
        assert found, distribution
        assert rooms == "everywhere" or found == set(words(rooms)), distribution


def test_licences_are_those_the_packages_state() -> None:
    for row in [*rows(page("docs/dependencies.md"))]:
        stated = metadata.metadata(words(row[0])[0]).get("License-Expression")
        assert stated in (None, row[-1]), row[0]


def test_each_layer_imports_only_what_the_architecture_allows() -> None:
    table = {words(row[0])[0]: row[2] for row in rows(section(page("docs/architecture.md"), "Layers"))}
    assert set(table) == {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()}
    for layer, allowed in table.items():
        used = {other for other in table if layer in packages_importing(f"pointsman.{other}")} - {layer}
        expected = set(table) - {layer} if allowed == "everything" else set(allowed.replace("nothing", "").split(", "))
        assert used <= expected, layer
        assert allowed == "everything" or used == expected - {""}, layer


def test_fixed_limits_have_the_values_of_the_code() -> None:
    table = rows(page("docs/limits.md"))
    assert len(table) > 15
    for what, value, where in table:
        path, _, name = words(where)[0].partition(":")
        module = importlib.import_module("pointsman." + path.removesuffix(".py").replace("/", "."))
        assert float(value) == float(getattr(module, name)), what


def test_every_strategy_is_described_and_no_other() -> None:
    text = page("docs/strategies.md")
    described = re.findall(r"^## `(\w+)`$", text, re.MULTILINE)
    assert sorted(described) == sorted(NAMES)
    assert all("Score: " in section(text, f"`{name}`") for name in described)
    assert all(f"`{name}`" in page("docs/configuration.md") for name in described)


def test_every_reason_is_described_and_no_other() -> None:
    table = rows(page("docs/strategies.md"))
    assert {words(row[0])[0] for row in table} == {reason.value for reason in Reason if reason.value}


def test_the_table_of_providers_is_that_of_the_code() -> None:
    assert page("docs/providers.md") == provider_table.rendered(), (
        f"write it again: {Path(sys.executable).name} tests/docs/provider_table.py"
    )


def test_every_security_control_is_told_once_with_its_state() -> None:
    text = page("SECURITY.md")
    told = [int(number) for row in rows(text) for number in re.findall(r"^S(\d+)", row[0])]
    assert sorted(told) == list(CONTROLS)


def test_every_control_that_holds_names_its_test_or_file() -> None:
    for control, _, shown in rows(section(page("SECURITY.md"), "What holds today")):
        assert words(shown) and all(fault(span) == "" for span in words(shown)), control


def test_a_test_that_carries_a_controls_number_is_named_in_the_page_on_security() -> None:
    text = page("SECURITY.md")
    found = [
        name
        for file in (SRC.parents[1] / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_s\d\d_\w+)", file.read_text())
    ]
    told = {int(number) for number in re.findall(r"test_s(\d\d)_", text)}
    assert {int(name[6:8]) for name in found} == told

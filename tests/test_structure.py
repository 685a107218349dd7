"""The shape of the code is kept: small files, small functions, few parameters, honest names (DESIGN section 6)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

SRC = Path(__file__).parent.parent / "src" / "pointsman"
FILES = sorted(SRC.rglob("*.py"))
MAX_FILE_LINES = 400
MEDIAN_FILE_LINES = 170
MAX_FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 15
MAX_PARAMETERS = 6
MAX_BROAD_EXCEPTS = 10
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines())


def functions() -> Iterator[tuple[str, Function, bool]]:
    """Yield (place, function, is a method) for every function of the package."""
    for file in FILES:
        tree = ast.parse(file.read_text())
        methods = {child for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{file.relative_to(SRC)}:{node.lineno} {node.name}", node, node in methods


def length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def parameters(function: Function, method: bool) -> int:
    given = function.args
    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    return count - (method and not static)


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(SRC)) for f in FILES])
def test_a_file_fits_in_the_head(file: Path) -> None:
    assert lines_of(file) <= MAX_FILE_LINES


def test_most_files_are_short() -> None:
    assert median(map(lines_of, FILES)) < MEDIAN_FILE_LINES


def test_functions_are_short() -> None:
    sizes = {place: length(function) for place, function, _ in functions()}
    assert {place: size for place, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}
    assert median(sizes.values()) <= MEDIAN_FUNCTION_LINES


def test_functions_take_few_parameters() -> None:
    # The options of a command are its function's parameters, so those of cli/ may be more.
    counts = {
        place: parameters(function, method) for place, function, method in functions() if not place.startswith("cli/")
    }
    assert {place: count for place, count in counts.items() if count > MAX_PARAMETERS} == {}


def test_no_module_is_named_for_nothing() -> None:
    names = {part for file in FILES for part in (*file.relative_to(SRC).parent.parts, file.stem)}
    assert names & FORBIDDEN == set()


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in ("Exception", "BaseException")) for name in names
    )


def test_broad_excepts_are_rare_and_never_silent() -> None:
    found: list[str] = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node):
                found.append(f"{file.relative_to(SRC)}:{node.lineno}")
                assert not all(isinstance(line, ast.Pass) for line in node.body), found[-1]
    assert len(found) <= MAX_BROAD_EXCEPTS, found


def test_every_module_and_public_function_of_the_core_says_what_it_is() -> None:
    silent: list[str] = []
    for file in FILES:
        tree = ast.parse(file.read_text())
        if tree.body and not ast.get_docstring(tree):
            silent.append(str(file.relative_to(SRC)))
        if file.parent.name != "core":
            continue
        silent += [
            f"{file.name}:{node.name}"
            for node in tree.body
            if isinstance(node, Function) and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert silent == []

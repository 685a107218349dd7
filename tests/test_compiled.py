"""The modules that are compiled for a wheel of a platform: what holds of them either way, and what may not be compiled.

`PYTHONPATH=build/compiled` makes a run compiled (`python hatch_build.py`); otherwise these tests look at the same source.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from hatch_build import check_defaults, listed, refuse  # noqa: E402  it stands beside pyproject.toml

MODULES = listed()


def name_of(module: str) -> str:
    return "pointsman." + module.removesuffix(".py").replace("/", ".")


def test_all_that_is_listed_is_compiled_or_nothing_is() -> None:
    found = [find_spec(name_of(module)) for module in MODULES]
    assert len({Path(str(one and one.origin)).suffix for one in found}) == 1


def test_the_list_is_sorted_and_each_module_can_be_compiled() -> None:
    assert sorted(set(MODULES)) == MODULES
    for module in MODULES:
        refuse(ROOT / "src" / "pointsman" / module)


def test_a_class_with_keywords_and_a_module_that_is_not_there_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "shapes.py"
    with pytest.raises(SystemExit, match=r"shapes\.py is not there"):
        refuse(source)
    source.write_text("import msgspec\n\nclass Shape(msgspec.Struct, frozen=True):\n    x: int\n")
    with pytest.raises(SystemExit, match=r"shapes\.py:3: class Shape has keywords"):
        refuse(source)


def test_a_default_that_was_left_out_is_refused(tmp_path: Path) -> None:
    """mypyc leaves out `= None` of an attribute that may be one of several classes, or any that has the methods asked for."""
    source = tmp_path / "edge.py"
    source.write_text("class Edge:\n    size = 1\n    work: Work | None = None\n    all: ClassVar[int] = 0\n")
    made = "char CPyDef_edge___Edge_____mypyc_defaults_setup(PyObject *self) {\n    x->_size = 2;\n%b    return 1;\n}\n"
    check_defaults(source, made.replace("%b", "    x->_work = y;\n"))
    with pytest.raises(SystemExit, match=r"edge\.py:3: the default of Edge\.work would be lost"):
        check_defaults(source, made.replace("%b", ""))

"""docs/errors.md has every error a client can meet: status, type, code and origin, and no other."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from code_index import SRC
from doc_pages import blocks, page, rows, section, words

from pointsman.control.replies import CODES
from pointsman.core.outcome import CLASSES, Blame
from pointsman.gateway.answers import error_body, error_type

ERRORS = page("docs/errors.md")
REFUSING = {"refuse", "_refuse", "refusal", "Refused"}  # what writes an answer to a request that is not admitted
_CODE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
Row = tuple[int, str, str, str]


def told(heading: str) -> list[Row]:
    """Return (status, type, code, origin) of each row of a table, one for each origin."""
    table = rows(section(ERRORS, heading))
    assert all(row[4] for row in table)
    return [
        (int(status), words(kind)[0], words(code)[0], origin)
        for status, kind, code, origins, *_ in table
        for origin in origins.split(", ")
    ]


def constants(nodes: list[ast.expr]) -> list[object]:
    return [node.value for node in nodes if isinstance(node, ast.Constant)]


def refusals() -> Iterator[tuple[str, int, str]]:
    """Yield (place, status, code) of each refusal that the gateway's code writes."""
    for file in sorted((SRC / "gateway").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call) and _name(node.func) in REFUSING:
                given = node.args
            elif isinstance(node, ast.Tuple) and len(node.elts) == 4:
                given = node.elts  # a refusal on its way
            known = constants(given)
            statuses = [value for value in known if type(value) is int and 400 <= value < 600]
            codes = [value for value in known if isinstance(value, str) and _CODE.fullmatch(value)]
            place = f"{file.name}:{getattr(node, 'lineno', 0)}"
            if statuses:
                assert len(statuses) == len(codes) == 1, f"{place}: cannot tell which code this refusal has"
                yield place, statuses[0], codes[0]
            elif isinstance(node, ast.Call):  # it hands on what it was given
                assert not codes, f"{place}: the status of {codes} is no constant"


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def test_every_refusal_is_told_and_no_other() -> None:
    found = {
        (status, error_type(status), code, "client" if status < 500 else "router") for _, status, code in refusals()
    }
    assert len(found) > 10
    listed = told("Refused before admission")
    assert set(listed) == found and len(listed) == len(found)


def test_every_failure_class_is_told_and_no_other() -> None:
    found = {
        (row.status, row.type, row.code, "router" if row.blame is Blame.NOBODY else row.blame.value)
        for row in CLASSES.values()
        if row.code
    }
    listed = told("After admission")
    assert set(listed) == found and len(listed) == len(found)


def test_every_error_of_the_admin_listener_is_told_and_no_other() -> None:
    listed = {words(row[1])[0]: int(row[0]) for row in rows(section(ERRORS, "Admin listener"))}
    assert listed == CODES
    said = {
        node.args[0].value
        for file in (SRC / "control").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and _name(node.func) in {"error_reply", "Refusal"}
        if isinstance(node.args[0], ast.Constant)
    }
    assert said <= set(CODES)


def test_the_example_has_the_members_of_an_error() -> None:
    (block,) = blocks("json", "docs/errors.md")
    example = json.loads(block.text)["error"]
    made = json.loads(error_body("m", "t", "c", origin="client", request_id="req_1"))["error"]
    assert list(example) == list(made)
    said = (example["type"], example["code"], example["origin"])
    assert said in {row[1:] for row in told("Refused before admission")}

"""docs/testing-policies.md has every member of a policy test, its default, and no other."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from doc_pages import page, rows, section, words

from pointsman.lab.policytest import SOME_TIME, Case, Conversation, Expect, PolicyTests
from pointsman.lab.situation import Caller, Measured, Priced, Word

PAGE = page("docs/testing-policies.md")
TABLES: dict[str, Any] = {
    "The file": PolicyTests,
    "`tests`": Case,
    "`caller`": Caller,
    "`state`": Measured,
    "`prices`": Priced,
    "`conversation`": Conversation,
    "`expect`": Expect,
}


def table(heading: str) -> list[list[str]]:
    """Return the rows under a heading, without those of the headings below it."""
    text = section(PAGE, heading)
    return rows(text.partition("\n### ")[0])


@pytest.mark.parametrize("heading", TABLES)
def test_every_member_is_told_and_no_other(heading: str) -> None:
    fields = [field.encode_name for field in msgspec.structs.fields(TABLES[heading])]
    told = [words(row[0])[0] for row in table(heading)]
    if heading == "`state`":
        assert told[:4] == list(get_args(Word))
        told = told[4:]
    assert sorted(told) == sorted(fields)


@pytest.mark.parametrize("heading", [name for name in TABLES if name != "`expect`"])
def test_what_is_required_is_said_to_be(heading: str) -> None:
    required = {field.encode_name for field in msgspec.structs.fields(TABLES[heading]) if field.required}
    told = {words(row[0])[0] for row in table(heading) if len(row) == 3 and row[1] == "required"}
    assert told == required


def test_the_moment_of_a_test_that_says_none_is_told() -> None:
    (moment,) = [row[1] for row in table("`tests`") if words(row[0]) == ["at"]]
    assert moment == SOME_TIME.strftime("%Y-%m-%dT%H:%M:%SZ")

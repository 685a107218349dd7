"""docs/faults.md names a test, or a reason, for each fault of the catalogue, and every test that plays one."""

from __future__ import annotations

import re

import fault_table
import pytest
from fault_table import ALSO, BEGIN, NAMES, PAGE, REASONS, SECTIONS


@pytest.mark.interpreted  # tests that are left out are missing from the table
def test_the_table_is_what_the_tests_say() -> None:
    assert PAGE.read_text().partition(BEGIN)[2] == "\n" + fault_table.table(), (
        "run .venv/bin/python tests/faults/fault_table.py"
    )


def test_every_fault_has_a_test_or_a_reason() -> None:
    tests = fault_table.tests_of()
    numbers = [number for section in SECTIONS.values() for number in section]
    assert numbers == list(range(1, 113)) == sorted(NAMES)
    assert not [number for number in numbers if not tests.get(number) and not REASONS.get(number)]
    assert not [number for number in REASONS if tests.get(number)], "it is played now: take the reason out"
    assert set(tests) <= set(numbers)


def test_every_test_that_is_named_exists() -> None:
    known = fault_table.all_tests()
    assert not [test for tests in ALSO.values() for test in tests if test not in known]
    named = re.findall(r"`(?:tests/)?([\w/]*\.py)?::(test_\w+)`", PAGE.read_text())
    assert len(named) > 150
    assert not {name for _, name in named} - {test.rpartition("::")[2] for test in known}


def test_numbers_are_read_from_names() -> None:
    assert fault_table.numbers_of("test_f62_i22_f63_a_provider_is_let_go") == [62, 63]
    assert fault_table.numbers_of("test_i09_what_f18_means") == []

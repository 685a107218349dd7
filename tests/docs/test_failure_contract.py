"""docs/failure-contract.md is what the tables say, and the tables say something of everything."""

from __future__ import annotations

from doc_pages import page

from pointsman.core.outcome import CLASSES, Kind
from pointsman.lab import contract


def test_the_page_is_what_the_tables_say() -> None:
    assert page("docs/failure-contract.md") == contract.page(), (
        "run python -m pointsman.lab.contract > docs/failure-contract.md"
    )


def test_every_kind_has_a_row_and_says_what_it_means() -> None:
    assert set(CLASSES) == set(Kind)
    assert all(kind.means for kind in Kind)

"""Every path, name and link in the pages exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from code_index import fault
from doc_pages import PAGES, ROOT, anchor, blocks, headings, links, name_of, page, spans

EVERY = pytest.mark.parametrize("file", PAGES, ids=name_of)


@EVERY
def test_every_path_and_name_of_code_exists(file: Path) -> None:
    wrong = {span: said for span in spans(file.read_text()) if (said := fault(span))}
    assert wrong == {}


def test_the_architecture_names_files_and_functions_all_along() -> None:
    found = [span for span in spans(page("docs/architecture.md")) if fault(span) == ""]
    assert len(found) > 90 and len([span for span in found if ":" in span]) > 60


@pytest.mark.parametrize(
    "span", ["gateway/edge.py:Edge.data_rceived", "core/nothing.py", "Edge.nothing", "core.keys.nothing", "nothing/"]
)
def test_a_name_that_is_not_there_is_found_out(span: str) -> None:
    assert fault(span)


@EVERY
def test_every_relative_link_leads_somewhere(file: Path) -> None:
    for link in links(file.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        target, _, part = link.partition("#")
        there = (file.parent / target).resolve() if target else file
        assert there.is_relative_to(ROOT) and there.exists(), link
        assert not part or part in [anchor(heading) for heading in headings(there.read_text())], link


def test_every_page_is_linked_from_the_readme_or_the_architecture() -> None:
    linked = {
        (ROOT / start).parent.joinpath(link.partition("#")[0]).resolve()
        for start in ("README.md", "docs/architecture.md")
        for link in links(page(start))
    }
    assert [name_of(file) for file in PAGES if file.name != "README.md" and file not in linked] == []


def test_decision_records_are_numbered_and_whole() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(file.name[:4]) for file in records] == list(range(1, len(records) + 1))
    for file in records:
        text = file.read_text()
        assert headings(text)[0].startswith(f"{int(file.name[:4])}. ") and "\nStatus: " in text
        assert headings(text)[1:] == ["Context", "Decision", "Consequences"]


def test_blocks_are_of_kinds_that_are_tested() -> None:
    known = sum(len(blocks(kind)) for kind in ("console", "python", "yaml", "yml", "toml", "json", "text", ""))
    assert known == sum(file.read_text().count("```") for file in PAGES) // 2

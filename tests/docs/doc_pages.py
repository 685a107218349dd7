"""The project's pages as tests read them: fenced blocks, sections, tables, spans of code, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CELLS = re.compile(r"(?<!\\)\|")


class Block(NamedTuple):
    """One fenced block: its page relative to the repository, its first line's number, its kind, its text."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def page(name: str) -> str:
    return (ROOT / name).read_text()


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def blocks(kind: str, *pages: str) -> list[Block]:
    """Return the blocks of a kind, of the named pages or of all."""
    found: list[Block] = []
    for file in PAGES:
        text = file.read_text()
        for match in _FENCE.finditer(text):
            indent, said, body = match.groups()
            if said == kind and (not pages or name_of(file) in pages):
                lines = [line.removeprefix(indent) for line in body.splitlines()]
                found.append(
                    Block(name_of(file), text.count("\n", 0, match.start()) + 2, said, "\n".join(lines) + "\n")
                )
    return found


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """Return the spans of code in a page's prose."""
    return _SPAN.findall(prose(text))


def links(text: str) -> list[str]:
    return _LINK.findall(_SPAN.sub("", prose(text)))


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, with its sub-sections. AssertionError when there is none."""
    begin = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert begin, f"no heading {heading!r}"
    end = re.compile(rf"^#{{1,{len(begin[1])}}} ", re.MULTILINE).search(text, begin.end())
    return text[begin.end() : end.start() if end else len(text)]


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the anchor that hosts of Markdown pages give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row of a text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = [
        lines[i] for i in range(len(lines)) if not _rule(lines[i]) and not (i + 1 < len(lines) and _rule(lines[i + 1]))
    ]
    return [[cell.strip() for cell in _CELLS.split(line)[1:-1]] for line in tables]


def _rule(line: str) -> bool:
    return bool(re.fullmatch(r"[|\s:-]+", line))


def words(cell: str) -> list[str]:
    """Return the spans of code in a cell."""
    return _SPAN.findall(cell)

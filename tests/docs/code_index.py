"""What names the code has: for each file its functions, classes, their members and its constants."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from doc_pages import ROOT

SRC = ROOT / "src" / "pointsman"
PLACES = (ROOT, SRC)
PACKAGES = {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()}
_PATH = re.compile(r"((?:[\w.-]+/)*[\w.-]+\.(?:py|md|yaml|yml|toml|sh|json|sse|html))(?::([\w.]+))?")
_FOLDER = re.compile(r"(?:[\w-][\w.-]*/)+")
_PLACEHOLDER = re.compile(r"(?:^|/)[A-Z]+[/.]|-[A-Z]+[-./]")  # such as dialects/NAME/
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def fault(span: str) -> str | None:
    """Return what is wrong with a reference to code; "" when it holds; None when the span is no reference."""
    if _PLACEHOLDER.search(span):
        return None
    if found := _PATH.fullmatch(span):
        return _fault_of_file(*found.groups())
    if _FOLDER.fullmatch(span):
        return "" if _found(span) else "no such folder"
    if _DOTTED.fullmatch(span):
        return _fault_of_name(span)
    return None


def _fault_of_file(path: str, symbol: str | None) -> str | None:
    if "/" not in path and symbol is None and not _found(path):
        return None  # the reader's own file, such as router.yaml
    file = _found(path)
    if file is None:
        return "no such file"
    return "" if symbol is None or symbol in names(file) else f"{file.name} has no {symbol}"


def _fault_of_name(dotted: str) -> str | None:
    first, _, rest = dotted.partition(".")
    if first in PACKAGES:
        module, _, symbol = rest.partition(".")
        file = _found(f"{first}/{module}.py")
        if file is None:
            return "" if (SRC / first / module).is_dir() else "no such module"
        return "" if not symbol or symbol in names(file) else f"{module} has no {symbol}"
    if first[0].isupper():
        return "" if any(dotted in names(file) for file in SRC.rglob("*.py")) else "no class has it"
    return None


def _found(path: str) -> Path | None:
    return next((place / path for place in PLACES if (place / path).exists()), None)


@cache
def names(file: Path) -> frozenset[str]:
    """Return what a file defines: `name`, `Class`, `Class.member`."""
    if file.suffix != ".py":
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        found |= _defined(node)
        if isinstance(node, ast.ClassDef):
            for inner in ast.walk(node):
                found |= {f"{node.name}.{name}" for name in _defined(inner)}
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    found.add(f"{node.name}.{inner.attr}")
    return frozenset(found)


def _defined(node: ast.AST) -> set[str]:
    if isinstance(node, Function | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    found = {target.id for target in targets if isinstance(target, ast.Name)}
    for target in targets:
        if isinstance(target, ast.Tuple):
            found |= {each.id for each in target.elts if isinstance(each, ast.Name)}
    return found

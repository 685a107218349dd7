"""Environment: `${NAME}` and `${NAME:-default}` in values, and secrets that stand in files of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointsman.config.document import Document, read_text
from pointsman.config.problem import ConfigError, Place, Problem, dotted

MAX_SECRET_BYTES = 16 * 1024
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Borrowed(str):
    """Mark text that came from the environment, so that a number may be written `${PORT}`."""

    __slots__ = ()


def expand(document: Document, env: Mapping[str, str]) -> None:
    """Replace every `${NAME}` in the values of `document`; `$${` stands for a plain `${`. Unset names are problems."""
    document.data = _walk(document, env, document.data, ())


def _walk(document: Document, env: Mapping[str, str], value: Any, path: Place) -> Any:
    if isinstance(value, dict):
        return {key: _walk(document, env, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(document, env, item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _replace(document, env, value, path)
    return value


def _replace(document: Document, env: Mapping[str, str], text: str, path: Place) -> str:
    failed: list[tuple[str, str]] = []

    def one(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inside = _INSIDE.fullmatch(match[1])
        if inside is None or not match[2]:
            failed.append(("`${` without a variable name and `}`.", "Write `$${` for a plain `${`."))
            return ""
        name, default = inside[1], inside[2]
        document.borrowed.add(path)
        given = env.get(name) if default is None or name in env else ""
        if given or (default is None and name in env):
            return given or ""
        if default is None:
            failed.append((f"the environment variable {name} is not set.", f'Set it, or write "${{{name}:-default}}".'))
        return default or ""

    result = _REFERENCE.sub(one, text)
    line, column = document.mark(path)
    for message, hint in failed:
        document.problems.append(Problem(document.file, line, column, dotted(path), message, hint))
    if failed:
        document.borrowed.add(path)
    return Borrowed(result) if path in document.borrowed else result


def secret_from_file(name: str, beside: Path) -> str:
    """Return the text of a secret's file without the line end. A relative `name` stands beside the config file.

    Raise ValueError saying what is wrong with the file, never what is in it.
    """
    path = beside / name
    try:
        text = read_text(path, MAX_SECRET_BYTES).strip()
    except ConfigError as error:
        raise ValueError(f'the file "{name}": {error.problems[0].message}') from None
    if not text:
        raise ValueError(f'the file "{name}" is empty.')
    return text

"""Problem: one thing that is wrong in a config file, said with file, line, column and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec

Place = tuple[str | int, ...]

MAX_NAME_SHOWN = 80  # characters of an operator's own name that a message repeats


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Hold one error or warning. `line` and `column` count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        what = f"{self.path}: {self.message}" if self.path else self.message
        return f"{where}: {what}{'' if not self.hint else ' ' + self.hint}"


class ConfigError(Exception):
    """Carry every problem found. `kind` is `unreadable` when there was no config to judge, else `invalid`."""

    def __init__(self, problems: Iterable[Problem], kind: Literal["invalid", "unreadable"] = "invalid") -> None:
        self.problems = tuple(problems)
        self.kind = kind
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Place) -> str:
    """Return a path as people write it: `routes.support.candidates[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{short(part)}"
    return text


def short(name: str) -> str:
    """Return a name cut to MAX_NAME_SHOWN characters, without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= MAX_NAME_SHOWN else clean[: MAX_NAME_SHOWN - 1] + "…"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a question with the nearest valid name, or the list of valid names when it is short, or nothing."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(name.lower()[:128], names, n=1, cutoff=0.6)
    if close:
        return f'Did you mean "{short(close[0])}"?'
    if 0 < len(names) <= 12:
        return "Valid: " + ", ".join(short(valid_name) for valid_name in names) + "."
    return ""

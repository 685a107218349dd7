"""Source: a foreign file whose every value must be accounted for, and the report of it. Nothing is dropped silently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from pointsman.config.document import parse
from pointsman.config.problem import ConfigError, Place, Problem, dotted, short

Kind = Literal["translated", "not_translated", "no_effect"]
FROM_ENVIRONMENT = "os.environ/"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Note(msgspec.Struct, frozen=True):
    """Hold what became of a value, or of all values under it."""

    kind: Kind
    line: int
    path: str
    says: str


class Variable(msgspec.Struct):
    """Hold an environment variable that the result needs, where that comes from, and what it has to be."""

    line: int
    says: str
    kind: Literal["key", "url", "text"] = "text"


class Result(msgspec.Struct, frozen=True):
    """Hold a configuration of ours as YAML, and the report."""

    config: str
    notes: tuple[Note, ...]
    variables: dict[str, Variable]

    def of(self, kind: Kind) -> list[Note]:
        return [note for note in self.notes if note.kind == kind]


class Source:
    """Hold the file's data; note what becomes of each value. `rest` notes what nobody has looked at."""

    def __init__(self, text: str, file: str, about: str, *, before: int = 0) -> None:
        """Read a YAML text; `about` says what it must be, `before` how many lines of it do not stand in the file. Raise
        ConfigError when it is not YAML, or no mapping."""
        self._before = before
        try:
            self.document = parse(text, file)
        except ConfigError as error:
            raise ConfigError([_about(problem, about, before) for problem in error.problems]) from None
        self.file, self.data = file, self.document.data
        self.notes: list[Note] = []
        self.variables: dict[str, Variable] = {}
        self._literals: dict[str, str] = {}  # a secret that stands in the file -> the variable in its place
        self._left = dict.fromkeys(leaves(self.data))
        for problem in self.document.problems:  # a key that is set twice: the first counts
            self.notes.append(Note("not_translated", problem.line, problem.path, problem.message))

    def line(self, path: Place) -> int:
        return max(1, self.document.mark(path, key=True)[0] - self._before)

    def note(self, kind: Kind, path: Place, says: str) -> None:
        """Note what becomes of the value at `path`, and of all under it."""
        for leaf in leaves(self._at(path), path):
            self._left.pop(leaf, None)
        self.notes.append(Note(kind, self.line(path), dotted(path), says))

    def used(self, path: Place, says: str) -> None:
        self.note("translated", path, says)

    def lost(self, path: Place, says: str) -> None:
        self.note("not_translated", path, says)

    def idle(self, path: Place, says: str) -> None:
        self.note("no_effect", path, says)

    def seen(self, path: Place) -> None:
        """Mark a value as looked at: a note on what is around it speaks of it."""
        for leaf in leaves(self._at(path), path):
            self._left.pop(leaf, None)

    def rest(self) -> None:
        """Note every value that nobody has spoken of, the nearest to the root first."""
        for leaf in list(self._left):
            if leaf in self._left:
                self.lost(leaf, "is no setting that is known here.")

    def text(self, path: Place, value: str, kind: Literal["key", "url", "text"] = "text") -> str:
        """Return a text as our file has it: `os.environ/X` becomes `${X}`, anything else stays what it is."""
        name = value.removeprefix(FROM_ENVIRONMENT)
        if name == value:
            return value.replace("${", "$${")
        if not _VARIABLE.fullmatch(name):
            fresh = re.sub(r"\W", "_", f"_{name}" if name[:1].isdigit() else name, flags=re.ASCII)[:64] or "IMPORTED"
            return self.variable(fresh, path, f'in place of "{short(name)}", which is no name of a variable here', kind)
        return self.variable(name, path, "as before" + (", with no / at its end" if kind == "url" else ""), kind)

    def secret(self, path: Place, value: str, stem: str) -> str:
        """Return a secret as our file has it: always a variable. One that stands in the file itself is not copied."""
        if value.startswith(FROM_ENVIRONMENT):
            return self.text(path, value, "key")
        if value not in self._literals:
            stem = re.sub(r"\W+", "_", stem, flags=re.ASCII).upper().strip("_") or "PROVIDER"
            names = (f"IMPORTED_{stem}_KEY{'' if n == 1 else f'_{n}'}" for n in range(1, 100_000))
            self._literals[value] = next(name for name in names if name not in self.variables)
        return self.variable(self._literals[value], path, f"the key that stands on line {self.line(path)}", "key")

    def variable(self, name: str, path: Place, says: str, kind: Literal["key", "url", "text"]) -> str:
        self.variables.setdefault(name, Variable(self.line(path), says, kind))
        return f"${{{name}}}"

    def _at(self, path: Place) -> Any:
        found: Any = self.data
        for part in path:
            found = found[part]
        return found


def leaves(value: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the places of all values that hold no others: texts, numbers, and empty lists and mappings."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def _about(problem: Problem, about: str, before: int) -> Problem:
    problem = msgspec.structs.replace(problem, line=max(1, problem.line - before))
    if problem.message.startswith(("expected a mapping", "empty:")):
        return msgspec.structs.replace(problem, message=f"expected {about}.")
    return problem

"""Build: what the steps of a compilation share: the document, the environment, places, and lists of what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pointsman.config.document import Document
from pointsman.config.environment import secret_from_file
from pointsman.config.fields import NAME, SecretFile
from pointsman.config.problem import Place, Problem, dotted, nearest


class Spot(msgspec.Struct, frozen=True):
    """Hold where the settings of a Route stand: some in the rule or arm that it belongs to, the others in the route."""

    base: Place
    own: Place
    own_settings: frozenset[str] = frozenset()

    def inherits(self, setting: str) -> bool:
        """Return whether a rule or an arm has the setting from its route."""
        return self.own != self.base and setting not in self.own_settings

    def of(self, setting: str) -> Place:
        return (*(self.own if setting in self.own_settings else self.base), setting)


class Build:
    """Collect problems and warnings while a configuration becomes a Policy."""

    def __init__(self, document: Document, env: Mapping[str, str], beside: Path, now: datetime) -> None:
        self.document, self.env, self.beside = document, env, beside
        self.today, self.now_ms = now.date(), int(now.timestamp() * 1000)
        self.price_change_ms = 0  # when a price is another next, in Unix milliseconds; 0: not known
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.left_out: set[int] = set()  # places of faulty keys, which were not compiled

    def problem(self, path: Place, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self._made(path, message, hint, key=key))

    def warn(self, path: Place, message: str, hint: str = "", *, key: bool = False) -> None:
        self.warnings.append(self._made(path, message, hint, key=key))

    def unknown(self, path: Place, kind: str, name: str, valid: Iterable[str]) -> None:
        """Note that `name` is no `kind`, with the nearest name that is."""
        hint = "" if path in self.document.borrowed else nearest(name, valid)
        self.problem(path, f"unknown {kind} {self.document.shown(path, name)}.", hint)

    def named(self, section: str) -> list[str]:
        """Return the names that stand under a section of the file, faulty entries too."""
        entries: Any = self.document.data.get(section)
        return list(entries) if isinstance(entries, dict) else []

    def check_names(self, section: str) -> None:
        for name in self.named(section):
            if not NAME.fullmatch(name):
                message = "a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -"
                self.problem((section, name), message, key=True)

    def secret(self, path: Place, value: str | SecretFile) -> str | None:
        """Return a secret's text, or None after noting why there is none. Line ends around it are cut."""
        try:
            text = secret_from_file(value.file, self.beside) if isinstance(value, SecretFile) else value.strip()
        except ValueError as error:
            self.problem(path, str(error))
            return None
        if not text:
            self.problem(path, "is empty.")
        elif not (text.isascii() and text.isprintable()):
            self.problem(path, "has a character that no key has.")
        else:
            return text
        return None

    def file(self, path: Place, name: str) -> str:
        """Return the path of an existing file that a setting names, or "" after noting that there is none."""
        found = self.beside / name
        try:
            if found.is_file():
                return str(found)
        except (OSError, ValueError):
            pass
        self.problem(path, f"no such file: {self.document.shown(path, name)}.")
        return ""

    def _made(self, path: Place, message: str, hint: str, *, key: bool) -> Problem:
        line, column = self.document.mark(path, key=key)
        return Problem(self.document.file, line, column, dotted(path), message, hint)

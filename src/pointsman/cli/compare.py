"""Compare: what differs between two config texts, as settings rather than as lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.cli.redact import is_secret
from pointsman.config.document import parse
from pointsman.config.problem import ConfigError, Place, dotted

MOST_CHARACTERS = 120  # of a value that is shown
ABSENT = object()


class Change(msgspec.Struct, frozen=True):
    """Hold one setting that differs. "" for `old`: it is added; "" for `new`: it is removed."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old:
            return f"+ {self.path}: {self.new}"
        if not self.new:
            return f"- {self.path}: {self.old}"
        return f"~ {self.path}: {self.old} -> {self.new}"


def changes(old: str, new: str) -> list[Change]:
    """Return what differs, in the order of the new text. Keys are matched by name; a text that is no YAML has nothing."""
    return list(_changes((), _settings(old), _settings(new)))


def _settings(text: str) -> dict[str, Any]:
    try:
        data = parse(text, "").data
    except ConfigError:
        return {}
    keys = data.get("keys")
    if isinstance(keys, list):
        data["keys"] = {_name(key, number): key for number, key in enumerate(keys)}
    return data if isinstance(data, dict) else {}


def _name(key: Any, number: int) -> str:
    return str(key["name"]) if isinstance(key, dict) and "name" in key else str(number)


def _changes(path: Place, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from _changes((*path, name), old.get(name, ABSENT), new.get(name, ABSENT))
    elif old != new:
        yield Change(dotted(path), _shown(path, old), _shown(path, new))


def _shown(path: Place, value: Any) -> str:
    if value is ABSENT:
        return ""
    text = "(secret)" if is_secret(path) else json.dumps(_without_secrets(path, value), ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _without_secrets(path: Place, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets((*path, name), item) for name, item in value.items()}
    return "(secret)" if is_secret(path) else value

"""Explain: what pydantic found wrong, as Problems with a place, what was expected, and the nearest valid name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from pointsman.config.document import Document
from pointsman.config.problem import Place, Problem, dotted, nearest, short
from pointsman.config.schema import Config

Context = Mapping[str, Any]

_QUOTES = "Put it in quotes."

# One row a kind of pydantic error: what the operator reads. The value itself is never repeated.
_MESSAGES: dict[str, Callable[[Context], str]] = {
    "missing": lambda _: "is missing.",
    "string_type": lambda _: "expected text.",
    "int_type": lambda _: "expected a whole number.",
    "float_type": lambda _: "expected a number.",
    "bool_type": lambda _: "expected true or false.",
    "not_finite": lambda _: "expected a finite number.",
    "list_type": lambda _: "expected a list.",
    "dict_type": lambda _: "expected a mapping.",
    "model_type": lambda _: "expected a mapping.",
    "literal_error": lambda context: f"expected {context['expected']}.",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}.",
    "greater_than": lambda context: f"must be more than {context['gt']:g}.",
    "duration": lambda _: 'expected a duration: "30s", "15m", "24h", "7d", or a number of seconds.',
    "duration_range": lambda _: "must be 1 second to 30 days.",
    "long_duration_range": lambda _: "must be 1 second to 90 days.",
    "time_of_day": lambda _: 'expected a time of day in quotes, "HH:MM".',
    "quota_amount": lambda _: 'expected an amount and a period: "60/m", "100k/minute", "10/d", "9.50/month".',
    "billing_percent": lambda _: "expected a percentage with four decimal places at most.",
    "billing_usd": lambda _: "expected dollars with nine decimal places at most.",
    "moment": lambda _: 'expected a date or a moment: "2026-11-01", "2026-11-01T09:00:00Z".',
    "percent_range": lambda _: "must be -100 to 100.",
    "billing_range": lambda context: f"must be 0 to {context['most']}.",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}.",
    "string_too_short": lambda _: "is empty.",
    "string_too_long": lambda context: f"is longer than {context['max_length']} characters.",
    "too_long": lambda context: f"has more entries than {context['max_length']}.",
    "too_short": lambda _: "is empty.",
}


def problems_of(error: ValidationError, document: Document) -> list[Problem]:
    """Return one Problem for each thing pydantic found, in its order."""
    found = error.errors(include_input=False, include_url=False)
    return [_problem(item["type"], item["loc"], item.get("ctx", {}), document) for item in found]


def _problem(kind: str, loc: Place, context: Context, document: Document) -> Problem:
    path = real_path(document.data, loc, missing=kind == "missing")
    if kind == "extra_forbidden":
        return _unknown(path, document)
    is_key = bool(loc) and loc[-1] == "[key]"
    line, column = document.mark(path, key=is_key)
    message = _MESSAGES[kind](context) if kind in _MESSAGES else "is not valid."
    hint = _QUOTES if kind == "string_type" and isinstance(_at(document.data, path), int | float) else ""
    return Problem(document.file, line, column, dotted(path), message, hint)


def real_path(data: Any, loc: Place, *, missing: bool = False) -> Place:
    """Return `loc` without the steps that pydantic adds for unions and keys: only what stands in the file."""
    path: Place = ()
    for index, part in enumerate(loc):
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            data, path = data[part], (*path, part)
        elif missing and index == len(loc) - 1:
            path = (*path, part)
    return path


def _at(data: Any, path: Place) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _unknown(path: Place, document: Document) -> Problem:
    line, column = document.mark(path, key=True)
    name = str(path[-1])
    message = f'unknown setting "{short(name)}".'
    return Problem(document.file, line, column, dotted(path[:-1]), message, nearest(name, settings_at(path[:-1])))


def settings_at(path: Place) -> list[str]:
    """Return the names of the settings that the schema has at a place."""
    schema = Config.model_json_schema()
    parts = _options(schema, schema)
    for step in path:
        inside = [found for part in parts if (found := _step(part, step)) is not None]
        parts = [option for part in inside for option in _options(part, schema)]
    return [name for part in parts for name in part.get("properties", {})]


def _options(part: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plain schemas that a schema may mean, references and unions followed."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    unions = [*part.get("anyOf", []), *part.get("oneOf", [])]
    return [part, *(option for union in unions for option in _options(union, schema))]


def _step(part: dict[str, Any], step: str | int) -> dict[str, Any] | None:
    extra = part.get("additionalProperties")
    inside = part.get("items") if isinstance(step, int) else part.get("properties", {}).get(step, extra)
    return inside if isinstance(inside, dict) else None

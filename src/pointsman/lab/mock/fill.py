"""Values that satisfy a JSON Schema: the part of it that structured output and tool definitions use. Seeded."""

from __future__ import annotations

import random
from typing import Any

MAX_DEPTH = 12
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "inlet", "juniper")
_FORMATS = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "uuid": "6f1f64a2-95c4-4d0b-8f39-0c6d3cf2a111",
    "ipv4": "192.0.2.7",
}


def fill(schema: Any, rng: random.Random) -> Any:
    """Return a value for `schema`, `{"answer": word}` when it is none. Unknown keywords are ignored."""
    if not isinstance(schema, dict):
        return {"answer": rng.choice(_WORDS)}
    return _value(schema, schema, rng, 0)


def _value(schema: Any, root: dict[str, Any], rng: random.Random, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    if "$ref" in schema:
        return _value(_resolve(str(schema["$ref"]), root), root, rng, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    for word in ("anyOf", "oneOf", "allOf"):
        options = [option for option in schema.get(word, ()) if option != {"type": "null"}]
        if options:
            return _value(options[0], root, rng, depth + 1)
    make = _MAKERS.get(_type_of(schema))
    return make(schema, root, rng, depth) if make else None


def _type_of(schema: dict[str, Any]) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((one for one in named if one != "null"), "null")
    if named is None:
        named = "object" if "properties" in schema else "string"
    return str(named).lower()  # Gemini writes OBJECT, STRING ...


def _resolve(ref: str, root: dict[str, Any]) -> Any:
    found: Any = root
    for step in ref.removeprefix("#").strip("/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) and step else found
    return found


def _object(schema: dict[str, Any], root: dict[str, Any], rng: random.Random, depth: int) -> Any:
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    return {
        name: _value(one, root, rng, depth + 1)
        for name, one in properties.items()
        if name in required or (depth < MAX_DEPTH // 2 and rng.random() < 0.7)
    }


def _array(schema: dict[str, Any], root: dict[str, Any], rng: random.Random, depth: int) -> Any:
    least = int(schema.get("minItems", 1))
    count = min(max(least, rng.randint(1, 3)), int(schema.get("maxItems", 100)))
    return [_value(schema.get("items", {}), root, rng, depth + 1) for _ in range(count)]


def _string(schema: dict[str, Any], _root: dict[str, Any], rng: random.Random, _depth: int) -> Any:
    text = _FORMATS.get(schema.get("format", ""), rng.choice(_WORDS))
    short, long = int(schema.get("minLength", 0)), int(schema.get("maxLength", 10_000))
    return (text * (1 + short // max(len(text), 1)) if len(text) < short else text)[: max(long, short)]


def _number(schema: dict[str, Any], _root: dict[str, Any], rng: random.Random, _depth: int) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low + 100, 100)))
    return round(low + (high - low) * (0.1 + 0.8 * rng.random()), 2)


def _integer(schema: dict[str, Any], _root: dict[str, Any], rng: random.Random, _depth: int) -> Any:
    low = int(schema.get("minimum", int(schema.get("exclusiveMinimum", -1)) + 1))
    high = int(schema.get("maximum", int(schema.get("exclusiveMaximum", max(low + 100, 101))) - 1))
    return rng.randint(low, max(low, high))


def _boolean(_schema: dict[str, Any], _root: dict[str, Any], rng: random.Random, _depth: int) -> Any:
    return rng.random() < 0.5


_MAKERS = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
}

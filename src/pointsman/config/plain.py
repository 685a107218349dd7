"""Plain: what msgspec says of data that does not fit, as a place and a sentence that needs no knowledge of msgspec."""

from __future__ import annotations

import re

import msgspec

from pointsman.config.problem import Place, nearest

_AT = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]|\[\.\.\.\]")
# Pattern of msgspec's words -> ours; \1 is the name or value it names.
_SAYS = (
    (re.compile(r"Object contains unknown field `(.*)`"), r'"\1" is not known here.'),
    (re.compile(r"Object missing required field `(.*)`"), r"needs `\1`."),
    (re.compile(r"Expected `array` of length >= 1"), "expected a list of at least one."),
    (re.compile(r"Expected `(?:object|struct)`, got `(.*)`"), r"expected a mapping, got \1."),
    (re.compile(r"Expected `array`, got `(.*)`"), r"expected a list, got \1."),
    (re.compile(r"Expected `(\w+)(?: \| \w+)*` (>=|<=|>|<) (\S+)"), r"expected a number \2 \3."),
    (re.compile(r"Invalid enum value '(.*)'"), r'"\1" is none of the words that may stand here.'),
    (re.compile(r"Invalid RFC3339 encoded datetime"), "expected a time such as 2026-01-05T12:00:00Z."),
    (re.compile(r"Expected `(.*)`, got `(.*)`"), r"expected \1, got \2."),
)


def plainly(error: msgspec.ValidationError, fields: tuple[str, ...] = ()) -> tuple[Place, str]:
    """Return where in the data and what is wrong. `fields` are valid names, of which the nearest is offered."""
    found = _AT.match(str(error))
    text, where = (found[1], found[2] or "") if found else (str(error), "")
    path: list[str | int] = [
        int(step[2]) if step[2] else step[1] for step in _STEP.finditer(where) if step[1] or step[2]
    ]
    for pattern, said in _SAYS:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        if "unknown field" in text:
            path.append(match[1])
            hint = nearest(match[1], fields)
            return tuple(path), f"{match.expand(said)}{' ' + hint if hint else ''}"
        return tuple(path), match.expand(said)
    return tuple(path), text

"""Conditions: what is wrong with the conditions of a route's rules, said before any request is asked.

A condition that compiles may still fail on some request: a key that is not there, a division by zero. So each is tried on
facts made of the texts and numbers that stand in it, several hundred times, the same ones at every load.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Sequence

import msgspec

from pointsman.config.expressions import Condition, ExpressionError, plug_in
from pointsman.config.problem import nearest, short
from pointsman.config.tokens import Token, conjuncts, keys_of, tokens, value_of
from pointsman.core.facts import BY_DEPLOYMENT, FACTS, FactValue
from pointsman.core.request import CATEGORIES

PROBES = 300  # tries of a condition
_BREAKER = ("closed", "open", "half_open", "cooling")
_VALUES = {"features.category": CATEGORIES, "request.kind": ("chat",)}  # facts with few values
_FUNCTIONS = (
    *("size", "matches", "startsWith", "endsWith", "contains", "has", "exists", "exists_one", "all", "map", "filter"),
    *("int", "double", "string", "bool", "duration", "timestamp"),
)
_SOME = "There are size, matches, startsWith, endsWith, contains, has, exists and the others of CEL."
_NEEDS = {"features.images", "features.audio", "features.files", "features.tools", "features.json_schema"}
_WORDS = {"and": "&&", "or": "||", "not": "!"}


class Fault(msgspec.Struct, frozen=True):
    """Hold what is wrong with a condition: the place of its rule, from 0, what is said of it, and a hint."""

    index: int
    message: str
    hint: str = ""


class Surroundings(msgspec.Struct, frozen=True):
    """Hold what conditions may name: deployments, and the headers of `server.rule_headers`."""

    deployments: tuple[str, ...]
    headers: tuple[str, ...] = ()


def faults(whens: Sequence[str], around: Surroundings) -> list[Fault]:
    """Return one Fault for each faulty condition of a route, in order; "" holds always and may be the last only."""
    for when in whens:
        with contextlib.suppress(ExpressionError):  # told below
            plug_in([when], checked=True)
    found: list[Fault] = []
    seen: dict[tuple[str, ...], int] = {}
    for index, when in enumerate(whens):
        before = next((number for number, other in enumerate(whens[:index]) if not other), None)
        same = seen.setdefault(tuple(word.text for word in tokens(when)), index)
        if before is not None:
            found.append(Fault(index, f"is a dead rule: rule {before + 1} above it holds always."))
        elif same != index:
            found.append(Fault(index, f"is a dead rule: rule {same + 1} above it has the same condition."))
        elif when and (said := _fault(when, around)) is not None:
            found.append(Fault(index, *said))
    return found


def needs_of(when: str) -> list[str]:
    """Return which of the capabilities a condition demands outright: features.images and the like, alone or with `&&`."""
    parts = conjuncts(tokens(when))
    return [part[0].text for part in parts if len(part) == 1 and part[0].text in _NEEDS]


Said = tuple[str, str]


def _fault(when: str, around: Surroundings) -> Said | None:
    words = tokens(when)
    try:
        condition = Condition(when)
    except ExpressionError as error:
        return _explained(error, when)
    if not any(word.kind == "fact" for word in words):
        literal = "".join(word.text for word in words)
        if literal == "true":
            return "holds always.", "Leave `when` out."
        never = "it never holds" if literal == "false" else "it looks at no fact, so it never holds or always does"
        return f"is a dead rule: {never}.", ""
    return _patterns(words) or _names(words, around) or _probed(condition, words, around)


def _at(position: int) -> str:
    return f" at character {position}" if position else ""


def _patterns(words: Sequence[Token]) -> Said | None:
    """Judge the patterns of `matches`: RE2 in a literal, never a text that a client sends."""
    for i, word in enumerate(words):
        if word.text != "matches" or [after.text for after in words[i + 1 : i + 2]] != ["("]:
            continue
        end = _closing(words, i + 1)
        method = i > 0 and words[i - 1].text == "."
        pattern = words[end - 1]
        alone = words[end - 2].text == ("(" if method else ",")
        if pattern.kind != "text" or not alone:
            return f"the pattern of matches{_at(word.at)} must be a text in quotes.", ""
        try:
            Condition(f'"".matches({pattern.text})').holds({})
        except ExpressionError as error:
            reason = str(error).rpartition("invalid regular expression: ")[2]
            return f"the pattern{_at(pattern.at)} is no regular expression (RE2): {short(reason)}.", ""
    return None


def _closing(words: Sequence[Token], opening: int) -> int:
    depth = 0
    for i in range(opening, len(words)):
        depth += (words[i].text == "(") - (words[i].text == ")")
        if depth == 0:
            return i
    return len(words) - 1


def _names(words: Sequence[Token], around: Surroundings) -> Said | None:
    """Judge the names of deployments, headers and values that a condition asks for."""
    for word, sign, text in zip(words, words[1:], words[2:], strict=False):
        if word.text in _VALUES and sign.text in ("==", "!=") and text.kind == "text":
            value = value_of(text)
            if value not in _VALUES[word.text]:
                return f'{word.text} is never "{short(value)}".', nearest(value, _VALUES[word.text])
    for fact in sorted(BY_DEPLOYMENT):
        for key in keys_of(words, fact):
            name = _key(key)
            if name not in around.deployments:
                return f'unknown deployment "{short(name)}"{_at(key.at)}.', nearest(name, around.deployments)
    for key in keys_of(words, "request.headers"):
        name = _key(key)
        if name not in around.headers:
            hint = "Names of headers are lower-case here." if name.lower() in around.headers else ""
            said = f'the header "{short(name)}"{_at(key.at)} is not among server.rule_headers.'
            return said, hint or nearest(name, around.headers) or "Add it there."
    return None


def _key(word: Token) -> str:
    return value_of(word) if word.kind == "text" else word.text


def _probed(condition: Condition, words: Sequence[Token], around: Surroundings) -> Said | None:
    names = sorted({word.text for word in words if word.kind == "fact"})
    texts = sorted({value_of(word) for word in words if word.kind == "text"})
    numbers = sorted({figure for word in words if word.kind == "number" and (figure := _number(word)) is not None})
    chance = random.Random(0)
    for turn in range(PROBES):
        facts = {name: _empty(name, around) for name in names}
        if turn:
            facts = {name: _drawn(name, chance, (texts, numbers), around) for name in names}
        try:
            condition.holds(facts)
        except ExpressionError as error:
            return _failed(str(error), words)
    return None


def _number(word: Token) -> float | None:
    try:
        return float(int(word.text.rstrip("uU"), 0)) if word.text[:2] in ("0x", "0X") else float(word.text.rstrip("uU"))
    except (ValueError, OverflowError):
        return None


def _empty(name: str, around: Surroundings) -> FactValue:
    if name == "health.breaker":
        return dict.fromkeys(around.deployments, _BREAKER[0])
    return dict.fromkeys(around.deployments, 0.0) if name in BY_DEPLOYMENT else FACTS[name].empty


def _drawn(name: str, chance: random.Random, seen: tuple[list[str], list[float]], around: Surroundings) -> FactValue:
    """Return a value that a fact may have: mostly one that the condition itself mentions, or next to it."""
    texts, numbers = ["", "sample", *seen[0]], [0.0, 1.0, *seen[1]]
    figure = chance.choice(numbers) + chance.choice((-1.0, 0.0, 1.0))
    if name == "health.breaker":
        return {one: chance.choice(_BREAKER) for one in around.deployments}
    if name in BY_DEPLOYMENT:
        return {one: abs(figure) for one in around.deployments}
    kinds: dict[str, Callable[[], FactValue]] = {
        "string": lambda: chance.choice(texts),
        "bool": lambda: chance.random() < 0.5,
        "int": lambda: int(min(max(figure, 0.0), 1e8)),
        "double": lambda: figure,
        "list(string)": lambda: chance.sample(texts, chance.randrange(len(texts) + 1)),
        "map(string, string)": lambda: {
            text: chance.choice(texts) for text in chance.sample(texts, chance.randrange(len(texts) + 1))
        },
    }
    return kinds[FACTS[name].type]()


def _failed(error: str, words: Sequence[Token]) -> Said:
    """Return what to say of a condition that failed on some facts, and how to write it."""
    key = re.search(r'Key not found in map : "(.*)"', error)
    if key is not None:
        for fact in sorted({word.text for word in words if word.kind == "fact"}):
            if any(_key(word) == key[1] for word in keys_of(words, fact)):
                place, name = fact, short(key[1])
                return f'fails when {place} has no "{name}".', f'Write "{name}" in {place} && ... before it.'
    index = re.search(r"index=(-?\d+) size=\d+", error)
    if index is not None:
        fact = next((word.text for word in words if word.kind == "fact" and word.text == "request.tags"), "the list")
        return f"fails when {fact} has no element {index[1]}.", f"Write size({fact}) > {index[1]} && ... before it."
    if "by zero" in error or "modulus" in error:
        return "fails on some requests: division by zero.", "Test that the divisor is not 0 before it."
    return f"fails on some requests: {short(error.partition(': ')[2] or error)}.", ""


def _explained(error: ExpressionError, when: str) -> Said:
    """Return what to say of a condition that does not compile."""
    lines = when.split("\n")
    position = sum(len(line) + 1 for line in lines[: error.line - 1]) + error.column if error.line else 0
    for pattern, explain in _EXPLANATIONS:
        match = re.search(pattern, str(error))
        if match:
            return explain(match, when, position)
    return f"{short(str(error))}{_at(position)}.", ""


def _undeclared(match: re.Match[str], when: str, position: int) -> Said:
    name = match[1]
    start = when.rfind(name, 0, position + len(name))
    if when[start + len(name) :].lstrip().startswith("("):
        if name in _FUNCTIONS:
            return f'"{name}"{_at(start + 1)} does not take these values.', ""
        return f'there is no function "{short(name)}"{_at(start + 1)}.', nearest(name, _FUNCTIONS) or _SOME
    group = [fact for fact in FACTS if fact.startswith(name + ".")]
    hint = f"Its facts: {', '.join(group)}." if group else nearest(name, FACTS)
    return f'unknown fact "{short(name)}"{_at(start + 1)}.', hint or "docs/policies.md lists the facts."


def _mismatch(match: re.Match[str], when: str, position: int) -> Said:
    sign = match[1].strip("_@").replace("_", "")
    kinds = re.findall(r"[a-z_]+(?:\([^()]*\))?", match[2])
    hint = ""
    if {"int", "double"} <= set(kinds):
        hint = "Write 1000 with whole numbers and 1000.0 with others, or double(...) around one."
    elif "bool" in kinds and sign in ("==", "!="):
        hint = "A fact that is true or false stands for itself, with ! before it for the contrary."
    return f'"{sign}"{_at(position)} does not go with {" and ".join(kinds)}.', hint


def _unexpected(match: re.Match[str], when: str, position: int) -> Said:
    word = match[1].strip()
    if word[:1] in "\"'" and word:
        return f"the text{_at(position)} is not closed.", ""
    hint = f"Write {_WORDS[word]}." if word in _WORDS else "Write == to compare." if word == "=" else ""
    return f'unexpected "{short(word)}"{_at(position)}.', hint


_EXPLANATIONS: list[tuple[str, Callable[[re.Match[str], str, int], Said]]] = [
    (r"undeclared reference to '(.+)'", _undeclared),
    (r"found no matching overload for '(.+?)' applied to '\((.*)\)'", _mismatch),
    (r"input '<EOF>'", lambda match, when, at: ("ends too early.", "")),
    (r"(?:mismatched|extraneous) input '(.+?)' expecting", _unexpected),
    (r"token recognition error at: '(.*)'", _unexpected),
    (r"reserved identifier: (\w+)", lambda match, when, at: (f'"{match[1]}"{_at(at)} is a reserved word.', "")),
    (r"expression of type '(.+)' cannot", lambda match, when, at: (f"a {match[1]}{_at(at)} has no members.", "")),
    (r"recursion limit|recursion depth", lambda match, when, at: ("is nested too deeply: at most 32 levels.", "")),
]

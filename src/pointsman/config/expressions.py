"""Expressions: the conditions of a route's rules, compiled with CEL into one function of the facts.

The library's manners, and what is done about them: an error is a value, not an exception; an int where a double is
declared is an error, so doubles are converted here; a text ends at its first NUL, so those are replaced; an expression
is at most 32 levels deep, so that many conditions become several programs. A program is a chain `c0 ? 0 : c1 ? 1 : -1`,
which stops at the first condition that holds and costs one native call. Nothing of it is loaded before a route has a
condition.

Language: https://github.com/google/cel-spec/blob/master/doc/langdef.md, without extensions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pointsman.config.tokens import tokens
from pointsman.core.facts import FACTS, PLUGGED, Facts, FactValue, RuleError, Ruleset
from pointsman.strategies import plugins

if TYPE_CHECKING:
    from cel_expr_python import cel

PER_PROGRAM = 24  # conditions of one program, if they are not deep
MOST_MESSAGE = 200  # characters of an error, which may hold text of the request
_NATIVE = (RuntimeError, TypeError, ValueError, OverflowError)  # what the binding raises on values it cannot take
_FIRST = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?: \(in container ''\))?$", re.MULTILINE)


class ExpressionError(ValueError):
    """Say why a condition is none. `line` and `column` count from 1 within it; 0: not known."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class Condition:
    """Hold one compiled condition."""

    def __init__(self, text: str) -> None:
        """Compile `text`. Raise ExpressionError when it is not CEL, names what is no fact, or is not true or false."""
        plug_in([text], checked=True)
        self._environment, self._program = _environment(), _compiled(text)
        kind = self._program.return_type().name()
        if kind != "BOOL":
            raise ExpressionError(f"is of type {kind.lower()}; a condition must be true or false")
        _compiled(_chained([text], 0))  # so deep that only a program of its own would take it: refused here

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds. Raise ExpressionError when that cannot be said of these facts."""
        try:
            value = self._program.eval(self._environment.Activation(_converted(facts))).value()
        except _NATIVE as error:
            raise ExpressionError(str(error)) from None
        if not isinstance(value, bool):
            raise ExpressionError(str(value))
        return value


def names_in(text: str) -> frozenset[str]:
    """Return the facts that a condition may look at: every one that stands in it outside of text literals."""
    return frozenset(word.text for word in tokens(text) if word.kind == "fact")


def ruleset(whens: Sequence[str]) -> Ruleset:
    """Return the Ruleset of a route's conditions in order; "" holds always, and what stands behind it is never asked.

    Raise ExpressionError when one is no condition. `match` takes the facts of `names` and may be called from any thread.
    """
    asked = list(whens)
    always = asked.index("") if "" in asked else -1
    conditions = asked[:always] if always >= 0 else asked
    if not conditions:
        return Ruleset(frozenset(), lambda facts: always)
    plug_in(conditions)
    single = [Condition(text) for text in conditions]
    programs = _programs(conditions)
    names = frozenset().union(*map(names_in, conditions))
    plain = tuple(sorted(name for name in names if "double" not in FACTS[name].type))
    doubles = tuple(sorted(names.difference(plain)))
    written = tuple(name for name in plain if name.startswith("request.") or name in PLUGGED)
    texts = tuple(name for name in written if "string" in FACTS[name].type)
    activate = _environment().Activation

    def match(facts: Facts) -> int:
        try:
            data = {name: facts[name] for name in plain}
            for name in doubles:
                data[name] = _doubled(facts[name])
            for name in texts:  # only what a client may have written
                data[name] = _whole(data[name])
        except (KeyError, *_NATIVE) as error:
            raise RuleError(0, f"the fact {error} is missing or not a number") from None
        try:
            activation = activate(data)
            for program in programs:
                index = program.eval(activation).value()
                if type(index) is not int:  # the text of an error
                    raise _rule_error(single, facts, str(index))
                if index >= 0:
                    return index
        except _NATIVE as error:
            raise _rule_error(single, facts, str(error)) from None
        return always

    return Ruleset(names, match)


def plug_in(texts: Sequence[str], *, checked: bool = False) -> None:
    """Take in the facts of other packages that conditions name. Raise ExpressionError when one cannot be used."""
    for text in texts:
        words = tokens(text)
        for first, sign, last in zip(words, words[1:], words[2:], strict=False):
            if sign.text == "." and first.kind == last.kind == "name":
                name = f"{first.text}.{last.text}"
                try:
                    if name not in PLUGGED and plugins.plug_in_fact(name, checked=checked):
                        _environment.cache_clear()
                except plugins.PluginError as error:
                    raise ExpressionError(str(error)) from None


def _rule_error(single: Sequence[Condition], facts: Facts, message: str) -> RuleError:
    """Return the error of the first condition that cannot be evaluated; those before it do not hold."""
    for index, condition in enumerate(single):
        try:
            condition.holds(facts)
        except ExpressionError as error:
            return RuleError(index, str(error)[:MOST_MESSAGE])
    return RuleError(0, message[:MOST_MESSAGE])


def _programs(conditions: Sequence[str]) -> list[cel.Expression]:
    """Return the programs that ask the conditions in order; each gives the index of the one that holds, or -1."""
    waiting = [(i, conditions[i : i + PER_PROGRAM]) for i in range(0, len(conditions), PER_PROGRAM)]
    made: list[cel.Expression] = []
    while waiting:
        start, texts = waiting.pop(0)
        try:
            made.append(_compiled(_chained(texts, start)))
        except ExpressionError:
            if len(texts) == 1:
                raise
            half = len(texts) // 2  # together they are too deep or too long
            waiting[:0] = [(start, texts[:half]), (start + half, texts[half:])]
    return made


def _chained(texts: Sequence[str], start: int) -> str:
    """Return one expression for several. The line break ends a comment that a condition may end with."""
    return "".join(f"({text}\n) ? {start + i} : " for i, text in enumerate(texts)) + "-1"


@functools.cache
def _environment() -> cel.Env:
    try:
        from cel_expr_python import cel
    except ImportError as error:  # there are no wheels for musl
        raise ExpressionError(f"needs cel-expr-python, which cannot be loaded here ({error})") from None
    kinds = {
        "string": cel.Type.STRING,
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "list(string)": cel.Type.List(cel.Type.STRING),
        "map(string, string)": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "map(string, double)": cel.Type.Map(cel.Type.STRING, cel.Type.DOUBLE),
    }
    return cel.NewEnv(variables={name: kinds[fact.type] for name, fact in FACTS.items()})


def _compiled(text: str) -> cel.Expression:
    if "\0" in text or (not text.isprintable() and re.search(r"[^\S\n\t ]|[\ud800-\udfff]", text)):
        raise ExpressionError("has a control character")
    try:
        return _environment().compile(text)
    except _NATIVE as error:
        found = _FIRST.search(str(error))
        if found is None:
            raise ExpressionError(str(error).splitlines()[0].removeprefix("INVALID_ARGUMENT: ")) from None
        raise ExpressionError(found[3], int(found[1]), int(found[2])) from None


def _converted(facts: Facts) -> dict[str, FactValue]:
    return {name: _doubled(value) if "double" in FACTS[name].type else _whole(value) for name, value in facts.items()}


def _doubled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: float(figure) for key, figure in value.items()}
    return float(value)


def _whole(value: Any) -> Any:
    """Return text, a list or a mapping of texts without NUL."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    if isinstance(value, list):
        return [_whole(text) for text in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(text) for key, text in value.items()}
    return value

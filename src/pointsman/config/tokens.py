"""Tokens: a condition cut into words, to find the facts, texts and numbers in it. CEL's own parser judges the grammar."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pointsman.core.facts import FACTS

Kind = Literal["fact", "name", "text", "number", "sign"]

# https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
      | (?P<raw>[bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*'))
      | (?P<text>[bB]?(?:\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[uU]?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||[=!<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """Hold a word as written and where it begins, counted from 1. A fact is one word, with its point and no blanks."""

    kind: Kind
    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """Return the words of a condition without blanks and comments. Any text has some; nothing is checked."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "skip":
            continue
        if kind == "name" and len(found) > 1 and found[-1].text == "." and found[-2].kind == "name":
            whole = f"{found[-2].text}.{match[0]}"
            if whole in FACTS:
                found[-2:] = [Token("fact", whole, found[-2].at)]
                continue
        plain: Kind = "text" if kind == "raw" else kind  # type: ignore[assignment]
        found.append(Token(plain, match[0], match.start() + 1))
    return found


def value_of(token: Token) -> str:
    """Return what a text literal stands for; as Python reads it, which differs in rare escapes only."""
    try:
        value = ast.literal_eval(token.text)
    except (SyntaxError, ValueError):
        return token.text.strip("bBrR\"'")
    return value if isinstance(value, str) else str(value)


def keys_of(words: Sequence[Token], fact: str) -> list[Token]:
    """Return the literal keys by which a condition asks a map: `fact["key"]`, `fact.key`, `"key" in fact`."""
    found: list[Token] = []
    for i, word in enumerate(words):
        if word.text != fact or word.kind != "fact":
            continue
        after = [*words[i + 1 : i + 3], Token("sign", "", 0), Token("sign", "", 0)]
        called = after[1].kind == "name" and [found.text for found in words[i + 3 : i + 4]] == ["("]
        if (after[0].text, after[1].kind) in (("[", "text"), (".", "name")) and not called:
            found.append(after[1])
        elif i > 1 and words[i - 1].text == "in" and words[i - 2].kind == "text":
            found.append(words[i - 2])
    return found


def conjuncts(words: Sequence[Token]) -> list[list[Token]]:
    """Return the parts that must all hold: what stands between `&&` outside of brackets. One part if there is an `||`
    or a `?` among them."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for word in words:
        depth += (word.text in "([{") - (word.text in ")]}") if word.kind == "sign" else 0
        if depth == 0 and word.text in ("||", "?"):
            return [list(words)]
        if depth == 0 and word.text == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts

"""Redaction: what looks like an address, a number of a person or a secret is taken out of a text. Pure.

Patterns of an operator are a part of regular expressions that is matched in time linear in the text: pieces one after the
other, each a character or a class, repeated at most MOST_REPEAT times. There are no groups, no alternatives and nothing
unbounded, so there is nothing to go back over more than MOST_TRIES ways a character, which `checked` reckons.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

MOST_REPEAT = 64
MOST_TRIES = 4_096  # ways in which a pattern may match from one place on
_Taken = Callable[[re.Match[str]], str]


class PatternError(ValueError):
    """Say why a pattern is not taken."""


_PIECE = re.compile(
    r"(?P<what>\[\^?(?:\\.|[^\]\\])+\]|\\[dwsDWSb.\-+*?()\[\]{}^$|/\\@]|[^\\\[\](){}*+?|^$.])"
    r"(?P<times>\{(?P<least>\d{1,3})(?:,(?P<most>\d{1,3}))?\}|\?)?"
)


def checked(pattern: str) -> re.Pattern[str]:
    """Return a pattern, compiled. Raise PatternError, which says what to write instead."""
    place, tries = 0, 1
    while place < len(pattern):
        piece = _PIECE.match(pattern, place)
        if piece is None:
            raise PatternError(
                f"character {place + 1}: a pattern is made of characters, classes such as [A-Z0-9] or \\d, and of ? and"
                f" {{n,m}} behind them; no groups, no |, no . and neither * nor +"
            )
        least, most = _times(piece)
        if not least <= most <= MOST_REPEAT:
            raise PatternError(
                f"character {place + 1}: repeats at most {MOST_REPEAT} times, and not less than its least"
            )
        tries *= most - least + 1
        place = piece.end()
    if tries > MOST_TRIES:
        raise PatternError(f"may match in {tries} ways from one place; at most {MOST_TRIES}: make its ranges narrower")
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise PatternError(f"is no pattern: {error}") from None
    if made.match(""):
        raise PatternError("matches nothing at all: make some part of it needed")
    return made


def _times(piece: re.Match[str]) -> tuple[int, int]:
    if piece["times"] is None:
        return 1, 1
    if piece["times"] == "?":
        return 0, 1
    return int(piece["least"]), int(piece["most"] or piece["least"])


def redacted(text: str, names: Sequence[str], patterns: Sequence[str]) -> str:
    """Return a text without what detectors and patterns find: `[email]`, `[card]`, `[ip]`, `[phone]`, `[redacted]` stand there.
    Patterns are those that `checked` has taken."""
    for name, found, told in _DETECTORS:
        if name in names:
            text = found.sub(told, text)
    for pattern in patterns:
        text = _compiled(pattern).sub("[redacted]", text)
    return text


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return checked(pattern)


def _card(found: re.Match[str]) -> str:
    digits = [int(c) for c in found[0] if c.isdigit()]
    return "[card]" if 13 <= len(digits) <= 19 and luhn(digits) else found[0]


def luhn(digits: Sequence[int]) -> bool:
    """Tell whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _ip(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[0])
    except ValueError:
        return found[0]
    return "[ip]"


def _phone(found: re.Match[str]) -> str:
    count = sum(c.isdigit() for c in found[0])
    written = found[0].startswith(("+", "00", "(")) or any(c in found[0] for c in " -/")
    return "[phone]" if 7 <= count <= 15 and written and not _DATE.fullmatch(found[0]) else found[0]


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# In this order: the digits of a card are no number to call. Every part is bounded, so no text takes long.
_DETECTORS: tuple[tuple[str, re.Pattern[str], str | _Taken], ...] = (
    ("emails", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[email]"),
    ("cards", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)"), _card),
    ("ips", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"), _ip),
    ("ips", re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"), _ip),
    ("phones", re.compile(r"(?<![\w+])(?:\+|\()?\d(?:[ ()/.-]{0,2}\d){6,14}(?!\w)"), _phone),
)

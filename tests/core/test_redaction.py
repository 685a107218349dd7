"""Redaction: what is taken out, what stays, and that no pattern and no text makes it slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.bodies import DETECTORS
from pointsman.core.redaction import PatternError, checked, luhn, redacted

TAKEN = [
    ("write to ann.lee+x@mail.example.org now", "write to [email] now"),
    ("card 4111 1111 1111 1111.", "card [card]."),
    ("card 5500-0000-0000-0004", "card [card]"),
    ("from 192.168.10.254:8080", "from [ip]:8080"),
    ("at 2001:db8::ff00:42:8329 and ::1", "at [ip] and [ip]"),
    ("call +49 (0)89 123456-7", "call [phone]"),
    ("call (555) 123-4567 or 030/1234567", "call [phone] or [phone]"),
]


@pytest.mark.parametrize(("text", "left"), TAKEN)
def test_what_is_taken_out(text: str, left: str) -> None:
    assert redacted(text, DETECTORS, ()) == left
    assert redacted(text, (), ()) == text


@pytest.mark.parametrize(
    "text", ["at 12:30:45", "2026-11-23", "order 12345678", "version 1.2.3", "999.1.1.1", "a @ b", "1234567890123456"]
)
def test_what_stays(text: str) -> None:
    assert redacted(text, DETECTORS, ()) == text


def test_own_patterns() -> None:
    assert redacted("ticket ACME-1234, sk-abcdefgh1", (), (r"ACME-\d{4}", r"sk-[a-z0-9]{8,64}")) == (
        "ticket [redacted], [redacted]"
    )


REFUSED = [
    r"(a|b)",
    r"a+",
    r"a*",
    r".{3}",
    r"(?:a{1,9}){1,9}",
    r"a{0,65}",
    r"a{0,64}b{0,64}",
    r"\d?",
    r"[a",
    r"a{3,2}",
    r"\1",
]


@pytest.mark.parametrize("pattern", REFUSED)
def test_patterns_that_could_take_long_or_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        checked(pattern)


@given(st.from_regex(r"[0-9]{13,19}", fullmatch=True))
def test_exactly_what_has_a_right_check_digit_is_a_card(digits: str) -> None:
    told = redacted(f"no. {digits}", ("cards",), ())
    assert (told == "no. [card]") == luhn([int(c) for c in digits])


@pytest.mark.parametrize("piece", ["a", "1 ", "1.1.", "a.", "::", "0", "(", "1-", "@a.", "\u0661"])
def test_s16_no_text_takes_long(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    begun = time.process_time()
    redacted(text, DETECTORS, (r"[a-z]{1,64}\d{0,60}!", r"sk-[a-z0-9]{8,64}"))
    assert time.process_time() - begun < 4.0

"""Allowance: what a provider's reply says is left of our quota there, whatever way its headers put it.

Known ways: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with a Go duration (OpenAI, Groq), a number of seconds
(Azure) or a period behind the measure (Cerebras: `-requests-day`); `anthropic-ratelimit-{requests,tokens,input-tokens,
output-tokens}-{limit,remaining,reset}` with an RFC 3339 time. Sources: the providers' pages on rate limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

MARK = b"ratelimit"  # in the name of each of them, in lower case
MOST_WAIT_MS = 60_000.0  # after so long we ask again, whatever was said
MOST_HEADERS = 64
_MEASURE = r"(requests|input-tokens|output-tokens|tokens)"
_OPENAI = re.compile(rf"x-ratelimit-(limit|remaining|reset)-{_MEASURE}(?:-(?:second|minute|hour|day))?").fullmatch
_ANTHROPIC = re.compile(rf"anthropic-ratelimit-{_MEASURE}-(limit|remaining|reset)").fullmatch
_SPAN = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
).fullmatch
_MS = (3_600_000.0, 60_000.0, 1_000.0, 1.0)


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """Hold what is left of one quota at a provider; `limit` 0: not told. `reset_ms`: until all of it is there again."""

    measure: str  # requests, tokens, input_tokens, output_tokens
    limit: int
    left: int
    reset_ms: float

    def wait_ms(self, need: int) -> float:
        """Return how long until `need` is there, at most MOST_WAIT_MS; 0.0: now. What comes back is taken to come back
        steadily, as it does in a token bucket; where a provider counts in windows, that asks it a little early."""
        if self.left >= need:
            return 0.0
        gone = max(1, self.limit - self.left)
        share = min(1.0, (need - self.left) / gone) if self.limit else 1.0
        return min(MOST_WAIT_MS, self.reset_ms * share)


def read_allowances(headers: Mapping[str, str], now_s: float) -> list[Allowance]:
    """Return the quotas that a reply tells of; headers by lower-case name, `now_s` in Unix seconds. Of one measure in
    several periods the one with the least left counts. What cannot be read is left out."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in _some(headers.items()):
        match = _OPENAI(name)
        if match is not None:
            found.setdefault((match[2], name.partition(match[2])[2]), {})[match[1]] = value
        elif (match := _ANTHROPIC(name)) is not None:
            found.setdefault((match[1], ""), {})[match[2]] = value
    least: dict[str, Allowance] = {}
    for (measure, _), said in found.items():
        left, reset_ms = _count(said.get("remaining")), _span_ms(said.get("reset", ""), now_s)
        if left is None or reset_ms is None:
            continue
        measure = measure.replace("-", "_")
        one = Allowance(measure, _count(said.get("limit")) or 0, left, reset_ms)
        if measure not in least or one.left < least[measure].left:
            least[measure] = one
    return list(least.values())


def _some(items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.strip()) for name, value in items if "ratelimit" in name][:MOST_HEADERS]


def _count(text: str | None) -> int | None:
    """Return a whole number >= 0; None when it is none, or longer than any quota."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 15 else None


def _span_ms(text: str, now_s: float) -> float | None:
    """Return how long until a reset: a Go duration, seconds, Unix seconds or milliseconds, or an RFC 3339 time; >= 0."""
    if not text or len(text) > 64:
        return None
    match = _SPAN(text)
    if match is not None:
        return sum(float(part) * ms for part, ms in zip(match.groups(), _MS, strict=True) if part)
    try:
        value = float(text)
        if value > 1e12:
            value = value / 1000.0
        left_s = value - now_s if value > 1e9 else value
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        left_s = moment.timestamp() - now_s if moment.tzinfo is not None else 0.0
    return max(0.0, left_s * 1000.0) if left_s == left_s else None

"""Fault scripts: rules that say which requests go wrong, where, and how. Pure; `mock/distort.py` carries them out.

A rule is `{match: {...}, at: WHERE, do: WHAT, ...figures}`. Every rule that matches applies, in the order written.
WHERE: `accept` (the connection, before it is read) · `headers` (before the first byte of the reply) · `event:N` and
`content:N` (when N events, or N events with content, have been written; of a reply that is no stream: after half of its
body) · `end` (after the last event and its terminal marker, before the transfer's own end).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

import msgspec

Do = Literal[
    # the whole reply is another one
    "status",  # an error body in the dialect's shape, or `body`; `headers`, `retry_after*`, `code`
    "body",  # 200 with `text` as JSON body
    "html",  # 200 with a web page
    "empty",  # 200 without a body
    # time and the connection
    "delay",  # wait `ms`
    "stall",  # hold the connection open, silent for ever
    "reset",  # TCP RST
    "eof",  # close, whatever is still owed
    "drip",  # from here `bytes` bytes (1) every `ms` (1000)
    "slices",  # the bytes as they are, written `bytes` (1) at a time
    "truncate",  # close when `bytes` bytes (half) of the body are written, the length declared whole
    "wrong_content_length",  # declare `bytes` (10) more than is sent
    "close_after",  # answer well, then close `ms` later, unannounced: the pooled connection that goes stale
    # what stands in the reply
    "no_usage",
    "bad_usage",  # negative and 1e12
    "no_done",  # the terminal marker is missing
    "no_finish",  # the finish reason is missing
    "double_finish",
    "error_event",  # an error inside the 200 stream, then its end; `status`, `code`, `message`
    "role_then_error",  # preamble, comment and ping, then error_event
    "garbage",  # one malformed event (`text`)
    "big_event",  # one event of `bytes` (20 MiB)
    "comments",  # `count` comment lines (`text`) every `ms`; count -1: for ever
    "crlf",  # other legal line ends: `text` is crlf, cr, bom, multiline, nospace or fields
    "no_content",  # finish=stop and nothing said
    "content_filter",  # cut by the provider's filter
    "other_model",  # the reply names `text` as its model
    "bad_tool_json",  # tool arguments that are not JSON
]
_REPLACE = ("status", "body", "html", "empty")
_ANYWHERE = ("headers", "event", "content", "end")
_PLACES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_REPLACE, ("headers",)),
    **dict.fromkeys(("delay", "stall", "reset", "eof"), ("accept", *_ANYWHERE)),
    **dict.fromkeys(("drip", "garbage", "comments", "big_event", "error_event"), _ANYWHERE),
}
_DEFAULT_AT = {"garbage": "content:1", "big_event": "content:1", "error_event": "event:0", "comments": "event:0"}


class FaultError(ValueError):
    """Say that a fault rule cannot be played, and why."""


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold which requests a rule is for; what is None does not matter.

    `nth` (1-based), `every`, `times` and `probability` count the requests that meet the other conditions; the window
    `after_s` <= t < `before_s` starts when the script was installed; `header` is the value of `x-mock-fault`.
    """

    provider: str | None = None
    model: str | None = None
    stream: bool | None = None
    header: str | None = None
    nth: int | None = None
    every: int | None = None
    times: int | None = None
    probability: float | None = None
    after_s: float | None = None
    before_s: float | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Hold one rule. Figures that its `do` does not use are ignored; `ms` and `bytes` must be >= 0."""

    do: Do
    at: str = ""
    match: Match = Match()
    status: int = 500
    headers: dict[str, str] = {}
    retry_after: str | None = None  # the header's text, whatever it says: 2, 1.5, -1, NaN, 86400
    retry_after_date_s: float | None = None  # the header as an HTTP date so far ahead
    retry_after_ms: str | None = None  # the header retry-after-ms
    code: str | None = None  # e.g. insufficient_quota, context_length_exceeded
    message: str | None = None
    text: str | None = None
    ms: float | None = None
    bytes: int | None = None
    count: int | None = None

    @property
    def label(self) -> str:
        """Name the rule in the log, e.g. `reset@content:5`."""
        return f"{self.do}@{self.where}"

    @property
    def where(self) -> str:
        return self.at or _DEFAULT_AT.get(self.do, "headers")

    def place(self) -> tuple[str, int]:
        """Return WHERE as (`accept|headers|event|content|end`, N)."""
        kind, _, number = self.where.partition(":")
        return kind, int(number) if number else 0


class Facts(msgspec.Struct, frozen=True):
    """Hold what a rule may look at."""

    provider: str
    model: str = ""
    stream: bool = False
    header: str | None = None


def check_rule(rule: Rule) -> None:
    """Raise FaultError if `at` is not a place, or not one where `do` can happen, or a figure is out of bounds."""
    kind, colon, number = rule.where.partition(":")
    if kind not in ("accept", *_ANYWHERE) or (kind in ("event", "content")) != bool(colon):
        raise FaultError(f"at: {rule.at!r} is not accept, headers, event:N, content:N or end")
    if colon and not number.isdecimal():
        raise FaultError(f"at: {rule.at!r} needs a number after the colon")
    places = _PLACES.get(rule.do, _ANYWHERE)
    if kind not in places:
        raise FaultError(f"do: {rule.do} cannot happen at {kind}, only at {', '.join(places)}")
    if kind == "accept" and (rule.match.model, rule.match.stream, rule.match.header) != (None, None, None):
        raise FaultError("at: accept knows no model, stream or header yet")
    if (rule.ms or 0) < 0 or (rule.bytes or 0) < 0 or not 100 <= rule.status <= 599:
        raise FaultError("needs ms >= 0, bytes >= 0, 100 <= status <= 599")
    if (rule.match.every or 1) < 1 or (rule.match.nth or 1) < 1 or not 0 <= (rule.match.probability or 0) <= 1:
        raise FaultError("match: needs every >= 1, nth >= 1, 0 <= probability <= 1")


def rules_of(values: Iterable[Rule | dict[str, object]]) -> tuple[Rule, ...]:
    """Return checked rules of plain values. Raises FaultError."""
    try:
        rules = tuple(value if isinstance(value, Rule) else msgspec.convert(value, Rule) for value in values)
    except msgspec.ValidationError as error:
        raise FaultError(str(error)) from error
    for rule in rules:
        check_rule(rule)
    return rules


class Script:
    """Hold rules and how often each was met. Draws depend on the seed, the rule's place and its count alone."""

    def __init__(self, rules: Iterable[Rule], seed: int, now_s: float) -> None:
        self.rules = tuple(rules)
        self._seed = seed
        self._start_s = now_s
        self._met = [0] * len(self.rules)
        self._used = [0] * len(self.rules)

    def pick(self, facts: Facts, now_s: float, *, accept: bool = False) -> tuple[Rule, ...]:
        """Return the rules for this request, or for this connection with `accept`, and count them."""
        if not self.rules:
            return ()
        elapsed_s = now_s - self._start_s
        return tuple(
            rule
            for index, rule in enumerate(self.rules)
            if (rule.where == "accept") is accept and self._takes(index, rule.match, facts, elapsed_s)
        )

    def _takes(self, index: int, match: Match, facts: Facts, elapsed_s: float) -> bool:
        if not _meets(match, facts) or not (match.after_s or 0.0) <= elapsed_s < (match.before_s or float("inf")):
            return False
        self._met[index] = count = self._met[index] + 1
        if match.nth is not None and count != match.nth:
            return False
        if match.every is not None and count % match.every:
            return False
        if match.times is not None and self._used[index] >= match.times:
            return False
        if match.probability is not None:
            draw = random.Random(f"{self._seed}:{index}:{count}").random()
            if draw >= match.probability:
                return False
        self._used[index] += 1
        return True


def _meets(match: Match, facts: Facts) -> bool:
    return (
        (match.provider is None or match.provider == facts.provider)
        and (match.model is None or match.model == facts.model)
        and (match.stream is None or match.stream == facts.stream)
        and (match.header is None or match.header == facts.header)
    )

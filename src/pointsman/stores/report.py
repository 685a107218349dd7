"""Report: what may be asked of a ledger in one question, and what is answered, whatever engine answers.

One question has measures, up to MOST_GROUPS dimensions, perhaps a grain of time, and conditions. MEASURES and DIMENSIONS are
all there is to ask for; `stores/report_sql.py` makes statements of them. Sums are exact integers; quotients are made of them
here, once, so that they are the same whoever added up. Quantiles are nearest rank: of N positive values the ceil(q*N)-th.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol

import msgspec

from pointsman.stores.browsing import NO_ERROR

TAG = "tag:"  # `tag:NAME` groups by what follows `NAME:` in a tag
TAG_NAME = re.compile(TAG + r".{1,64}", re.S)
MOST_GROUPS = 2  # dimensions in one question
MOST_ROWS = 100_000  # of one answer, and that are put into an order that SQL does not know
MOST_VALUES = 20  # that one dimension may be equal to
MOST_CONDITIONS = 8  # dimensions with a condition
Base = Literal["requests", "attempts"]
Grain = Literal["hour", "day", "week", "month"]
BASES: tuple[Base, ...] = ("requests", "attempts")
GRAINS: tuple[Grain, ...] = ("hour", "day", "week", "month")
PERCENTS = (50, 90, 95, 99)
END_MS = 1 << 62  # later than any request

# What usage may be grouped by -> the column that holds it.
GROUPS = {
    "route": "route",
    "model": "model",
    "provider": "provider",
    "deployment": "deployment",
    "key": "key",
    "project": "project",
    "team": "team",
    "organisation": "organisation",
    "day": "day",
    "outcome": "outcome",
    "strategy": "strategy",
    "asked": "asked_model",
    "served": "served_model",
    "kind": "kind",
    "config": "config_version",
    "arm": "arm",
    "degraded": "degraded",
    "session": "session",
    "cache": "cache",
}
# Dimensions that are made of columns -> the expression over `r`. All are text, so that a condition is too.
_HOUR = "(r.at_ms % 86400000 - r.at_ms % 3600000) {divide} 3600000 + 100"
MADE: dict[str, str] = {
    "stream": "CASE WHEN r.stream = 1 THEN 'stream' ELSE 'whole' END",
    "status": "CAST(r.status AS TEXT)",
    "charge": "r.charge_state",
    "usage": "r.usage_source",
    "hour_of_day": f"substr(CAST({_HOUR} AS TEXT), 2)",
    "attempt": "CAST(r.n AS TEXT)",
}
ONLY_REQUESTS = frozenset({"degraded", "cache"})  # what a single attempt has not
ONLY_ATTEMPTS = frozenset({"attempt"})


class Measure(msgspec.Struct, frozen=True):
    """Hold one thing to ask for. Exactly one of these is set: `sql`, an aggregate of integers over `r`; `quantile`, a column
    and a percentage; `quotient`, two measures and what each is multiplied with; `judged`, a sum of what feedback said."""

    unit: Literal["count", "tokens", "nano", "us", "share", "tokens_per_s", "score"]
    told: str
    sql: str = ""
    quantile: tuple[str, int] | None = None
    quotient: tuple[str, str, int, int] | None = None
    judged: str = ""
    bases: tuple[Base, ...] = ("requests", "attempts")


_OK = ", ".join(f"'{outcome}'" for outcome in NO_ERROR)
_R: tuple[Base, ...] = ("requests",)
_A: tuple[Base, ...] = ("attempts",)
_STREAMED = "r.stream = 1 AND r.ttft_us > 0 AND r.total_us > r.ttft_us AND r.output_tokens > 0"


def _count(condition: str, told: str, *bases: Base) -> Measure:
    return Measure("count", told, f"COUNT(*) FILTER (WHERE {condition})", bases=bases or ("requests", "attempts"))


def _sum(unit: Literal["count", "tokens", "nano", "us"], value: str, told: str, *bases: Base) -> Measure:
    return Measure(unit, told, f"COALESCE(SUM({value}), 0)", bases=bases or ("requests", "attempts"))


def _quotient(unit: Any, parts: str, told: str, *bases: Base, times: tuple[int, int] = (1, 1)) -> Measure:
    upper, lower = parts.split("/")
    return Measure(unit, told, quotient=(upper, lower, *times), bases=bases or ("requests", "attempts"))


def _quantiles(name: str, told: str, *bases: Base) -> dict[str, Measure]:
    return {
        f"{name}_p{percent}_us": Measure(
            "us", f"{told}: the {percent}th percentile.", quantile=(f"{name}_us", percent), bases=bases or (*_R, *_A)
        )
        for percent in PERCENTS
    }


MEASURES: dict[str, Measure] = {
    "requests": Measure("count", "Requests.", "COUNT(*)", bases=_R),
    "attempts": Measure("count", "Sends.", "COUNT(*)", bases=_A),
    "errors": _count(f"r.outcome NOT IN ({_OK})", "Outcomes other than ok, degraded and client_gone."),
    "error_rate": _quotient("share", "errors/requests", "errors of requests.", *_R),
    "attempt_error_rate": _quotient("share", "errors/attempts", "errors of attempts.", *_A),
    "failovers": _count(
        "r.attempts > 1 AND r.deployment <> r.planned AND r.planned <> ''", "Ended by another than was drawn.", *_R
    ),
    "failover_rate": _quotient("share", "failovers/requests", "failovers of requests.", *_R),
    "sends": _sum("count", "r.attempts", "Attempts of the requests.", *_R),
    "degraded": _count("r.degraded <> ''", "Answered by a rung of the ladder.", *_R),
    "recovered": _count("r.recovered = 1", "Their worker died.", *_R),
    "hits": _count("r.cached_id <> ''", "Answered with a kept answer.", *_R),
    "looked": _count("r.cache NOT IN ('', 'off')", "For which a kept answer was looked for.", *_R),
    "hit_rate": _quotient("share", "hits/looked", "hits of looked.", *_R),
    "saved_nano": _sum("nano", "r.saved_nano", "What the answers of hits had cost.", *_R),
    "saved_unpriced": _count("r.cached_id <> '' AND r.saved_nano IS NULL", "Hits whose answer had no price.", *_R),
    "input_tokens": _sum("tokens", "r.input_tokens", "All tokens read."),
    "output_tokens": _sum("tokens", "r.output_tokens", "All tokens written."),
    "cached_tokens": _sum("tokens", "r.cache_read_tokens", "Of those read, from a provider's prompt cache."),
    "cache_write_5m_tokens": _sum("tokens", "r.cache_write_5m_tokens", "Of those read, kept for 5 minutes."),
    "cache_write_1h_tokens": _sum("tokens", "r.cache_write_1h_tokens", "Of those read, kept for an hour."),
    "reasoning_tokens": _sum("tokens", "r.reasoning_tokens", "Of those written, thinking."),
    "input_audio_tokens": _sum("tokens", "r.input_audio_tokens", "Of those read, audio."),
    "output_audio_tokens": _sum("tokens", "r.output_audio_tokens", "Of those written, audio."),
    "usage_estimated": _count("r.usage_source = 'estimated'", "Whose tokens are estimated."),
    "usage_unknown": _count("r.usage_source = 'unknown'", "Whose tokens are unknown."),
    "measured": _count("r.charge_state = 'measured'", "With a measured charge."),
    "measured_nano": _sum("nano", "CASE WHEN r.charge_state = 'measured' THEN r.charge_nano END", "Measured charges."),
    "estimated": _count("r.charge_state = 'estimated'", "With an estimated charge."),
    "estimated_nano": _sum("nano", "CASE WHEN r.charge_state = 'estimated' THEN r.charge_nano END", "Estimated charges."),
    "unpriced": Measure("count", "Whose charge is unknown.", "COUNT(*) - COUNT(r.charge_nano)"),
    "measured_tokens": _sum(
        "tokens",
        "CASE WHEN r.charge_state = 'measured' THEN r.input_tokens + r.output_tokens END",
        "Tokens of those with a measured charge.",
    ),
    "nano_per_request": _quotient("nano", "measured_nano/measured", "Of one of measured, hits included.", *_R),
    "nano_per_1k_tokens": _quotient("nano", "measured_nano/measured_tokens", "Of 1000 measured_tokens.", times=(1_000, 1)),
    **_quantiles("ttft", "Time to the first content, of those that had any"),
    **_quantiles("total", "Time to the end"),
    **_quantiles("overhead", "The router's own part", *_R),
    **_quantiles("connect", "Time for a connection, where one was opened"),
    "streamed_tokens": _sum("tokens", f"CASE WHEN {_STREAMED} THEN r.output_tokens END", "Output of streams with content."),
    "streamed_us": _sum("us", f"CASE WHEN {_STREAMED} THEN r.total_us - r.ttft_us END", "How long these wrote."),
    "tokens_per_s": _quotient(
        "tokens_per_s", "streamed_tokens/streamed_us", "streamed_tokens a second of streamed_us.", times=(1_000_000, 1)
    ),
    "keys": Measure("count", "Different keys.", "COUNT(DISTINCT CASE WHEN r.key <> '' THEN r.key END)"),
    "sessions": Measure(
        "count",
        "Different sessions, each of one key.",
        "COUNT(DISTINCT CASE WHEN r.session <> '' THEN r.key || '\x1f' || r.session END)",
    ),
    "feedback_count": Measure("count", "Requests and sessions that somebody judged with a score.", judged="count", bases=_R),
    "feedback_micro": Measure("count", "Their last scores, added up, in millionths.", judged="micro", bases=_R),
    "feedback_score": _quotient(
        "score", "feedback_micro/feedback_count", "Mean of the last scores, 0 to 1.", *_R, times=(1, 1_000_000)
    ),
    "implicit_count": Measure("count", "Requests that an implicit signal says something of.", judged="implied", bases=_R),
    "implicit_micro": Measure("count", "Their scores, added up, in millionths.", judged="implied_micro", bases=_R),
    "implicit_score": _quotient(
        "score", "implicit_micro/implicit_count", "Mean of what implicit signals say, 0 to 1.", *_R, times=(1, 1_000_000)
    ),
    "thumbs": Measure("count", "Of those of feedback_count, judged with a thumb.", judged="thumbs", bases=_R),
    "thumbs_up": Measure("count", "Of these, upwards.", judged="up", bases=_R),
    "thumbs_up_share": _quotient("share", "thumbs_up/thumbs", "thumbs_up of thumbs.", *_R),
}  # fmt: skip
JUDGED = ("count", "micro", "up", "thumbs", "implied", "implied_micro")  # in the order of the statement


class ReportError(ValueError):
    """Say what of a question cannot be asked; `what` is the part of it."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class Question(msgspec.Struct, frozen=True):
    """Ask for measures. `by`: at most MOST_GROUPS dimensions; `every`: and a grain of UTC time before them; `where`: equal to
    one of these, by dimension. Times are Unix milliseconds, `until_ms` is left out. `order`: a measure, the highest first,
    or a dimension or `time`, ascending; "": by time where there is a grain, else the first measure."""

    measures: tuple[str, ...]
    by: tuple[str, ...] = ()
    every: Grain | None = None
    where: dict[str, tuple[str, ...]] = {}
    since_ms: int = 0
    until_ms: int = END_MS
    order: str = ""
    most: int = 1_000
    of: Base = "requests"


class Column(msgspec.Struct, frozen=True):
    """Hold what a column of the answer is; the unit of a dimension is `text`. Charges are nano-dollars."""

    name: str
    unit: str


class Report(msgspec.Struct, frozen=True):
    """Hold an answer: rows and the total over all, those beyond `most` included. What cannot be said, such as a quantile of
    nothing, is None. `cut`: there are more rows."""

    question: Question
    columns: list[Column]
    rows: list[tuple[Any, ...]]
    total: tuple[Any, ...]
    cut: bool = False


class Tokens(msgspec.Struct, frozen=True):
    """Hold what requests with measured usage and a measured charge used, for one route and one class of prices. `tier`: how
    many of the bounds in tokens their input is over; `window`: how many of the moments of the day they come after."""

    group: tuple[str, ...]
    route: str
    tier: int
    window: int
    requests: int
    counts: tuple[int, ...]  # as core.usage.Usage has them
    charged_nano: int
    left_out: int  # requests beside these: estimated, unpriced, answered without a provider


class Asker(Protocol):
    """Answer questions; every method raises LedgerError."""

    def report(self, question: Question) -> Report: ...

    def tokens(self, question: Question, over: tuple[int, ...], moments: tuple[int, ...]) -> list[Tokens]:
        """Return what the requests of a question used, by its groups; `over`: bounds in input tokens, `moments`: minutes of the
        UTC day, both ascending. Raise ReportError when there are more than MOST_ROWS."""
        ...

    def newest_policy(self) -> bytes | None:
        """Return what decides in the config version of the newest request, as it was kept."""
        ...

    def interrupt(self) -> None:
        """End the question under way, from another thread: it raises LedgerBusy."""
        ...


def checked(question: Question) -> Question:
    """Return a question that can be asked. Raise ReportError."""
    q = question
    if q.of not in BASES:
        raise ReportError("of", "asks of requests or of attempts")
    if not q.measures:
        raise ReportError("measure", "name at least one measure")
    for name in q.measures:
        if name not in measures_of(q.of):
            raise ReportError("measure", f"there is no measure {name[:40]!r}; measures: {', '.join(measures_of(q.of))}")
    if len(q.by) > MOST_GROUPS or len(set(q.by)) < len(q.by):
        raise ReportError("by", f"name at most {MOST_GROUPS} different dimensions")
    for what, names in (("by", q.by), ("where", q.where)):
        for name in names:
            if name not in dimensions_of(q.of) and not TAG_NAME.fullmatch(name):
                known = ", ".join(dimensions_of(q.of))
                raise ReportError(what, f"there is no dimension {name[:40]!r}; dimensions: {known}, {TAG}NAME")
    if len(q.where) > MOST_CONDITIONS or any(not 0 < len(values) <= MOST_VALUES for values in q.where.values()):
        raise ReportError("where", f"takes at most {MOST_CONDITIONS} dimensions with at most {MOST_VALUES} values each")
    if q.every is not None and q.every not in GRAINS:
        raise ReportError("every", f"is one of {', '.join(GRAINS)}")
    if not 1 <= q.most <= MOST_ROWS:
        raise ReportError("most", f"is a whole number from 1 to {MOST_ROWS}")
    if q.order and q.order not in (*q.measures, *q.by, *(("time",) if q.every else ())):
        raise ReportError("order", "is one of the measures or dimensions that are asked for")
    return q


def measures_of(base: Base) -> list[str]:
    return [name for name, measure in MEASURES.items() if base in measure.bases]


def dimensions_of(base: Base) -> list[str]:
    without = ONLY_ATTEMPTS if base == "requests" else ONLY_REQUESTS
    return [name for name in (*GROUPS, *MADE) if name not in without]


def columns_of(question: Question) -> list[Column]:
    """Return what the columns of its answer are."""
    names = (*(("time",) if question.every else ()), *question.by)
    return [
        *(Column(name, "text") for name in names),
        *(Column(name, MEASURES[name].unit) for name in question.measures),
    ]

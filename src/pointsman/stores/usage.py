"""Usage: sums over the rows of the ledger: what may be asked, and what is answered."""

from __future__ import annotations

import msgspec


class UsageQuery(msgspec.Struct, frozen=True):
    """Ask for sums. `by` are at most MOST_GROUPS names of GROUPS; times are Unix milliseconds."""

    by: tuple[str, ...] = ("route",)
    since_ms: int = 0
    most: int = 1_000  # groups, those with most requests first


class UsageRow(msgspec.Struct, frozen=True):
    """Hold the sums of one group. Charges are nano-dollars; `unpriced` counts requests whose charge is unknown;
    percentiles are microseconds to first content over requests that had content, None when none had.

    `feedback` is the mean of the scores that were given last, 0 to 1, one for each request and one for each session that was
    judged; None when none was. `feedback_count` is how many those are. `implicit` and `implicit_count` are the same of what
    people said by what they did.
    """

    group: tuple[str, ...]
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    measured_nano: int
    estimated_nano: int
    unpriced: int
    errors: int
    failovers: int
    degraded: int  # answered by a rung of the ladder
    recovered: int
    hits: int  # answered with an answer that was kept
    saved_nano: int  # what those answers had cost; none of it is charged again
    ttft_p50_us: int | None
    ttft_p95_us: int | None
    feedback: float | None = None
    feedback_count: int = 0
    implicit: float | None = None
    implicit_count: int = 0


class FeedbackCounts(msgspec.Struct, frozen=True):
    """Hold how many feedbacks were given, and how many of them name nothing that is in the ledger."""

    given: int
    unmatched: int

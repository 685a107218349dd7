"""The ledger: the queryable rows of what was admitted, whatever back end keeps them.

Rows are plain tuples in the order of the column tables below, made here by pure functions from journal records, so
that every back end stores the same. One request row per admitted request, one attempt row per send, one decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, Protocol

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, AttemptRow, Settled

Row = tuple[object, ...]
RECOVERED = "recovered"  # the outcome of a request whose worker died before it settled
ADMISSION_LOST = "admission lost"  # the reason of a row whose Admitted record was damaged
MESSAGE_CHARACTERS = 500  # kept of a provider's error message
NO_ERROR = ("ok", "client_gone")  # outcomes that are nobody's failure


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOKEN_COLUMNS = _columns(
    "input_tokens output_tokens cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens reasoning_tokens"
    " input_audio_tokens output_audio_tokens usage_source"
)  # as core.usage.Usage has them
REQUEST_COLUMNS = (
    *_columns("id client_id at_ms day key project team organisation kind stream asked_model route strategy planned"),
    *_columns("deployment provider model served_model outcome status attempts"),
    *TOKEN_COLUMNS,
    *_columns("charge_nano charge_state hold_nano price_version config_version reason probability"),
    *_columns("queue_us decide_us connect_us ttft_us total_us overhead_us recovered"),
)
ATTEMPT_COLUMNS = (
    *_columns("request_id n deployment provider model served_model outcome status"),
    *_columns("started_us connect_us ttft_us total_us"),
    *TOKEN_COLUMNS,
    *_columns("charge_nano charge_state price_version message"),
)

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
}
MOST_GROUPS = 2  # columns in one grouping


class LedgerError(Exception):
    """Say why the ledger cannot be read or written.

    LedgerError
    ├── LedgerMissing   there is none
    └── LedgerBusy      it did not answer in time: locked, or the question is too big
    """


class LedgerMissing(LedgerError):
    """Say that there is no ledger at a place."""


class LedgerBusy(LedgerError):
    """Say that the ledger did not answer in time."""


class Place(msgspec.Struct, frozen=True):
    """Hold what a deployment's name stands for in one config version, for rows that no attempt tells of."""

    provider: str
    model: str
    price_version: str


class Mark(msgspec.Struct, frozen=True):
    """Hold how far a journal segment is booked: `offset` is the oldest byte still needed, `skipped` the damaged bytes
    met so far."""

    offset: int
    skipped: int = 0


class Batch(msgspec.Struct):
    """Hold rows and the marks that go with them: written together or not at all."""

    requests: list[Row] = []
    attempts: list[Row] = []
    decisions: list[Row] = []
    marks: dict[str, Mark] = {}


class UsageQuery(msgspec.Struct, frozen=True):
    """Ask for sums. `by` are at most MOST_GROUPS names of GROUPS; times are Unix milliseconds."""

    by: tuple[str, ...] = ("route",)
    since_ms: int = 0
    most: int = 1_000  # groups, those with most requests first


class UsageRow(msgspec.Struct, frozen=True):
    """Hold the sums of one group. Charges are nano-dollars; `unpriced` counts requests whose charge is unknown;
    percentiles are microseconds to first content over requests that had content, None when none had."""

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
    recovered: int
    ttft_p50_us: int | None
    ttft_p95_us: int | None


class Entry(msgspec.Struct, frozen=True):
    """Hold everything known of one request: its row and those of its attempts by column name, and its Decision; None
    when that was lost or written in another format."""

    request: dict[str, Any]
    attempts: list[dict[str, Any]]
    decision: Decision | None


class Writer(Protocol):
    """Keep rows. One writer per ledger."""

    def write(self, batch: Batch) -> int:
        """Store a batch in one transaction and return how many requests were new; rows already there stay as they
        are, so that writing again changes nothing (I2). Raise LedgerError."""
        ...

    def marks(self) -> dict[str, Mark]: ...

    def forget(self, segments: list[str]) -> None:
        """Drop the marks of segments that are no more."""
        ...


class Reader(Protocol):
    """Answer questions. Any number of readers beside the writer; every method raises LedgerError."""

    def usage(self, query: UsageQuery) -> tuple[list[UsageRow], UsageRow]:
        """Return the groups and the total over all rows, those beyond `query.most` included."""
        ...

    def find(self, text: str) -> list[str]:
        """Return the ids a text may mean: the id itself, ids it begins, requests with that client id; 10 at most."""
        ...

    def entry(self, id: str) -> Entry | None: ...

    def recent(self, count: int, after: int | None = None) -> list[dict[str, Any]]:
        """Return the newest request rows, oldest first, with `seq`, the order of booking; only those after a seq, if
        one is given, and then the oldest of them."""
        ...


def request_row(admitted: Admitted | None, settled: Settled, places: Mapping[str, Place]) -> Row:
    """Return the request row of an ended request. Without its Admitted record the row says so, and holds the charge."""
    attempts = settled.attempts
    last = attempts[-1] if attempts else None
    planned = _planned(admitted.decision) if admitted is not None else ""
    if last is not None:
        served: Row = (last.deployment, last.provider, last.model, last.served_model)
        price_version, connect_us = last.price_version, last.connect_us
    else:
        place = places.get(planned, NO_PLACE)
        served = (planned, place.provider, place.model, "")
        price_version, connect_us = place.price_version, 0
    return (
        *_asked(admitted, settled, planned),
        *served,
        settled.outcome,
        settled.status,
        len(attempts),
        *_tokens(attempts),
        None if settled.charge_nano < 0 else settled.charge_nano,
        settled.charge_state,
        *_planned_for(admitted, price_version),
        settled.queue_us,
        settled.decide_us,
        connect_us,
        settled.ttft_us,
        settled.total_us,
        settled.overhead_us,
        0,
    )


def recovered_row(admitted: Admitted, places: Mapping[str, Place]) -> Row:
    """Return the request row of a request whose worker died: charged with its hold, as an estimate (fault 79)."""
    planned = _planned(admitted.decision)
    place = places.get(planned, NO_PLACE)
    unpriced = admitted.hold_nano < 0
    return (
        *_asked(admitted, None, planned),
        planned,
        place.provider,
        place.model,
        "",
        RECOVERED,
        0,
        0,
        *_NO_TOKENS,
        None if unpriced else admitted.hold_nano,
        "unpriced" if unpriced else "estimated",
        *_planned_for(admitted, place.price_version),
        0,
        0,
        0,
        0,
        0,
        0,
        1,
    )


def attempt_rows(settled: Settled) -> list[Row]:
    """Return the attempt rows of an ended request, numbered from 1."""
    return [
        (
            settled.id,
            n,
            a.deployment,
            a.provider,
            a.model,
            a.served_model,
            a.outcome,
            a.status,
            a.started_us,
            a.connect_us,
            a.ttft_us,
            a.total_us,
            *msgspec.structs.astuple(a.usage),
            None if a.charge_nano < 0 else a.charge_nano,
            a.charge_state,
            a.price_version,
            a.message[:MESSAGE_CHARACTERS],
        )
        for n, a in enumerate(settled.attempts, 1)
    ]


NO_PLACE = Place("", "", "")
_NO_TOKENS: Row = (0, 0, 0, 0, 0, 0, 0, 0, "unknown")
_SOURCES: tuple[Literal["measured", "estimated", "unknown"], ...] = ("measured", "estimated", "unknown")  # best first


def _asked(admitted: Admitted | None, settled: Settled | None, planned: str) -> Row:
    """Return the columns `id` to `planned`."""
    if admitted is None:
        assert settled is not None
        at_ms = settled.at_ms - settled.total_us // 1000
        return (settled.id, "", at_ms, day_of(at_ms // DAY_MS), *[""] * 5, 0, *[""] * 4)
    a = admitted
    d = a.decision
    return (
        a.id,
        a.client_id,
        a.at_ms,
        day_of(a.at_ms // DAY_MS),
        a.key,
        a.project,
        a.team,
        a.organisation,
        a.kind,
        int(a.stream),
        a.asked_model,
        d.route,
        d.strategy,
        planned,
    )


def _planned_for(admitted: Admitted | None, price_version: str) -> Row:
    """Return the columns `hold_nano` to `probability`."""
    if admitted is None:
        return (None, price_version, "", ADMISSION_LOST, None)
    d = admitted.decision
    hold = None if admitted.hold_nano < 0 else admitted.hold_nano
    return (hold, price_version, admitted.config_version, d.reason, d.probabilities[0] if d.probabilities else None)


def _planned(decision: Decision) -> str:
    """Return the deployment that was drawn; "" when none was eligible."""
    return decision.candidates[decision.order[0]] if decision.order else ""


def _tokens(attempts: tuple[AttemptRow, ...]) -> Row:
    """Return the token columns: sums over the attempts, and the weakest source among those that used any."""
    if len(attempts) == 1:
        return msgspec.structs.astuple(attempts[0].usage)
    parts = [msgspec.structs.astuple(a.usage) for a in attempts if a.usage.source != "unknown" or a.charge_nano]
    if not parts:
        return _NO_TOKENS
    *counts, sources = zip(*parts, strict=True)
    return (*map(sum, counts), max(sources, key=_SOURCES.index))


DAY_MS = 86_400_000


@lru_cache(maxsize=64)
def day_of(number: int) -> str:
    """Return the UTC date, as ISO text, of a day counted from 1970-01-01."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()

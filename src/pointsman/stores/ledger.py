"""The ledger: the queryable rows of what was admitted, whatever back end keeps them.

Rows are plain tuples in the order of the column tables below, made here by pure functions from journal records, so
that every back end stores the same. One request row per admitted request, one attempt row per send, one decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import (
    FORMAT,
    WHOLE,
    Admitted,
    AttemptRow,
    Feedback,
    Filed,
    Recorded,
    Settled,
    encode_recorded,
)
from pointsman.core.head import Head, head_of
from pointsman.core.signals import Asking
from pointsman.stores.browsing import NO_ERROR as NO_ERROR
from pointsman.stores.browsing import Browser
from pointsman.stores.invoices import InvoiceWriter
from pointsman.stores.report import GROUPS as GROUPS
from pointsman.stores.report import MOST_GROUPS as MOST_GROUPS
from pointsman.stores.report import TAG as TAG
from pointsman.stores.report import Asker
from pointsman.stores.sql import Db, Values
from pointsman.stores.usage import FeedbackCounts as FeedbackCounts
from pointsman.stores.usage import UsageQuery as UsageQuery
from pointsman.stores.usage import UsageRow as UsageRow

Row = tuple[object, ...]
Column = Sequence[Any]
RECOVERED = "recovered"  # the outcome of a request whose worker died before it settled
ADMISSION_LOST = "admission lost"  # the reason of a row whose Admitted record was damaged
MESSAGE_CHARACTERS = 500  # kept of a provider's error message


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOKEN_COLUMNS = _columns(
    "input_tokens output_tokens cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens reasoning_tokens"
    " input_audio_tokens output_audio_tokens usage_source"
)  # as core.usage.Usage has them
SHOWN_COLUMNS = (
    *_columns("id client_id at_ms day key project team organisation kind stream asked_model route strategy planned"),
    *_columns("deployment provider model served_model outcome status attempts"),
    *TOKEN_COLUMNS,
    *_columns("charge_nano charge_state hold_nano price_version config_version reason probability"),
    *_columns("queue_us decide_us connect_us ttft_us total_us overhead_us recovered"),
    *_columns("path arm arm_probability degraded session tags cache cached_id cached_ms saved_nano"),
)
# What a request's only attempt has that does not follow from the rest of the row; NULL: its attempts, if any, are in `sends`.
LONE_COLUMNS = _columns("lone_started_us lone_ttft_us lone_total_us")
REQUEST_COLUMNS = (*SHOWN_COLUMNS, *LONE_COLUMNS)
ATTEMPT_COLUMNS = (
    *_columns("request_id n deployment provider model served_model outcome status"),
    *_columns("started_us connect_us ttft_us total_us"),
    *TOKEN_COLUMNS,
    *_columns("charge_nano charge_state price_version message"),
)
FEEDBACK_COLUMNS = _columns(
    "id at_ms key project team organisation request_id session score thumbs label comment correction source"
)


class LedgerError(Exception):
    """Say why the ledger cannot be read or written.

    LedgerError
    ├── LedgerMissing   there is none
    ├── LedgerAway      it cannot be reached now
    └── LedgerBusy      it did not answer in time: locked, or the question is too big
    """


class LedgerMissing(LedgerError):
    """Say that there is no ledger at a place."""


class LedgerAway(LedgerError):
    """Say that the server of the ledger cannot be reached now; what is there is there."""


class LedgerBusy(LedgerError):
    """Say that the ledger did not answer in time."""


class Place(msgspec.Struct, frozen=True):
    """Hold what a deployment's name stands for in one config version, for rows that no attempt tells of."""

    provider: str
    model: str
    price_version: str


Places = Mapping[str, Place]  # by deployment
# Of a decision: what the row of its request says of it, None when its policy or its route is not known here any more; its own
# row, None where it is kept as it was recorded, or not at all; and what each deployment of its config version stands for.
Made = tuple[Head | None, Row | None, Places]


class Decided(msgspec.Struct, frozen=True, gc=False):
    """Hold a decision and what it predicted the call to cost, in nano-dollars; -1: unpriced."""

    decision: Decision
    hold_nano: int

    @property
    def head(self) -> Head:
        """Return what the row of its request says of it."""
        return head_of(self.decision, self.hold_nano)


class Mark(msgspec.Struct, frozen=True):
    """Hold how far a journal segment is booked: `offset` is the oldest byte still needed, `skipped` the damaged bytes
    met so far."""

    offset: int
    skipped: int = 0


class Batch(msgspec.Struct):
    """Hold rows and the marks that go with them: written together or not at all."""

    requests: list[Row] = []
    columns: list[Column] = []  # in place of `requests`, where they were made together
    attempts: list[Row] = []
    decisions: list[Row] = []
    recorded: list[Filed | None] = []  # beside them, or empty: those whose decision is kept as it was recorded
    feedback: list[Row] = []
    askings: list[Asking] = []  # requests that left a Footprint
    signals: list[Feedback] = []
    signalled: int = 0  # how many signals were new: set by who writes
    marks: dict[str, Mark] = {}
    ended: list[tuple[Filed | None, Settled | None]] = []  # what the rows were made of, for observers; never written

    def request_columns(self) -> list[Column]:
        """Return the requests as columns; none where there are none. Raise LedgerError for a row that has not as many."""
        return self.columns or (columns_of(self.requests, REQUEST_COLUMNS) if self.requests else [])


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> list[Column]:
    """Return rows of a table as its columns. Raise LedgerError for a row that has not as many."""
    try:
        columns: list[Column] = list(zip(*rows, strict=True))
    except ValueError:
        columns = []
    if len(columns) != len(names):
        raise LedgerError(f"a row has not as many columns as {names[0]} and those behind it")
    return columns


class Entry(msgspec.Struct, frozen=True):
    """Hold everything known of one request: its row and those of its attempts by column name, and its Decision; None
    when that was lost, written in another format, or is to be made again from what was `recorded` under the `policy` of its
    version, as it was kept. `feedback`: what was given for it or its session, oldest first."""

    request: dict[str, Any]
    attempts: list[dict[str, Any]]
    decision: Decision | None
    feedback: list[dict[str, Any]] = []
    recorded: Recorded | None = None
    policy: bytes | None = None


class Writer(InvoiceWriter, Protocol):
    """Keep rows. One writer per data folder, used by one thread at a time; marks are those of its folder."""

    def write(self, batch: Batch) -> int:
        """Store a batch in one transaction and return how many requests were new; rows already there stay as they
        are, so that writing again changes nothing (I2). Raise LedgerError."""
        ...

    def marks(self) -> dict[str, Mark]: ...

    def keep_policy(self, version: str, blob: bytes) -> None:
        """Store what decides in a config version; once."""
        ...

    def policy(self, version: str) -> bytes | None: ...

    def forget(self, segments: list[str]) -> None:
        """Drop the marks of segments that are no more."""
        ...

    def sync(self) -> None:
        """Make what was written survive a loss of power. Raise LedgerError."""
        ...

    def changing(self) -> AbstractContextManager[Db]:
        """Do what is done inside in one transaction, beside what is booked."""
        ...

    def close(self) -> None: ...


class Reader(Browser, Asker, Protocol):
    """Answer questions. Any number of readers beside the writers; every method raises LedgerError."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def of(self, organisation: str) -> Self:
        """Return this reader, which from now on sees the requests and feedback of one organisation alone, by its name (S4);
        "" changes nothing."""
        ...

    def ask(self, statement: str, values: Values) -> list[Any]:
        """Return the rows of a statement that reads, written as `stores/sql.py` says."""
        ...

    def usage(self, query: UsageQuery) -> tuple[list[UsageRow], UsageRow]:
        """Return the groups and the total over all rows, those beyond `query.most` included."""
        ...

    def feedback_counts(self, since_ms: int) -> FeedbackCounts:
        """Return the counts of feedback given since then, in Unix milliseconds."""
        ...

    def find(self, text: str) -> list[str]:
        """Return the ids a text may mean: the id itself, ids it begins, requests with that client id; 10 at most."""
        ...

    def entry(self, id: str) -> Entry | None: ...

    def recent(self, count: int, after: int | None = None) -> list[dict[str, Any]]:
        """Return the newest request rows, oldest first, with `seq`, the order of booking; only those after a seq, if
        one is given, and then the oldest of them."""
        ...


def recovered_row(admitted: Admitted | Filed, made: Head | None, places: Places) -> Row:
    """Return the request row of a request whose worker died: charged with its hold, as an estimate (fault 79)."""
    head = made or NO_HEAD
    planned, hold_nano = head.planned, None if head.hold_nano < 0 else head.hold_nano
    place = places.get(planned, NO_PLACE)
    return (
        *_asked(admitted, head.route or admitted.request.route),
        *(head.strategy, planned, planned, place.provider, place.model, "", RECOVERED, 0, 0),
        *_NO_TOKENS,
        *(hold_nano, "unpriced" if hold_nano is None else "estimated", hold_nano, place.price_version),
        *(admitted.snapshot.version, head.reason, head.probability),
        *_NO_TIMES,
        *(1, head.path, head.arm, head.arm_probability, "", admitted.session, tags_of(admitted.tags), ""),
        *NO_HIT,
        *_NOT_LONE,
    )


def decision_row(id: str, decided: Decided) -> Row:
    """Return the decision row of a request whose decision is kept as it was made."""
    return (id, WHOLE, _encode(decided.decision))


def recorded_row(filed: Filed) -> Row:
    """Return the decision row of a request whose decision is made again when somebody asks for it."""
    return (filed.request.id, FORMAT, encode_recorded(filed))


def feedback_row(feedback: Feedback) -> Row:
    """Return the row of a feedback. What it is about is looked up when it is asked for: that may be booked later."""
    id, at_ms, caller, *said = msgspec.structs.astuple(feedback)
    return (id, at_ms, *caller, *said)


def is_lone(settled: Settled) -> bool:
    """Tell whether a request has one attempt, and all of it follows from the request's row, LONE_COLUMNS included."""
    if len(settled.attempts) != 1 or settled.hit is not None:
        return False
    a = settled.attempts[0]
    if a.outcome != settled.outcome or a.status != settled.status or a.message:
        return False
    return a.charge_state != "unpriced" or a.charge_nano < 0


def attempt_rows(settled: Settled) -> list[Row]:
    """Return the attempt rows of an ended request, numbered from 1; none where they follow from the request's row."""
    if is_lone(settled):
        return []
    return [attempt_row(settled.id, n, attempt) for n, attempt in enumerate(settled.attempts, 1)]


def attempt_row(id: str, n: int, a: AttemptRow) -> Row:
    """Return the row of one attempt of a request, the n-th from 1."""
    began_ms, nano = a.started_ms, a.charge_nano
    connect_ms, first_ms, total_ms = a.connected_ms - began_ms, a.answered_ms - began_ms, a.ended_ms - began_ms
    return (
        id,
        n,
        a.deployment,
        a.provider,
        a.model,
        a.served_model,
        a.outcome,
        a.status,
        round(began_ms * 1000.0) if began_ms > 0.0 else 0,
        round(connect_ms * 1000.0) if connect_ms > 0.0 else 0,
        round(first_ms * 1000.0) if first_ms > 0.0 else 0,
        round(total_ms * 1000.0) if total_ms > 0.0 else 0,
        *msgspec.structs.astuple(a.usage),
        None if nano < 0 else nano,
        a.charge_state,
        a.price_version,
        a.message[:MESSAGE_CHARACTERS],
    )


NO_PLACE = Place("", "", "")
NO_HEAD = Head("", "", "", -1, "", None)
_NO_TOKENS: Row = (0, 0, 0, 0, 0, 0, 0, 0, "unknown")
NO_HIT: tuple[str, int | None, int | None] = ("", None, None)
_NO_TIMES: Row = (0, 0, 0, 0, 0, 0)
_NOT_LONE: Row = (None, None, None)
_encode = msgspec.msgpack.Encoder().encode


def _asked(a: Admitted | Filed, route: str) -> Row:
    """Return the columns `id` to `route`, which is the one that decided, as the operator named it."""
    r, at_ms = a.request, a.at_ms
    stream = 1 if r.features.stream else 0
    return (r.id, a.client_id, at_ms, day_of(at_ms // DAY_MS), *a.caller, r.kind, stream, a.asked_model, route)


def tags_of(tags: Sequence[str]) -> str:
    """Return tags with a comma on both sides, so that one is found by `,tag,`."""
    return f",{','.join(tags)}," if tags else ""


DAY_MS = 86_400_000


@lru_cache(maxsize=64)
def day_of(number: int) -> str:
    """Return the UTC date, as ISO text, of a day counted from 1970-01-01."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()

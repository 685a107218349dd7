"""Browsing: what people who look around ask of a ledger: lists of requests, and sums of what hours have brought.

Both are quick on any number of rows: a list looks at LOOKED rows at most, sums are of the tables `hours` and `days`, not of the
requests.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from pointsman.core.reconcile import Booked
from pointsman.stores.invoices import InvoiceReader

NO_ERROR = ("ok", "client_gone", "degraded")  # outcomes that no client saw as a failure
LOOKED = 100_000  # rows that one question passes over at most, where no single index leads to what is asked for
MOST_WORDS = 4
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LATE_MS = HOUR_MS  # that a request may be booked after it came, as far as lists go

# What requests are filtered by, and hours by and grouped by: columns of both.
FIELDS = ("route", "deployment", "provider", "model", "key", "project", "team", "organisation")
TIMES = ("hour", "day")
MOST_SUMS = 500  # groups in one answer


class Search(msgspec.Struct, frozen=True):
    """Ask for requests, the newest first. `where`: equal to these, by FIELDS and `outcome`; `words` stand anywhere in what
    the row says, or in a message of a provider; `failed`: only those that clients saw fail. Times are Unix milliseconds."""

    where: dict[str, str] = {}
    words: tuple[str, ...] = ()
    failed: bool = False
    since_ms: int = 0
    before: int = 0  # only those booked before this `seq`; 0: from the newest on
    most: int = 50


class Found(msgspec.Struct, frozen=True):
    """Hold a page of a list. `next`: `before` of the next page, 0 when nothing is left; `cut`: it ends where LOOKED rows had
    been looked at, not because it is full."""

    rows: list[dict[str, Any]]
    next: int
    cut: bool = False


class Sums(msgspec.Struct, frozen=True):
    """Ask for sums over whole hours: those with the highest cost first, or the latest when a time comes first. `by`: FIELDS
    or TIMES; `where`: equal to these FIELDS. `whole_days`: from the begin of a UTC day on, which is quicker for long times,
    unless hours are asked for."""

    by: tuple[str, ...] = ()
    where: dict[str, str] = {}
    since_ms: int = 0
    most: int = 100
    whole_days: bool = False


class Sum(msgspec.Struct, frozen=True):
    """Hold the sums of one group. Charges are nano-dollars; `unpriced` are requests whose charge is unknown; `saved_nano` is
    what answers that were given again had cost. A time is given as Unix milliseconds of its begin."""

    group: tuple[str, ...]
    requests: int
    errors: int
    failovers: int
    degraded: int
    hits: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    measured_nano: int
    estimated_nano: int
    saved_nano: int


class Browser(InvoiceReader, Protocol):
    """Answer such questions; every method raises LedgerError."""

    def search(self, query: Search) -> Found:
        """Return one page of requests."""
        ...

    def booked(self, providers: tuple[str, ...], first_day: str, last_day: str) -> list[Booked]:
        """Return sums of the attempts at some providers, by UTC day (both included) of their requests."""
        ...

    def sums(self, query: Sums) -> tuple[list[Sum], Sum]:
        """Return the groups, and the sum of all, those beyond `query.most` included."""
        ...

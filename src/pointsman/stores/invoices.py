"""Invoices: what a ledger keeps of invoices and credit notes, and what it answers for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from pointsman.core.billing import Consumption
from pointsman.core.invoice import Kept

MOST_LISTED = 1_000


class Stale(Exception):
    """Say that a document was issued since the ones that an Order was reckoned with."""


Make = Callable[[str, list[Kept]], tuple[bytes, int]]  # as Order says


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for a document to be kept. `make` is given its number and the documents that belong to `credits`, and returns it and
    what is due; it does nothing else, as the ledger waits for it. `seen`: the last place of the chain that it was reckoned
    with, None where that does not count. An invoice whose customer and period have one is not made again, but for one that
    corrects it: that has `credits`, and no `upto_seq`."""

    kind: str
    series: str
    customer: str
    organisation: str
    period: str
    at_ms: int
    actor: str
    make: Make
    credits: str = ""
    seen: int | None = None
    upto_seq: int = 0
    membership: bytes = b""


class Consumed(msgspec.Struct, frozen=True):
    """Ask for sums by facts of the requests admitted from `begin_ms` to before `end_ms` (Unix milliseconds) and booked after
    the row `after` up to the row `upto`. `reckoning`: at the charges of that one, instead of those that were booked."""

    facts: tuple[str, ...]
    begin_ms: int
    end_ms: int
    after: int
    upto: int
    reckoning: str = ""


class InvoiceReader(Protocol):
    """Answer questions about what is and was billed; every method raises LedgerError."""

    def consumed(self, query: Consumed) -> list[Consumption]:
        """Return sums, by month, facts and state of the charge."""
        ...

    def newest(self) -> int:
        """Return the last row that is booked, 0 when there is none."""
        ...

    def documents(
        self, customer: str = "", period: str = "", kind: str = "", after: int = 0, most: int = MOST_LISTED
    ) -> list[Kept]:
        """Return invoices and credit notes in the order of issue; "" means any."""
        ...

    def document(self, number: str) -> Kept | None: ...

    def membership(self, sha256: str) -> bytes | None:
        """Return what decided whose a request was for invoices of this digest."""
        ...


class InvoiceWriter(Protocol):
    """Keep documents."""

    def issue(self, order: Order) -> tuple[Kept, bool]:
        """Make a document and keep it, in one transaction; return it, and whether it is new. Raise LedgerError, Stale and what
        `make` raises: nothing is kept then, and no number used."""
        ...

"""Books: the two records of each request, and feedback, written once a turn of the loop; and what must wait for them.

Everything that happens in one turn (the callbacks of one poll) is collected; when the turn ends, the records go to the
journal with one write(2), and only then the requests they admit are sent to providers and the answers they settle to
clients. So nothing leaves before it is booked, and nothing here may be cut off by an await. Feedback is acknowledged in the
same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pointsman.core.entry import Admitted, Feedback, Record, Settled, encode_records
from pointsman.gateway.answers import refusal
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.edge import Edge
from pointsman.gateway.refusals import unbooked
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import MAX_PAYLOAD, Journal, JournalError

MAX_BATCH = 512  # records of one write


class Sender(Protocol):
    """What waits for its Admitted or Feedback record."""

    def booked(self) -> None: ...
    def unbooked(self, error: JournalError) -> None: ...


class Books:
    """Collect the records of a turn, write them, and let go what waited."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics
        self._records: list[Record] = []
        self._senders: list[Sender] = []
        self._answers: list[tuple[Edge, bytes, str]] = []  # with the id of the record
        self._loop: asyncio.AbstractEventLoop | None = None
        self.first: Callable[[], None] = _nothing  # done at the end of a turn before anybody hears of it

    def admit(self, record: Admitted | Feedback, sender: Sender) -> None:
        """Keep the record; `sender` hears `booked` when it is written, before the next poll. Raise JournalError
        when no record can be kept."""
        if self.journal.full:
            self._check()
        if not self._records:
            self._begin()
        self._records.append(record)
        self._senders.append(sender)

    def settle(self, record: Settled, edge: Edge, answer: bytes) -> None:
        """Keep the Settled record and the last bytes of the answer, which leave after it is written."""
        if not self._records:
            self._begin()
        self._records.append(record)
        self._answers.append((edge, answer, record.id))
        self.metrics.noted.append(record)

    def turn(self) -> None:
        """End the turn: write the records, then let go what waited."""
        self.first()
        records, senders, answers = self._records, self._senders, self._answers
        self._records, self._senders, self._answers = [], [], []
        lost: dict[str, JournalError] = {}  # by the id of the record
        for at in range(0, len(records), MAX_BATCH):
            self._append(records[at : at + MAX_BATCH], lost)
        for edge, answer, id in answers:
            if edge.current is not None:  # what was admitted and settled in this turn, and lost, was never booked
                edge.finish(refusal(unbooked(lost[id]), request_id=id) if id in lost else answer)
        if not lost:
            for sender in senders:
                sender.booked()
            return
        waited = [record.id for record in records if isinstance(record, Admitted | Feedback)]
        for id, sender in zip(waited, senders, strict=True):
            error = lost.get(id)
            if error is None:
                sender.booked()
            else:
                sender.unbooked(error)

    def _append(self, records: list[Record], lost: dict[str, JournalError]) -> None:
        """Write records as one frame, or as several when they are longer than a frame may be; note which are `lost`."""
        payload = _encoded(records)
        if len(payload) <= MAX_PAYLOAD or len(records) == 1:
            try:
                self.journal.append(payload)
            except JournalError as error:
                lost.update((record.id, error) for record in records if isinstance(record, Admitted | Feedback))
                self._lost(error, [r for r in records if not (isinstance(r, Settled) and r.id in lost)])
        else:
            half = len(records) // 2
            self._append(records[:half], lost)
            self._append(records[half:], lost)

    def _check(self) -> None:
        self.journal.check_bound()
        if self.journal.full:
            raise JournalError("the journal has reached its bound: the ledger pump is behind")

    def _begin(self) -> None:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        loop.call_soon(self.turn)

    def _lost(self, error: JournalError, records: list[Record]) -> None:
        """Report records that could not be written. What they admit is refused, and so is feedback; what they settle is kept
        for the next write, and if that never comes it stands as admitted, so it is booked as recovered."""
        self.metrics.journal_errors += 1
        never = {
            record.id for record in records if isinstance(record, Admitted)
        }  # admitted: their end is no row either
        settled: list[Record] = [one for one in records if isinstance(one, Settled) and one.id not in never]
        if settled:
            self.journal.put_off(encode_records(settled))
        COMPLAINTS.say(f"{len(records)} records could not be written: {error}", "records_lost", records=len(records))


def _nothing() -> None:
    """Do nothing."""


def _encoded(records: list[Record]) -> bytes:
    """Return the payload of a batch. A record that cannot be encoded must not take the others with it: it is left out."""
    try:
        return encode_records(records)
    except (OverflowError, TypeError, ValueError):
        return encode_records([record for record in records if _can_be_encoded(record)])


def _can_be_encoded(record: Record) -> bool:
    try:
        encode_records([record])
    except (OverflowError, TypeError, ValueError) as error:
        COMPLAINTS.say(f"the record of {record.id} cannot be written: {error}", "records_lost", records=1)
        return False
    return True

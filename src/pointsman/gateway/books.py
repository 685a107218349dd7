"""Books: what an exchange cost, into the journal and the metrics. Synchronous: nothing here may be cut off by an await."""

from __future__ import annotations

import asyncio
import sys

from pointsman.core.entry import Admitted, AttemptRow, Settled, encode_record
from pointsman.core.pricing import Charge, ChargeState
from pointsman.observe.metrics import Finished, Metrics
from pointsman.stores.journal import Journal, JournalError

_WORST: dict[ChargeState, int] = {"measured": 0, "estimated": 1, "unpriced": 2}


class Books:
    """Write the two records of each request and count it."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics

    def admit(self, record: Admitted) -> None:
        """Write the Admitted record before the first send. Raise JournalError when it cannot be kept: then the request
        must not be sent."""
        journal = self.journal
        if journal.full:
            journal.check_bound()
            if journal.full:
                raise JournalError("the journal has reached its bound: the ledger pump is behind")
        journal.append(encode_record(record))

    def settle(self, route: str, settled: Settled) -> None:
        """Write the Settled record and count the request.

        The write may wait for the end of the loop's turn, which is still before the answer's bytes leave (the loop sends
        what was written in a turn when the turn ends), so that one write(2) serves all that ended together.
        """
        if not self.journal.has_put_off:
            asyncio.get_running_loop().call_soon(self.flush)
        self.journal.put_off(encode_record(settled))
        self.metrics.note(Finished(route, settled))

    def flush(self) -> None:
        """Write what was put off. An error is reported, never raised: the Admitted records stand, so these requests are
        booked as recovered."""
        try:
            self.journal.flush()
        except JournalError as error:
            self.metrics.journal_errors += 1
            print(f"pointsman: settlements could not be written: {error}", file=sys.stderr)


def total_of(rows: list[AttemptRow]) -> Charge:
    """Return the sum of the attempts' charges: unpriced if any is, estimated if any is."""
    if len(rows) == 1:
        row = rows[0]
        return Charge(row.charge_nano if row.charge_nano >= 0 else None, row.charge_state)
    state: ChargeState = "measured"
    nano = 0
    for row in rows:
        nano += max(0, row.charge_nano)
        if _WORST[row.charge_state] > _WORST[state]:
            state = row.charge_state
    return Charge(None if state == "unpriced" else nano, state)

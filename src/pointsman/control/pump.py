"""Pump: journal records become ledger rows, each admitted request exactly once.

Rows and marks (how far each segment is booked) are written in one transaction. After a crash the pump reads again from
the marks; what it meets twice changes nothing, because rows are kept by request id (I2). A mark never passes an
admission that has not ended, so none is lost (I1).
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from pointsman.control.replay import Policies
from pointsman.control.segment import Segment
from pointsman.core import signals
from pointsman.core.entry import Admitted, Feedback, Filed, Settled, decode_filed
from pointsman.observe.log import LOG
from pointsman.stores.journal import AWAY, LOCK_SUFFIX, NEW_SUFFIX, incarnation_of, is_alive, segments
from pointsman.stores.ledger import Batch, LedgerError, Mark, Writer, feedback_row, recovered_row
from pointsman.stores.ledger_browsing import booked
from pointsman.stores.ledger_columns import batch_of, keep_decisions

RECOVER_ROWS = 2_000  # written in one transaction
STALE_S = 60.0  # a half-made file of this age was left by a crash


Booked = Callable[[Iterable[tuple[Admitted | None, Settled | None]]], None]


class Counts(msgspec.Struct):
    """Hold what the pump did since it started, and what it sees now."""

    rows: int = 0
    signals: int = 0
    bodies_dropped: int = 0  # files of stored bodies that went before their time
    recovered: int = 0
    damaged_bytes: int = 0
    errors: int = 0
    up: int = 1  # 0: the last look at the ledger failed
    lag_bytes: int = 0  # of journal not yet read
    open_requests: int = 0  # admitted, not yet ended
    store_errors: int = 0  # of the key store, counted by the Keeper
    issuer_errors: int = 0  # of having the keys of issuers
    unsent_notices: int = 0  # messages that a channel did not take
    processes: int = 1  # that book


class Open(msgspec.Struct, frozen=True, gc=False):
    """Hold an admission that has not ended, and where it stands: it must be read again after a crash."""

    record: Filed
    segment: str
    start: int


class Elsewhere(msgspec.Struct):
    """Hold which incarnations another process books, and what it has last said of them."""

    names: frozenset[str] = frozenset()
    lag_bytes: int = 0
    open_requests: int = 0


class Tail:
    """Hold how far the journal of one worker incarnation is read."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.segments: dict[str, Segment] = {}
        self.open: dict[str, Open] = {}  # in the order of admission
        self.resumed = False  # it began at marks: what ended in a segment that is gone may stand in `open` again

    def part(self, segment: str, first: int) -> None:
        """Let go of a piece of a segment, from this byte on: what is open after it keeps no more of it than it needs."""
        for id, waiting in reversed(self.open.items()):
            if waiting.segment != segment or waiting.start < first:
                break
            self.open[id] = Open(waiting.record.apart(), segment, waiting.start)

    def marks(self) -> dict[str, Mark]:
        """Return the oldest byte still needed of each segment."""
        oldest: dict[str, int] = {}
        for waiting in self.open.values():
            oldest.setdefault(waiting.segment, waiting.start)
        return {name: Mark(oldest.get(name, s.offset), s.skipped) for name, s in self.segments.items()}


class Pump:
    """Move the journal in `folder` into a ledger, one bounded `step` after the other. Not shared between threads.

    `only`: the incarnations to move; without it all but those that are lent to another process.
    """

    def __init__(self, folder: Path, ledger: Writer, policies: Policies, *, only: frozenset[str] | None = None) -> None:
        self.counts = Counts()
        self._folder = folder
        self._ledger = ledger
        self._policies = policies
        self._tails: dict[str, Tail] = {}
        self._marks: dict[str, Mark] = {}  # as the ledger had them when `_synced`
        self._written: dict[str, Mark] = {}  # as the ledger has them now
        self._synced = False
        self._away = folder.parent / AWAY
        self._said: str | None = None  # of the last failure, "" since there was none; None: nothing was tried
        self.behind = False  # after a step: more is there to be read at once
        self.unread: dict[str, int] = {}  # after a step: bytes, by incarnation
        self.elsewhere = Elsewhere()
        self._only = only
        self.booked: Booked | None = None  # hears of what was booked; must not wait

    def step(self) -> bool:
        """Book a piece of each incarnation's journal. Return whether there was something to do.

        An error of the ledger or of the file system is counted and said; the next step starts again from the marks.
        """
        try:
            busy = self.move()
        except (LedgerError, OSError) as error:
            self._failed(str(error))
            return False
        if not self.counts.up or self._said is None:
            self.counts.up, self._said = 1, ""
            self._away.unlink(missing_ok=True)
        return busy

    def lend(self, names: frozenset[str]) -> None:
        """Leave these incarnations to another process, and no others; what was lent before is booked from its marks again."""
        for name in names | self.elsewhere.names:
            self._tails.pop(name, None)
        self.elsewhere = Elsewhere(names)
        self._synced = False

    def _is_mine(self, incarnation: str) -> bool:
        return incarnation in self._only if self._only is not None else incarnation not in self.elsewhere.names

    def _failed(self, why: str) -> None:
        self.counts.errors += 1
        self.counts.up = 0
        if why != self._said:
            self._said = why
            LOG.error("ledger_behind", f"the ledger is behind: {why}; the journal keeps what happens")
        with contextlib.suppress(OSError):  # the disk may be what has failed
            self._away.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._away.touch()
        self._tails.clear()
        self._synced = False

    def move(self) -> bool:
        """Book a piece of each incarnation's journal. Return whether there was something to do. Raise LedgerError, OSError:
        the marks say what is booked."""
        # Dead first, files second: all that a dead worker wrote is in the listing that comes after.
        alive = {name: is_alive(self._folder, name) for name in self._incarnations() if self._is_mine(name)}
        listing = segments(self._folder)
        self._policies.settle()
        if not self._synced:
            self._sync({path.name for paths in listing.values() for path in paths})
        busy = self.behind = False
        for name, living in alive.items():
            tail = self._tails.setdefault(name, Tail(name))
            busy |= self._advance(tail, listing.get(name, []), living)
            if not living and not tail.segments:
                (self._folder / f"{name}{LOCK_SUFFIX}").unlink(missing_ok=True)
                del self._tails[name]
        self.unread = {name: sum(_unread(path, self._tails) for path in listing.get(name, [])) for name in alive}
        self.counts.lag_bytes = sum(self.unread.values()) + self.elsewhere.lag_bytes
        self.counts.open_requests = sum(len(tail.open) for tail in self._tails.values()) + self.elsewhere.open_requests
        return busy

    def _sync(self, present: set[str]) -> None:
        """Take over what the ledger says is booked, and clear away what crashes left."""
        self._marks = self._ledger.marks()
        self._written = dict(self._marks)
        # What another process marks may be newer than the listing.
        self._ledger.forget(
            [name for name in self._marks if name not in present and self._is_mine(incarnation_of(name))]
        )
        for path in self._folder.glob("*" + NEW_SUFFIX) if self._only is None else ():
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink(missing_ok=True)
        self._synced = True

    def _incarnations(self) -> list[str]:
        locks = [path.name.removesuffix(LOCK_SUFFIX) for path in self._folder.glob("*" + LOCK_SUFFIX)]
        return sorted({*segments(self._folder), *locks})

    def _advance(self, tail: Tail, paths: list[Path], living: bool) -> bool:
        """Read one piece of the oldest segment that is not through; recover and clean up when all are."""
        for path in paths:
            if path.name not in tail.segments:
                tail.resumed |= path.name in self._marks
                mark = self._marks.get(path.name, Mark(0))
                tail.segments[path.name] = Segment(path, mark.offset, mark.skipped)
        ordered = list(tail.segments.values())
        position = next((i for i, segment in enumerate(ordered) if not segment.ended), -1)
        busy = behind = False
        if position >= 0:
            last = position == len(ordered) - 1
            busy = self._book(tail, ordered[position], complete=not living or not last)
            behind = ordered[position].more or (busy and not last)
            self.behind |= behind
        if tail.resumed and not behind:
            self._close_booked(tail)
        if not living and tail.open and all(segment.ended for segment in ordered):
            self._recover(tail)
            busy = True
        self._clean(tail)
        return busy

    def _close_booked(self, tail: Tail) -> None:
        """Close what the ledger says has ended."""
        if tail.open:
            with self._ledger.changing() as db:
                for id in booked(db, tail.open):
                    del tail.open[id]
        tail.resumed = False

    def _book(self, tail: Tail, segment: Segment, *, complete: bool) -> bool:
        """Read the next piece of a segment and write its rows. Return whether it had any."""
        offset, skipped = segment.offset, segment.skipped
        with _uncollected():
            self._book_records(tail, segment, complete=complete)
        self.counts.damaged_bytes += segment.skipped - skipped
        return segment.ended or segment.offset != offset

    def _book_records(self, tail: Tail, segment: Segment, *, complete: bool) -> None:
        first, name, waiting = segment.offset, segment.name, tail.open
        ended: list[tuple[Filed | None, Settled]] = []
        given: list[Feedback] = []
        for start, end, payload in segment.read(complete=complete):
            try:
                written = decode_filed(payload)
            except ValueError:
                segment.skipped += end - start
                continue
            for record in written:
                if type(record) is Settled:
                    found = waiting.pop(record.id, None)
                    ended.append((found.record if found is not None else None, record))
                elif type(record) is Filed:
                    waiting.setdefault(record.request.id, Open(record, name, start))
                elif type(record) is Feedback:
                    given.append(record)
        batch = batch_of(ended, self._policies.booked([filed for filed, _ in ended]))
        batch.feedback = [feedback_row(record) for record in given]
        for filed, settled in ended:
            if filed is not None and filed.footprint is not None:
                self._seen(filed, settled, batch)
        self._write(tail, batch)
        tail.part(name, first)

    def _recover(self, tail: Tail) -> None:
        """Book what a dead worker left open, with its hold as the charge."""
        while tail.open:
            batch = Batch()
            filed = [tail.open.pop(id).record for id in list(tail.open)[:RECOVER_ROWS]]
            made = self._policies.booked(filed)
            keep_decisions(batch, filed, made)
            for admitted, (head, _, places) in zip(filed, made, strict=True):
                batch.requests.append(recovered_row(admitted, head, places))
                batch.ended.append((admitted, None))
                if admitted.footprint is not None:
                    self._seen(admitted, None, batch)
            self.counts.recovered += self._write(tail, batch)

    def _seen(self, admitted: Filed, settled: Settled | None, batch: Batch) -> None:
        """Add what a request tells of another one's answer, or of its own."""
        rules = self._policies.signals(admitted)
        asking = signals.asking_of(admitted, settled, rules)
        if asking is not None:
            batch.askings.append(asking)
        left = None if settled is None else signals.abandoned(admitted, settled, rules)
        if left is not None:
            batch.signals.append(left)

    def _write(self, tail: Tail, batch: Batch) -> int:
        """Write rows together with the marks that changed; return how many requests were new."""
        marks = tail.marks()
        batch.marks = {name: mark for name, mark in marks.items() if self._written.get(name) != mark}
        if not batch.ended and not batch.feedback and not batch.marks:
            return 0
        new = self._ledger.write(batch)
        self._written.update(batch.marks)
        self.counts.signals += batch.signalled
        if self.booked is not None:
            self.booked(_whole(batch.ended))
        self.counts.rows += new
        return new

    def _clean(self, tail: Tail) -> None:
        """Remove the segments nothing is needed of; those with damage are kept aside."""
        needed = {waiting.segment for waiting in tail.open.values()}
        done = [s for s in tail.segments.values() if s.ended and s.name not in needed]
        if done:
            self._ledger.sync()  # from here on nothing else tells of these requests
        for segment in done:
            if segment.skipped:
                segment.keep_aside()
                told = f"{segment.skipped} bytes of journal {segment.name} were damaged; it is kept aside"
                LOG.error("journal_damaged", told, bytes=segment.skipped, segment=segment.name)
            else:
                segment.path.unlink(missing_ok=True)
            del tail.segments[segment.name]
            self._written.pop(segment.name, None)
        if done:
            self._ledger.forget([segment.name for segment in done])


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Leave the garbage collector aside for one piece of journal: of the many rows that come and go, none is in a cycle."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _whole(ended: Iterable[tuple[Filed | None, Settled | None]]) -> Iterator[tuple[Admitted | None, Settled | None]]:
    """Yield what was booked, its Admitted records whole, made one by one for an observer that wants them."""
    for filed, settled in ended:
        with contextlib.suppress(ValueError):
            yield (None if filed is None else filed.whole()), settled


def _unread(path: Path, tails: Mapping[str, Tail]) -> int:
    tail = tails.get(incarnation_of(path.name))
    segment = tail.segments.get(path.name) if tail is not None else None
    if segment is None:
        return 0
    try:
        return max(0, path.stat().st_size - segment.offset)
    except FileNotFoundError:
        return 0

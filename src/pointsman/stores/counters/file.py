"""Counters of one machine, exact across workers and kept across restarts: `file:`. Rows of integers in two mapped files.

    used.map            a table by counter: what was used; open addressing, so that every worker finds the same row
    held-<columns>.map  what is held, a column for each worker
    <number>.lock       locked (flock) as long as the worker of that number lives

A lock on `used.map` is held for the microseconds of one decision; by a lone worker for a turn of its loop. A process that
is killed gives it up, and its column is emptied when the next worker starts. What the kernel has not written yet is lost
when the machine itself stops.
"""

from __future__ import annotations

import mmap
import os
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from hashlib import blake2b
from pathlib import Path

from pointsman.core.quotas import Ask, Counter, End, Verdict, Windows
from pointsman.stores.counters.base import Clock, CountersError, Then
from pointsman.stores.counters.cells import FORGET, ID, WORDS, Cells
from pointsman.stores.counters.memory import MOST_COUNTERS

SLOTS = 1 << 16
WORD_BYTES = 8
ROW_BYTES = WORDS * WORD_BYTES
HEAD_BYTES = 4096
MAGIC = 0x706D_636E_7472_0001  # of this layout; another one is not read
MOST_WAIT_S = 0.05  # for the lock: a process that has been stopped may hold it
CLEAN_PAGE = bytes(4096)


class FileCounters(Cells):
    """Count in mapped files in `folder`, as the worker `number` of so many. Raise OSError when they cannot be made."""

    local = False

    def __init__(self, folder: Path, number: int, workers: int, clock: Clock, windows: Windows) -> None:
        super().__init__(clock, windows)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.failures: dict[str, int] = {}
        self.slots, self.columns, self.column = SLOTS, workers + 1, number
        self._folder = folder
        self._put_off: list[End] = []
        self._locked = False
        self._keeps = workers == 1  # the lock, to the end of the turn: only a successor at a restart would want it
        self._file = _opened(folder / "used.map", HEAD_BYTES + SLOTS * ROW_BYTES)
        self._alive = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        whole = False
        try:
            self._lock()
            flock(self._alive, LOCK_EX | LOCK_NB)
            self._used_map = mmap.mmap(self._file, HEAD_BYTES + SLOTS * ROW_BYTES)
            self._head = memoryview(self._used_map)[:HEAD_BYTES].cast("q")
            self.words = memoryview(self._used_map)[HEAD_BYTES:].cast("q")
            if self._head[0] not in (0, MAGIC):
                raise CountersError(f"{folder / 'used.map'} is of another version: move it away")
            self._head[0] = MAGIC
            held = _opened(folder / f"held-{self.columns}.map", SLOTS * self.columns * WORD_BYTES)
            self._held_map = mmap.mmap(held, SLOTS * self.columns * WORD_BYTES)
            os.close(held)
            self.held = memoryview(self._held_map).cast("q")
            self._empty_the_dead()
            whole = True
        except BlockingIOError:
            raise CountersError(f"{folder / f'{number}.lock'}: another process counts as this worker") from None
        finally:
            self._unlock()
            if not whole:
                self.close()

    # --- the store
    def reserve(self, asks: Sequence[Ask], then: Then) -> Verdict:
        if not self._locked:
            self._lock()
        keeps = False
        try:
            if self._put_off:
                self._settle()
            verdict = self.take(asks)
            keeps = self._keeps and verdict.refusing < 0
        finally:
            if not keeps:
                self._unlock()
        return verdict

    def settle(self, ends: Sequence[End], *, local: bool = False) -> None:
        self._put_off += ends  # of requests under way, so bounded by them

    def flush(self) -> None:
        if self._put_off or self._locked:
            with suppress(CountersError):
                self._lock()
                try:
                    self._settle()
                finally:
                    self._unlock()

    def _settle(self) -> None:
        ends, self._put_off = self._put_off, []
        self.give_back(ends)

    def read(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        self._lock()
        try:
            self._settle()
            return self.states(counters)
        finally:
            self._unlock()

    def tick(self) -> None:
        self.flush()

    def close(self) -> None:
        """Give up the locks; the column is emptied by whoever comes next. The maps live as long as their views."""
        for file in (self._file, self._alive):
            if file >= 0:
                os.close(file)
        self._file = self._alive = -1

    # --- the lock
    def _lock(self) -> None:
        if self._locked:
            return
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            self._wait_for_lock()
        self._locked = True

    def _wait_for_lock(self) -> None:
        until_s = time.monotonic() + MOST_WAIT_S
        while time.monotonic() < until_s:
            time.sleep(0.00002)
            try:
                flock(self._file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                continue
            return
        self.failures["timeout"] = self.failures.get("timeout", 0) + 1
        raise CountersError(f"the counters are locked for more than {MOST_WAIT_S * 1000:.0f} ms")

    def _unlock(self) -> None:
        if self._file >= 0:
            flock(self._file, LOCK_UN)
        self._locked = False

    # --- rows
    def place(self, counter: Counter) -> int:
        """Return the counter's row; to be called with the lock held. Raise CountersError when the table is full."""
        mark = int.from_bytes(blake2b(counter.name.encode(), digest_size=8).digest(), "little", signed=True) or 1
        slot = mark % SLOTS
        for _ in range(SLOTS):
            found = self.words[slot * WORDS + ID]
            if found == mark:
                break
            if not found:
                if self._head[1] >= MOST_COUNTERS:
                    raise CountersError(f"{self._folder / 'used.map'} is full; the next start of the router makes room")
                self._head[1] += 1
                self.words[slot * WORDS + ID] = mark
                break
            slot = (slot + 1) % SLOTS
        counter.slot = slot
        return slot

    # --- start
    def _empty_the_dead(self) -> None:
        """Give back what workers hold that live no more, ourselves as we were before among them; when nobody else is left,
        also forget counters whose time has passed."""
        alone = True
        for path in self._folder.glob("*.lock"):
            number = int(path.stem) if path.stem.isdigit() else -1
            if number != self.column and _is_locked(path):
                alone = False
            elif 0 <= number < self.columns:
                self._empty(number)
        if alone and self._head[1] > MOST_COUNTERS // 2:
            self._forget()

    def _empty(self, column: int) -> None:
        size, page = SLOTS * WORD_BYTES, len(CLEAN_PAGE)
        for at in range(column * size, (column + 1) * size, page):
            if self._held_map[at : at + page] != CLEAN_PAGE:
                self._held_map[at : at + page] = CLEAN_PAGE

    def _forget(self) -> None:
        """Make the table anew with the rows that still count. Nobody is under way, so nothing is held."""
        wall_ms, words = self.clock.wall_ms(), self.words
        rows = [words[at : at + WORDS].tolist() for at in range(0, SLOTS * WORDS, WORDS) if words[at + ID]]
        for at in range(0, SLOTS * WORDS, WORDS):
            if words[at + ID]:
                words[at + ID] = words[at + ID + 1] = words[at + ID + 2] = words[at + ID + 3] = 0
        kept = [row for row in rows if row[FORGET] > wall_ms]
        for row in kept:
            slot = row[ID] % SLOTS
            while words[slot * WORDS + ID]:
                slot = (slot + 1) % SLOTS
            words[slot * WORDS : (slot + 1) * WORDS] = memoryview(array("q", row))
        self._head[1] = len(kept)


def _opened(path: Path, size: int) -> int:
    """Open a file of at least that size: zeros, and no room on the disk until something is written."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.fstat(file).st_size < size:
        os.ftruncate(file, size)
    return file


def _is_locked(path: Path) -> bool:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False

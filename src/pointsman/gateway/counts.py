"""Counts: how many requests of each key are under way, in this worker and in all of this machine.

Every worker has a column of one shared file; it writes its own and reads the others'. Reading and then writing is not one
step, so that as many workers as look at the same moment may each let one more in: the overshoot is below their number.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Iterable
from hashlib import blake2b
from pathlib import Path

from pointsman.core.policy import Key

PREFIX = "under-way-"
CELL_BYTES = 4
MOST_VISITORS = 10_000  # callers without a key whose requests are counted; those with nothing under way make room


class Account:
    """Hold what one key has under way in this worker. `limit` is over all workers; `wanted` is what it has lately had under
    way at most, or would have had (see Gate.sweep)."""

    __slots__ = ("_at", "_cells", "_row", "limit", "sure", "under_way", "wanted")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sure = limit  # with fewer under way here, it is not full, whatever the others have
        self.under_way = 0
        self.wanted = 0.0
        self._cells: memoryview | None = None
        self._row = slice(0, 0)
        self._at = 0

    def place(self, cells: memoryview | None, row: int, columns: int, column: int) -> None:
        """Write from now on to this row and column of the shared cells."""
        self._cells, self._row, self._at = cells, slice(row * columns, (row + 1) * columns), row * columns + column
        self.sure = self.limit if cells is None else 0
        if cells is not None:
            cells[self._at] = self.under_way

    def enter(self) -> None:
        self.under_way += 1
        if self._cells is not None:
            self._cells[self._at] = self.under_way

    def leave(self) -> None:
        self.under_way -= 1
        if self._cells is not None:
            self._cells[self._at] = self.under_way

    def is_full(self) -> bool:
        """Tell whether the key has as many requests under way as it may, over all workers."""
        if self._cells is None:
            return self.under_way >= self.limit
        return sum(self._cells[self._row]) >= self.limit


class Counts:
    """Hold the accounts of the keys of the present config. Keys keep theirs as long as they have their name."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._visitors: dict[str, Account] = {}  # of these, those of callers who have no key
        self._folder: Path | None = None
        self._column = self._columns = 0
        self._path: Path | None = None

    def share(self, folder: Path, number: int, workers: int) -> None:
        """Count together with the other workers: `number` is ours, from 0 or 1 on. To be called before `adopt`. After a
        reload that changes the number of workers, which takes a restart, who is started anew counts alone until then."""
        if workers > 1:
            self._folder, self._column, self._columns = folder, number, workers + 1

    def adopt(self, keys: Iterable[Key], default: int) -> None:
        """Take over the keys of a config version. Raise OSError when the shared file cannot be made."""
        limits = {key.name: key.concurrency or default for key in keys}
        cells = self._cells(limits)  # first what may fail
        before, self.accounts = self.accounts, {}
        for name, limit in limits.items():
            account = self.accounts[name] = before.get(name) or Account(limit)
            account.limit = limit
            self._visitors.pop(name, None)
        for row, account in enumerate(self.accounts.values()):
            account.place(cells, row, self._columns, self._column)
        for name, account in before.items():
            if name not in self.accounts:
                account.place(None, 0, 0, 0)  # of a key that is gone: what it has under way ends by itself
        self.accounts |= self._visitors

    def visit(self, name: str, limit: int) -> bool:
        """Count the requests of a caller who has no key, in this worker alone; return whether others' accounts were closed
        for that, which had nothing under way."""
        known = self._visitors.get(name)
        if known is not None:
            known.limit = known.sure = limit
        elif name not in self.accounts:
            full = len(self._visitors) >= MOST_VISITORS
            if full:
                idle = [one for one, account in self._visitors.items() if not account.under_way]
                for one in idle:
                    del self._visitors[one], self.accounts[one]
            self._visitors[name] = self.accounts[name] = Account(limit)
            return full
        return False

    def _cells(self, keys: Collection[str]) -> memoryview | None:
        """Return the cells of all workers for these keys: one row a key. Versions with other keys have another file,
        so that all who share one agree on its rows."""
        if self._folder is None or not keys:
            return None
        names = blake2b("\0".join(keys).encode(), digest_size=8).hexdigest()
        path = self._folder / f"{PREFIX}{self._columns}-{names}.map"
        size = len(keys) * self._columns * CELL_BYTES
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size < size:
                os.ftruncate(file, size)  # zeros; the same size by whoever comes first
            cells = memoryview(mmap.mmap(file, size)).cast("I")
        finally:
            os.close(file)
        if self._path not in (None, path):
            self._path.unlink(missing_ok=True)  # who still has it open goes on with it
        self._path = path
        return cells

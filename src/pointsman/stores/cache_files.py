"""Cached answers in files that all workers of a machine share, and that outlive them. Bounded in time, bytes and number.

    DIR/<share>/<key>       a record (`cache_record.py`), put in place whole

A file's time of change is when it is over. Files are written, and the folder is kept within its bounds, by a thread of its
own with a bounded queue: a disk that is slow or full costs answers that might have been kept, never a request. What a kill or
a loss of power leaves half written is known by its digest or its name, and goes.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pointsman.stores.cache_memory import Answer
from pointsman.stores.cache_record import answer_of, record_of

MOST_BYTES = 1024 * 1024 * 1024  # of all files
MOST_FILES = 50_000
MOST_QUEUED = 256  # answers that wait to be written
MOST_QUEUED_BYTES = 32 * 1024 * 1024
TIDY_EVERY = 128  # answers written
MOST_BOUNDS = 100_000  # shares whose own bound is remembered
STRAY_S = 60.0  # after which a file that was never put in place is what a killed worker left

_Done = Callable[[], None]
_Job = tuple[str, str, Answer, int, _Done]


class Files:
    """Keep answers by share and key, both hexadecimal. Nothing here raises: what cannot be read is not there, and what cannot
    be written is counted in `failed`."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self._folder, self._root = folder, str(folder)
        self._most_bytes, self._most_files = most_bytes, most_files
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._written = 0
        self._bounds: dict[str, int] = {}  # of shares that were written to
        self.failed = 0

    def get(self, share: str, key: str, now_ms: int) -> Answer | None:
        """Return the answer kept under a key, unless its time is over."""
        path = f"{self._root}/{share}/{key}"
        if not os.access(path, os.F_OK):  # as most are: an exception takes three times as long
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            data = os.read(fd, os.fstat(fd).st_size)
        except OSError:
            return None
        finally:
            os.close(fd)
        answer = answer_of(data)
        return answer if answer is not None and answer.until_ms > now_ms else None

    def put(self, share: str, key: str, answer: Answer, most_bytes: int, done: _Done | None = None) -> None:
        """Have an answer written; those of a share take about `most_bytes` at most. `done` is called when that is over, come
        what may, in the thread that writes."""
        done = done or _nothing
        if answer.size > most_bytes:
            done()
            return
        with self._lock:
            full = self._queue.qsize() >= MOST_QUEUED or self._queued_bytes + answer.size > MOST_QUEUED_BYTES
            self.failed += full
            self._queued_bytes += 0 if full else answer.size
        if full:
            done()
            return
        self._queue.put((share, key, answer, most_bytes, done))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cache-files", daemon=True)
            self._thread.start()

    def close(self, within_s: float = 2.0) -> None:
        """Write what waits, for so long at most."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(within_s)
            self._thread = None

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            share, key, answer, most_bytes, done = job
            try:
                self._write(share, key, answer)
                if len(self._bounds) < MOST_BOUNDS:
                    self._bounds[share] = most_bytes
                if self._written % TIDY_EVERY == 0:
                    self.tidy()
                self._written += 1
            except OSError:
                self.failed += 1
            with suppress(OSError):
                done()
            with self._lock:
                self._queued_bytes -= answer.size

    def _write(self, share: str, key: str, answer: Answer) -> None:
        folder = self._folder / share
        fresh = folder / f"{key}.{os.getpid()}.new"
        record = record_of(answer)
        try:
            try:
                _put(fresh, record)
            except FileNotFoundError:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _put(fresh, record)
            os.utime(fresh, (time.time(), answer.until_ms / 1000))
            fresh.replace(folder / key)
        except OSError:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    def tidy(self) -> None:
        """Remove what is over, what was left half written, and the oldest of a share beyond its bound; then the oldest of
        whatever share is largest, until all is within the bounds."""
        now_s, shares = time.time(), dict[str, _Files]()
        for folder in _listed(self._folder):
            kept = []
            for file in _listed(Path(folder.path)):
                with suppress(OSError):
                    stat = file.stat()
                    stray = file.name.endswith(".new")
                    if stat.st_ctime < now_s - STRAY_S if stray else stat.st_mtime <= now_s:
                        os.unlink(file.path)
                    elif not stray:
                        kept.append((stat.st_mtime, stat.st_size, file.path))
            if kept:
                shares[folder.name] = _Files(sorted(kept, reverse=True))
            else:
                with suppress(OSError):
                    os.rmdir(folder.path)
        for share, most in self._bounds.items():
            while share in shares and shares[share].bytes > most:
                shares[share].drop()
        total, count = sum(one.bytes for one in shares.values()), sum(len(one.left) for one in shares.values())
        while total > self._most_bytes or count > self._most_files:
            largest = max(shares.values(), key=lambda one: one.bytes)
            total, count = total - largest.drop(), count - 1


def _nothing() -> None:
    """Nobody waits for it."""


class _Files:
    """Hold the files of a share, the one that is over first at the end: time over, bytes, path."""

    def __init__(self, left: list[tuple[float, int, str]]) -> None:
        self.left = left
        self.bytes = sum(size for _, size, _ in left)

    def drop(self) -> int:
        _, size, path = self.left.pop()
        self.bytes -= size
        with suppress(OSError):
            os.unlink(path)
        return size


def _put(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []

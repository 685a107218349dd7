"""Questions whose answers are kept, with their vectors: in memory, and in files that the workers of a machine share.

    DIR/<share>             one JSON object in a line for each question; the later one of a name counts
    DIR/served              a line for each answer that was given to a similar question: for feedback, which comes later

Lines are appended, and a file is made anew when half of it is of no use, by a thread of its own under a lock; a torn one
is passed over. Nothing here raises: what cannot be read is not there, and what cannot be written is counted in `failed`.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pointsman.core.embedding import cosine

MOST_BYTES = 64 * 1024 * 1024  # of questions and vectors in a process
MOST_FILES = 2_000  # shares with a file
MOST_FILE_BYTES = 256 * 1024 * 1024
MOST_NUMBERS = 100_000  # of vectors that one look-up compares: about 4 ms
MOST_QUEUED = 256  # lines that wait to be written
MOST_SERVED_BYTES = 1024 * 1024  # and as much of the file before it
SPARE_LINES = 64
ENTRY_BYTES = 600  # what an entry takes beside its text and vector, about
SERVED = "served"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Hold a question: what its answer is kept under, which others it is compared with, its text and vector. Unix
    milliseconds. With an empty bucket it is one that is no longer to be given."""

    name: str
    bucket: str = ""
    text: str = ""
    vector: bytes = b""
    until_ms: int = 0

    @property
    def size(self) -> int:
        return ENTRY_BYTES + len(self.text) + len(self.vector)


class Near(NamedTuple):
    """Hold an entry and how near its vector is."""

    similarity: float
    entry: Entry


class _Share:
    """Hold the entries of a share, oldest first, and how far its file has been read."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.buckets: dict[str, dict[str, array[float]]] = {}
        self.bytes = 0
        self.file = (0, 0)  # inode and bytes
        self.most = 1 << 30  # entries, as far as that is known
        self.own: Counter[str] = Counter()  # our lines in the file that we have not met in it, by name

    def put(self, entry: Entry, most: int) -> None:
        self.drop(entry.name)
        if not entry.bucket or len(entry.vector) % 4:
            return
        self.entries[entry.name] = entry
        self.buckets.setdefault(entry.bucket, {})[entry.name] = array("f", entry.vector)
        self.bytes += entry.size
        while len(self.entries) > most:
            self.drop(next(iter(self.entries)))

    def drop(self, name: str) -> None:
        entry = self.entries.pop(name, None)
        if entry is None:
            return
        self.bytes -= entry.size
        bucket = self.buckets[entry.bucket]
        del bucket[name]
        if not bucket:
            del self.buckets[entry.bucket]


class Similar:
    """Keep questions by share. What one share keeps does not drive out another's entries, but for whole shares that nobody has
    asked for longest: those are read from their files again."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._root, self._most_bytes = folder, str(folder), most_bytes
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._newest: dict[str, str] = {}  # what was served last, by mark: it may not have been written yet
        self._writes = 0
        self.failed = 0

    @property
    def entries(self) -> int:
        """Return how many questions are in memory."""
        return sum(len(share.entries) for share in self._shares.values())

    def near(self, share: str, bucket: str, vector: array[float], least: float, now_ms: int) -> list[Near]:
        """Return the entries of a bucket that are at least so near, the nearest first; of a large one the newest."""
        of_share = self._read(share)
        found, left = [], MOST_NUMBERS
        for name, other in reversed(of_share.buckets.get(bucket, {}).items()):
            left -= len(other)
            if left < 0:
                break
            similarity = cosine(vector, other)
            if similarity >= least and of_share.entries[name].until_ms > now_ms:
                found.append(Near(similarity, of_share.entries[name]))
        return sorted(found, key=lambda near: -near.similarity)

    def put(self, share: str, entry: Entry, most: int) -> None:
        """Keep a question in place of an earlier one of its name; a share keeps `most`."""
        of_share = self._read(share)
        of_share.most = most
        of_share.put(entry, most)
        of_share.own[entry.name] += 1
        self._bound()
        self._later(lambda: self._append(share, entry, most))

    def drop(self, share: str, name: str) -> bool:
        """Forget a question, here and for the other workers; tell whether it was there."""
        of_share = self._read(share)
        known = name in of_share.entries
        if known:
            of_share.drop(name)
            of_share.own[name] += 1
            self._later(lambda: self._append(share, Entry(name), 1 << 30))
        return known

    # --- what was served
    def note_served(self, marks: tuple[str, ...], line: str) -> None:
        """Keep for feedback what was served, under each mark."""
        self._newest |= dict.fromkeys(marks, line)
        while len(self._newest) > 2 * MOST_QUEUED:
            del self._newest[next(iter(self._newest))]
        text = "".join(f"{mark} {line}\n" for mark in marks)
        self._later(lambda: self._append_served(text))

    def served(self, mark: str) -> str:
        """Return the line that was kept last under a mark; "" when none was."""
        for name in (SERVED, f"{SERVED}.1"):
            try:
                data = (self._folder / name).read_bytes()
            except OSError:
                continue
            at = data.rfind(mark.encode() + b" ")
            if at >= 0:
                return data[at:].partition(b"\n")[0].decode("ascii", "replace").partition(" ")[2]
        return self._newest.get(mark, "")

    def close(self, within_s: float = 2.0) -> None:
        """Write what waits, for so long at most."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(within_s)
            self._thread = None

    # --- reading
    def _read(self, share: str) -> _Share:
        """Return a share with what its file says by now."""
        of_share = self._shares.get(share)
        if of_share is None:
            of_share = self._shares[share] = _Share()
            if len(self._shares) > MOST_FILES:
                self._shares.popitem(last=False)
        self._shares.move_to_end(share)
        try:
            stat = os.stat(f"{self._root}/{share}")
        except OSError:
            return of_share
        if (stat.st_ino, stat.st_size) != of_share.file:
            self._take(share, of_share, stat)
        return of_share

    def _take(self, share: str, of_share: _Share, stat: os.stat_result) -> None:
        inode, read = of_share.file
        begin = read if inode == stat.st_ino and read < stat.st_size else 0
        try:
            with open(f"{self._root}/{share}", "rb") as file:
                file.seek(begin)
                data = file.read(MOST_FILE_BYTES)
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        of_share.file = (stat.st_ino, begin + len(whole))
        for line in whole.splitlines():
            entry = _entry(line)
            if entry is None:
                continue
            if of_share.own[entry.name] > 0:
                of_share.own[entry.name] -= 1  # done before it was written
            else:
                of_share.put(entry, of_share.most)
        if len(of_share.own) > MOST_QUEUED:
            of_share.own = +of_share.own
        self._bound()

    def _bound(self) -> None:
        while len(self._shares) > 1 and sum(one.bytes for one in self._shares.values()) > self._most_bytes:
            self._shares.popitem(last=False)

    # --- writing, in a thread of its own
    def _later(self, job: Callable[[], None]) -> None:
        if self._queue.qsize() >= MOST_QUEUED:
            self.failed += 1
            return
        self._queue.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="similar-files", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with locked(self._folder):
                    job()
            except OSError:
                self.failed += 1

    def _append(self, share: str, entry: Entry, most: int) -> None:
        path = self._folder / share
        _write(path, msgspec.json.encode(entry) + b"\n", os.O_APPEND)
        self._writes += 1
        if self._writes % SPARE_LINES == 1:
            self._tidy(path, most)

    def _tidy(self, path: Path, most: int) -> None:
        """Make a file anew when half of its lines are of no use; remove the files that nobody has written to for longest."""
        lines = path.read_bytes().splitlines()
        if len(lines) > 2 * most + SPARE_LINES:
            kept = _Share()
            for entry in map(_entry, lines):
                if entry is not None:
                    kept.put(entry, most)
            fresh = path.with_suffix(".new")
            _write(fresh, b"".join(msgspec.json.encode(one) + b"\n" for one in kept.entries.values()), os.O_TRUNC)
            fresh.replace(path)
        others = [(one.stat().st_mtime, one.path) for one in os.scandir(self._folder) if len(one.name) == 24]
        for _, name in sorted(others)[: max(0, len(others) - MOST_FILES)]:
            with suppress(OSError):
                os.unlink(name)

    def _append_served(self, text: str) -> None:
        path = self._folder / SERVED
        _write(path, text.encode("ascii", "replace"), os.O_APPEND)
        if path.stat().st_size > MOST_SERVED_BYTES:
            path.replace(path.with_suffix(".1"))


class locked:
    """Hold the lock of a folder that the workers of a machine share. Raise OSError when there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / ".lock")

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _entry(line: bytes) -> Entry | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(path: Path, data: bytes, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        if os.write(fd, data) != len(data):
            os.write(fd, b"\n")  # what follows is not to be lost with it
            raise OSError("a line was not written whole")
    finally:
        os.close(fd)


_decode = msgspec.json.Decoder(Entry).decode

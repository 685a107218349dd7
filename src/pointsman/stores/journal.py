"""The journal: the crash-safe append-only file in front of the ledger.

A worker appends each record with one write(2) before it acts on it, so what was written survives kill -9 of the process
(the page cache is the kernel's). Files stand in DIR/journal:

    <incarnation>.lock          locked (flock) as long as the worker lives; free = the worker is dead
    <incarnation>.<n>.pmj       segments: HEADER, then frames; once a later one is there, the earlier grows no more

Both get their name only when they are complete (locked, headed), so a reader never sees one that is half made.

A frame is MAGIC, payload length (u32), CRC-32 of the payload (u32), payload; little endian. A torn or damaged frame is
skipped to the next MAGIC that starts a good frame, and counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec

HEADER = b"PMJRNL1\n"
MAGIC = b"\xa7\xd1"
_FRAME = struct.Struct("<2sII")
FRAME_HEAD_BYTES = _FRAME.size
MAX_PAYLOAD = 4 * 1024 * 1024
MAX_PUT_OFF_BYTES = 16 * 1024 * 1024  # beyond, the oldest are given up and their requests booked as recovered
SUFFIX = ".pmj"
LOCK_SUFFIX = ".lock"
AWAY = Path("run") / "ledger-away"  # there while what is in the journals cannot be booked
NEW_SUFFIX = ".new"


class JournalError(OSError):
    """Say that the journal cannot take a record: disk full, read-only, or its bound is reached."""


class Journal:
    """Append records for one worker incarnation. Not shared between processes or threads.

    Raises JournalError on append when the file system refuses or `bound_bytes` of journal wait for the pump; a record
    that was not written whole is taken back first.
    """

    def __init__(self, folder: Path, incarnation: str, segment_bytes: int, bound_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.incarnation = incarnation
        self._segment_bytes = segment_bytes
        self._bound_bytes = bound_bytes
        self._number = 0
        self._fd = -1
        self._size = 0
        self._later: list[bytes] = []
        self.full = False
        self._lock = _locked(folder / f"{incarnation}{LOCK_SUFFIX}")
        self._rotate()

    def append(self, payload: bytes) -> None:
        """Write one record, and those put off; when this returns, they survive the death of the process. When it
        raises, this record is nowhere; those put off stay for the next try."""
        later = self._later
        self._write(b"".join((*later, _frame(payload))) if later else _frame(payload))
        later.clear()

    def put_off(self, payload: bytes) -> None:
        """Keep one record, which could not be written, for the next `append`, `flush` or `close`."""
        self._later.append(_frame(payload))
        while sum(map(len, self._later)) > MAX_PUT_OFF_BYTES:
            del self._later[0]

    def flush(self) -> None:
        """Write the records put off, in one write(2). When it raises, they stay for the next try."""
        if self._later:
            self._write(b"".join(self._later))
            self._later.clear()

    def set_bounds(self, segment_bytes: int, bound_bytes: int) -> None:
        """Take over other bounds, from the next record on."""
        self._segment_bytes, self._bound_bytes = segment_bytes, bound_bytes

    def check_bound(self) -> None:
        """Set `full` from the bytes that wait for the pump. Called now and then, not for every record."""
        self.full = waiting_bytes(self.folder) > self._bound_bytes

    def close(self) -> None:
        """Close the segment and give the lock free, so that the pump may take the incarnation for ended."""
        if self._fd >= 0:
            try:
                self.flush()
            finally:
                os.close(self._fd)
                os.close(self._lock)
                self._fd = -1

    def _write(self, frames: bytes) -> None:
        try:
            written = os.write(self._fd, frames)
        except OSError as error:
            self._take_back()
            raise JournalError(error.errno, f"journal write failed: {error.strerror}") from None
        if written != len(frames):
            self._take_back()
            raise JournalError(f"journal write was cut at {written} of {len(frames)} bytes: disk full?")
        self._size += written
        if self._size >= self._segment_bytes:
            self._rotate()

    def _take_back(self) -> None:
        """Cut off what a failed write left, so that the next record starts clean. Where that fails too, the size is
        read back: a later cut must not reach good records, and readers skip the torn one."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            with contextlib.suppress(OSError):
                self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        path = self.folder / f"{self.incarnation}.{self._number + 1:06d}{SUFFIX}"
        try:
            fd = _segment(path)
        except OSError as error:
            if self._fd < 0:
                raise JournalError(error.errno, f"journal segment {path.name}: {error.strerror}") from None
            return  # keep the old segment; the next append tries again
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._number = fd, len(HEADER), self._number + 1
        self.check_bound()


def _frame(payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise JournalError(f"a record of {len(payload)} bytes is longer than {MAX_PAYLOAD}")
    return _FRAME.pack(MAGIC, len(payload), crc32(payload)) + payload


def _locked(path: Path) -> int:
    """Return the descriptor of a lock file that was locked before it had its name."""
    fresh = path.with_name(path.name + NEW_SUFFIX)
    fd = os.open(fresh, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fresh.rename(path)
    return fd


def _segment(path: Path) -> int:
    """Return the descriptor of a new segment that got its header before its name."""
    fresh = path.with_name(path.name + NEW_SUFFIX)
    fd = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, HEADER) != len(HEADER):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fresh.rename(path)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    return fd


class Scan(msgspec.Struct):
    """Hold what a stretch of a segment held: frames as (start, end, payload), where to go on, bytes skipped."""

    frames: list[tuple[int, int, bytes]]
    offset: int
    skipped: int


def scan(data: bytes, offset: int, *, ended: bool) -> Scan:
    """Return the frames of `data`, a segment's bytes from file offset `offset`.

    While the writer lives (`ended` false) an incomplete last frame is left for later; afterwards it is a torn tail.
    """
    found: list[tuple[int, int, bytes]] = []
    at, skipped, size = 0, 0, len(data)
    if offset == 0:
        if size < len(HEADER):
            return Scan([], size if ended else 0, size if ended else 0)
        at = len(HEADER) if data.startswith(HEADER) else 0
    unpack, head_bytes = _FRAME.unpack_from, FRAME_HEAD_BYTES
    while at < size:
        if at + head_bytes <= size:  # as in `_frame_at`, here because there are many
            magic, length, crc = unpack(data, at)
            start, end = at + head_bytes, at + head_bytes + length
            if magic == MAGIC and length <= MAX_PAYLOAD and end <= size and crc32(payload := data[start:end]) == crc:
                found.append((offset + at, offset + end, payload))
                at = end
                continue
        after = _next_frame(data, at + 1)
        if after < 0 and not ended:
            break  # perhaps only half written yet
        after = size if after < 0 else after
        skipped += after - at
        at = after
    return Scan(found, offset + at, skipped)


def segments(folder: Path) -> dict[str, list[Path]]:
    """Return the segments of each incarnation, both in order of time."""
    table: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        table.setdefault(incarnation_of(path.name), []).append(path)
    return table


def incarnation_of(segment: str) -> str:
    """Return which incarnation of a worker wrote a segment, from the segment's name."""
    return segment.split(".", 1)[0]


def is_away(folder: Path) -> bool:
    """Tell whether the control process cannot book what is in the journals of this folder."""
    return (folder.parent / AWAY).exists()


def is_alive(folder: Path, incarnation: str) -> bool:
    """Tell whether the worker of an incarnation still holds its lock."""
    try:
        fd = os.open(folder / f"{incarnation}{LOCK_SUFFIX}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not take each other for the worker
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def waiting_bytes(folder: Path) -> int:
    """Return the bytes of journal that stand on disk."""
    return sum(_size(path) for path in folder.glob(f"*{SUFFIX}"))


def read_all(folder: Path) -> Iterator[bytes]:
    """Yield every payload of every segment, for tools that only look. A segment that goes away meanwhile is left out:
    its records stand in the ledger."""
    for paths in segments(folder).values():
        for path in paths:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            for _, _, payload in scan(data, 0, ended=True).frames:
                yield payload


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _frame_at(data: bytes, at: int) -> bytes | None:
    if at + _FRAME.size > len(data):
        return None
    magic, length, crc = _FRAME.unpack_from(data, at)
    start = at + _FRAME.size
    if magic != MAGIC or length > MAX_PAYLOAD or start + length > len(data):
        return None
    payload = data[start : start + length]
    return payload if crc32(payload) == crc else None


def _next_frame(data: bytes, at: int) -> int:
    while (at := data.find(MAGIC, at)) >= 0:
        if _frame_at(data, at) is not None:
            return at
        at += 1
    return -1

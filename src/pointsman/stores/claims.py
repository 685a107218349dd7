"""Claims: idempotency keys of one machine, in small files that all its workers share. Bounded in time and number.

A file is locked (flock) by the worker that carries the request, for as long as it does, so that a worker that was killed
holds nothing. Its bytes are the hash of the request, and once the answer is complete the answer; it is put in place whole.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

KEPT_S = 24 * 3600.0  # how long an answer is given again (Stripe's figure, FAULTS section 0)
MOST_FILES = 10_000  # the oldest go first
HASH_BYTES = 16
PRUNE_EVERY = 256  # claims


class Found(NamedTuple):
    """Hold what there is under a key: `mine` to carry out (`fd` keeps the claim), `running` elsewhere, `done` with its
    answer, or `other`: the key was used with another request."""

    state: Literal["mine", "running", "done", "other"]
    fd: int = -1
    answer: bytes = b""


class Claims:
    """Claim, answer and release keys. Every call takes some ten microseconds of file operations; OSError passes through."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._claimed = 0

    def claim(self, key: str, request_hash: bytes) -> Found:
        """Return what there is under `key`, a file name; when nothing is, it is claimed."""
        self._claimed += 1
        if self._claimed % PRUNE_EVERY == 1:
            self._prune()
        path = self._folder / key
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            found = self._look(fd, path, request_hash)
        except BaseException:
            os.close(fd)
            raise
        if found.state != "mine":
            os.close(fd)
        return found

    def _look(self, fd: int, path: Path, request_hash: bytes) -> Found:
        written = os.pread(fd, HASH_BYTES, 0)
        mine = False
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        if mine and not self._is_there(fd, path):
            return Found("running")  # just put in place or released by another: to be asked again
        stat = os.fstat(fd)
        answered = stat.st_size > HASH_BYTES and time.time() - stat.st_mtime < KEPT_S
        if written != request_hash and len(written) == HASH_BYTES and (answered or not mine):
            return Found("other")
        if answered:
            return Found("done", answer=os.pread(fd, stat.st_size - HASH_BYTES, HASH_BYTES))
        if not mine:
            return Found("running")
        os.ftruncate(fd, 0)
        os.pwrite(fd, request_hash, 0)
        return Found("mine", fd)

    @staticmethod
    def _is_there(fd: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), path.stat())
        except FileNotFoundError:
            return False

    def keep(self, key: str, fd: int, request_hash: bytes, answer: bytes) -> None:
        """Put the answer in place of the claim, and give the claim up."""
        fresh = self._folder / f"{key}.new"
        fresh.write_bytes(request_hash + answer)
        fresh.replace(self._folder / key)
        os.close(fd)

    def release(self, key: str, fd: int) -> None:
        """Give the claim up without an answer: the next request with the key is carried out."""
        (self._folder / key).unlink(missing_ok=True)
        os.close(fd)

    def _prune(self) -> None:
        """Remove what is too old, and the oldest when there are too many."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(self._folder))
        oldest_s = time.time() - KEPT_S
        for at, (mtime_s, path) in enumerate(found):
            if mtime_s >= oldest_s and len(found) - at <= MOST_FILES:
                break
            Path(path).unlink(missing_ok=True)

"""What is published of the key store for the workers: one file, replaced whole, in the `run` folder of the data folder.

    8 bytes   MAGIC, with the format's number
    16 bytes  BLAKE2b of the rest
    rest      MessagePack of stores.callers.Published

It holds no key and no pepper, only digests. Whoever changes the store publishes at once; the control process sees to it
that what somebody could not publish any more, because it was killed, is published too. The store is read while the lock is
held, so a later file is never of an earlier store.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import msgspec

from pointsman.stores.callers import Published, Unavailable
from pointsman.stores.versions import replace

PUBLISHED = Path("run") / "callers"
STORE = "callers.sqlite"  # where the store is, if it is in this folder
MAGIC = b"PMCALL1\n"
MOST_BYTES = 64 * 1024 * 1024
LOCK_S = 5.0  # how long to wait for who publishes
LOCK_LOOK_S = 0.02
NOTHING = Published(revision=0, closed=False, mark=b"")


def publish(data: Path, read: Callable[[], Published]) -> Published:
    """Publish what `read` gives, and return it. Raise Unavailable when the file cannot be written, and what `read` raises."""
    with _alone(data):
        published = read()
        _write(data / PUBLISHED, published)
    return published


def prepare(data: Path) -> None:
    """Publish that there is nothing, before there is a store: workers that find a store but nothing published let nobody in
    without a key. Raise Unavailable."""
    with _alone(data):
        if not (data / PUBLISHED).exists() and not (data / STORE).exists():
            _write(data / PUBLISHED, NOTHING)


def stamp(data: Path) -> tuple[int, ...] | None:
    """Return what changes whenever something is published; None: nothing was."""
    try:
        found = os.stat(data / PUBLISHED)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(data: Path) -> Published:
    """Return what was published. Raise Unavailable when it is not there, damaged, or of another format."""
    path = data / PUBLISHED
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    body = content[len(MAGIC) + 16 :]
    if len(content) > MOST_BYTES or content[: len(MAGIC)] != MAGIC or content[len(MAGIC) :][:16] != _sum(body):
        raise Unavailable(f"{path} is damaged, or of another version of pointsman")
    try:
        return msgspec.msgpack.decode(body, type=Published)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{path} is of another version of pointsman: {error}") from None


def _write(path: Path, published: Published) -> None:
    body = msgspec.msgpack.encode(published)
    replace(path, MAGIC + _sum(body) + body)


def _sum(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the lock of who publishes. It is held for moments: read the store, write a file."""
    path = data / PUBLISHED
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path.with_name("callers.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, path)
            yield
        finally:
            os.close(fd)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None


def _lock(fd: int, path: Path) -> None:
    until_s = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise Unavailable(f"{path}: another process has been publishing for {LOCK_S:.0f} s") from None
            time.sleep(LOCK_LOOK_S)

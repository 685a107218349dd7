"""Bodies: requests and answers that routes store, in files of their own, encrypted where the means are there.

    DIR/bodies/<until>-<writer>.body    until: Unix milliseconds at which the whole file is deleted, never later than the
                                        time to live of any body in it

A file is frames: four bytes of length, one of form (0 plain, 1 AES-256-GCM with 12 bytes of nonce in front), then MessagePack
of a Body. Who adds, and who deletes one body, holds a lock of the file. A frame that cannot be read is passed over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from pointsman.stores.private import PEPPER_VARIABLE, kept

FOLDER, KEY_FILE = "bodies", "bodies-key"
SUFFIX = ".body"
SLICES = 24  # files of one time to live: a body may go by so much of it earlier
MOST_SLICE_MS, LEAST_SLICE_MS = 3_600_000, 100
MOST_FRAME = 64 * 1024 * 1024
PLAIN, SEALED = b"\0", b"\1"
NONCE_BYTES = 12


class Body(msgspec.Struct, frozen=True):
    """Hold what was asked and answered, redacted and cut. Unix milliseconds; "": there was none, or it was left out."""

    id: str
    at_ms: int
    until_ms: int
    caller: tuple[str, str, str, str]  # key, project, team, organisation
    route: str
    outcome: str
    request: str
    answer: str
    left_out: str = ""  # what is not there whole, and why


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


def until_of(at_ms: int, ttl_s: float) -> int:
    """Return when the file is deleted that a body of this moment goes to: within its time to live."""
    ttl_ms = int(ttl_s * 1000)
    step = max(LEAST_SLICE_MS, min(MOST_SLICE_MS, ttl_ms // SLICES))
    return at_ms // step * step + ttl_ms


class Bodies:
    """Keep and find the bodies of a data folder. Raise OSError, PrivateError."""

    def __init__(self, data: Path, writer: str = "0") -> None:
        self.folder = data / FOLDER
        self._data, self._writer = data, writer
        self._cipher: Any = None

    def add(self, bodies: Iterable[Body]) -> None:
        """Add bodies, those of one file with one write."""
        files: dict[int, list[bytes]] = {}
        for body in bodies:
            files.setdefault(body.until_ms, []).append(self._sealed(_encode(body)))
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for until_ms, frames in files.items():
            path = self.folder / f"{until_ms:013d}-{self._writer}{SUFFIX}"
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                _write(fd, b"".join(frames))
            finally:
                os.close(fd)

    def find(self, id: str) -> Body | None:
        """Return the body of a request; None when there is none."""
        return next((body for path in self.files() for body in self._bodies(path) if body and body.id == id), None)

    def delete(self, wanted: Callable[[Body], bool]) -> int:
        """Delete bodies from their files; return how many."""
        return sum(self._without(path, wanted) for path in self.files())

    def purge(self) -> int:
        """Delete all files; return how many."""
        return sum(_gone(path) for path in self.files())

    def expire(self, now_ms: int) -> int:
        """Delete the files whose time has come; return how many."""
        return sum(_gone(path) for path in self.files() if _until_of(path) <= now_ms)

    def bound(self, most_bytes: int) -> int:
        """Delete the files that would go first until the others are no more than so many bytes; return how many."""
        sizes = [(path, _size(path)) for path in self.files()]
        total, gone = sum(size for _, size in sizes), 0
        for path, size in sizes:
            if total <= most_bytes:
                break
            gone, total = gone + _gone(path), total - size
        return gone

    def files(self) -> list[Path]:
        """Return the files, those that go first in front."""
        return sorted(path for path in self.folder.glob(f"*{SUFFIX}") if path.name[:13].isdigit())

    def _without(self, path: Path, wanted: Callable[[Body], bool]) -> int:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            frames = list(_frames(file.read()))
            bodies = [self._opened(frame) for frame in frames]
            left = [frame for frame, body in zip(frames, bodies, strict=True) if body is None or not wanted(body)]
            if len(left) < len(frames):
                file.seek(0)
                file.truncate()
                file.write(b"".join(map(_framed, left)))
                file.flush()
                os.fsync(file.fileno())
        return len(frames) - len(left)

    def _bodies(self, path: Path) -> Iterator[Body | None]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        yield from map(self._opened, _frames(data))

    def _sealed(self, plain: bytes) -> bytes:
        cipher = self._means()
        if cipher is None:
            return _framed(PLAIN + plain)
        nonce = os.urandom(NONCE_BYTES)
        return _framed(SEALED + nonce + cipher.encrypt(nonce, plain, None))

    def _opened(self, frame: bytes) -> Body | None:
        form, data = frame[:1], frame[1:]
        try:
            if form == SEALED:
                cipher = self._means()
                data = b"" if cipher is None else cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], None)
            return _decode(data)
        except Exception:  # noqa: BLE001  of the cipher's own: another key, or bytes that were changed
            return None

    def _means(self) -> Any:
        """Return the cipher; None where the library is not there."""
        if self._cipher is None and encrypts():
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            text = os.environ.get(PEPPER_VARIABLE) or kept(self._data / KEY_FILE, make=True) or ""
            self._cipher = AESGCM(blake2b(text.encode(), digest_size=32, person=b"pm-bodies").digest())
        return self._cipher


def encrypts() -> bool:
    """Tell whether bodies are encrypted: the extra `oidc` brings the library."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def _frames(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size > MOST_FRAME or at + 4 + size > len(data):
            return  # its writer died half-way
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _write(fd: int, data: bytes) -> None:
    """Write all of it, or nothing: a part would hide what comes behind it."""
    size = os.fstat(fd).st_size
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        os.ftruncate(fd, size)
        raise


def _until_of(path: Path) -> int:
    return int(path.name[:13])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _gone(path: Path) -> int:
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    return 1

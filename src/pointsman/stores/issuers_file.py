"""What is published of the keys of issuers for the workers: one file, replaced whole, in the `run` folder of the data folder.

    8 bytes   MAGIC, with the format's number
    16 bytes  BLAKE2b of the rest
    rest      MessagePack of a list of IssuerKeys

Only public keys. The control process alone writes it, so it needs no lock; who wants keys fetched anew says so in a file of
its own beside it, which the control process takes away.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import msgspec

from pointsman.stores.versions import replace

PUBLISHED = Path("run") / "issuers"
WANTED = "issuers-wanted-"  # files of who wants some fetched anew, in the `run` folder
MAGIC = b"PMISSU1\n"
MOST_BYTES = 4 * 1024 * 1024


class PublishedError(Exception):
    """Say why what was published cannot be used."""


class IssuerKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the keys of an issuer, as members of public JSON Web Keys (RFC 7517), and when they were had, in Unix ms."""

    url: str
    source: str  # the jwks_url of the config: keys from elsewhere are not taken
    fetched_ms: int
    keys: tuple[dict[str, str], ...]


def stamp(data: Path) -> tuple[int, ...] | None:
    """Return what changes whenever something is published; None: nothing was."""
    try:
        found = os.stat(data / PUBLISHED)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(data: Path) -> list[IssuerKeys]:
    """Return what was published. Raise PublishedError when it is not there, damaged, or of another format."""
    path = data / PUBLISHED
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PublishedError(f"{path}: {error.strerror}") from None
    body = content[len(MAGIC) + 16 :]
    if len(content) > MOST_BYTES or content[: len(MAGIC)] != MAGIC or content[len(MAGIC) :][:16] != _sum(body):
        raise PublishedError(f"{path} is damaged, or of another version of pointsman")
    try:
        return msgspec.msgpack.decode(body, type=list[IssuerKeys])
    except msgspec.MsgspecError as error:
        raise PublishedError(f"{path} is of another version of pointsman: {error}") from None


def publish(data: Path, found: list[IssuerKeys]) -> None:
    """Replace what was published. Raise OSError."""
    (data / PUBLISHED).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    body = msgspec.msgpack.encode(found)
    replace(data / PUBLISHED, MAGIC + _sum(body) + body)


def want(data: Path, who: str, names: list[str]) -> None:
    """Ask for the keys of issuers to be fetched anew. Raise OSError."""
    replace(data / "run" / f"{WANTED}{who}", msgspec.msgpack.encode(names))


def wanted(data: Path) -> set[str]:
    """Return which issuers' keys are wanted anew, and take the wishes away."""
    names: set[str] = set()
    for path in (data / "run").glob(f"{WANTED}*"):
        try:
            names.update(msgspec.msgpack.decode(path.read_bytes()[:MOST_BYTES], type=list[str]))
        except (OSError, msgspec.MsgspecError):
            continue
        finally:
            path.unlink(missing_ok=True)
    return names


def _sum(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()

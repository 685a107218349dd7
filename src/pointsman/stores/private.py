"""Private: secrets of a data folder that are made once and kept in a file of their own, readable by their owner only (S25)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

PEPPER, PEPPER_VARIABLE = "pepper", "POINTSMAN_PEPPER"
ADMIN_TOKEN, TOKEN_VARIABLE = "admin-token", "POINTSMAN_ADMIN_TOKEN"
MIN_CHARACTERS = 16  # of a secret that somebody else made
MOST_BYTES = 4096


class PrivateError(Exception):
    """Say why a secret of the data folder cannot be had."""


def pepper_of(data: Path, env: Mapping[str, str], *, make: bool = False) -> bytes | None:
    """Return the pepper of the key store: the environment's, else that of the folder. None: there is none; `make` it then.
    Raise PrivateError when it cannot be read, made, or is too short."""
    given = env.get(PEPPER_VARIABLE, "")
    text = _checked(given, PEPPER_VARIABLE) if given else kept(data / PEPPER, make=make)
    return None if text is None else text.encode()


def admin_token_of(data: Path, env: Mapping[str, str], *, make: bool = False) -> str | None:
    """Return the admin token when the config names none: the environment's, else that of the folder, as `pepper_of`."""
    given = env.get(TOKEN_VARIABLE, "")
    return _checked(given, TOKEN_VARIABLE) if given else kept(data / ADMIN_TOKEN, make=make)


def kept(path: Path, *, make: bool) -> str | None:
    """Return what a secret's file holds; made of 256 random bits if it is not there and shall be. Of several processes that
    make it at once all return the same. Raise PrivateError."""
    try:
        while True:
            try:
                with path.open("rb") as file:
                    return _checked(file.read(MOST_BYTES).decode("ascii").strip(), str(path))
            except FileNotFoundError:
                if not make:
                    return None
            _make(path)
    except (OSError, UnicodeDecodeError) as error:
        raise PrivateError(f"{path}: cannot be used: {error}") from None


def _make(path: Path) -> None:
    """Write a new secret whole, then give it its name, unless somebody else was first."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_urlsafe(32).encode() + b"\n")
            file.flush()
            os.fsync(fd)
        os.link(fresh, path)
    except FileExistsError:
        return
    finally:
        fresh.unlink()


def _checked(text: str, where: str) -> str:
    if len(text) < MIN_CHARACTERS:
        raise PrivateError(f"{where} is shorter than {MIN_CHARACTERS} characters")
    return text

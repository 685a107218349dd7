"""Address: what the URL of a counter store says."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

PLAIN = ("memory:", "file:")


class Address(NamedTuple):
    """Hold what `redis://USER:PASSWORD@HOST:PORT/DATABASE` says; rediss is TLS."""

    host: str
    port: int
    user: str
    password: str
    database: int
    secure: bool


def address_of(url: str) -> Address:
    """Return the parts of a URL. Raise ValueError when it is none of ours, without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port, database = parts.hostname, parts.port or 6379, int(parts.path.strip("/") or 0)
    except ValueError:
        raise ValueError("expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]") from None
    if parts.scheme not in ("redis", "rediss") or not host or parts.query or parts.fragment:
        raise ValueError("expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(host, port, user, password, database, parts.scheme == "rediss")


def check(url: str) -> None:
    """Raise ValueError when no counter store has such a URL."""
    if url not in PLAIN and not is_postgres(url):
        address_of(url)


def is_postgres(url: str) -> bool:
    """Tell whether a URL names a PostgreSQL database. Raise ValueError when it does and cannot be read, not repeating it."""
    if not url.startswith(("postgresql://", "postgres://")):
        return False
    try:
        parts = urlsplit(url)
        named = bool(parts.path.strip("/")) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise ValueError("expected postgresql://[USER:PASSWORD@]HOST[:PORT]/DATABASE")
    return True

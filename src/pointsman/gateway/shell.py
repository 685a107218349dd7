"""Shell: what an exchange needs of the worker it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointsman.gateway.books import Books
from pointsman.gateway.live import Live

if TYPE_CHECKING:
    from collections.abc import MutableSet

    from pointsman.gateway.cache import Cache
    from pointsman.gateway.exchange import Exchange


class Shell(Protocol):
    live: Live
    books: Books
    active: MutableSet[Exchange]
    cache: Cache

    def now_ms(self) -> float: ...

"""Resolver: the addresses of providers' names. The look-up of one name never waits for that of another (faults 1, 2, 10).

The system's look-up blocks, so each runs in a thread of its own, at most one a name; loops and pools of threads that others
use as well stay free of it. The threads are daemons: one that hangs does not keep the worker from ending.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from pointsman.gateway.reach import Reach

FRESH_MS = 60_000.0  # how long an answer is taken without asking again
AGAIN_MS = 1_000.0  # how long a failure is, and how young an answer is not asked again after a failed connect
MOST_ADDRESSES = 4  # of a name that are tried; each has its share of the time
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

Lookup = Callable[[str], list[str]]  # name -> addresses, the best first; may block; raises OSError
Found = list[str] | OSError


def system_lookup(host: str) -> list[str]:
    """Return the addresses of a name as the system knows them. Block; raise OSError when it does not."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def needs_no_lookup(host: str) -> bool:
    """Tell whether a host is an address, or this machine."""
    try:
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


class _Name:
    """Hold what is known of one name. Times are milliseconds of the monotonic clock."""

    addresses: tuple[str, ...] = ()  # the last good answer
    answered_ms = 0.0
    doubted = False  # nobody there could be connected to
    error: OSError | None = None  # of the last look-up
    failed_ms = 0.0
    begun_ms = 0.0
    under_way: asyncio.Future[None] | None = None


class Resolver:
    """Look names up, and remember. One for all Worlds of a worker; as many names as there are providers."""

    def __init__(self, clock: Callable[[], float], lookup: Lookup = system_lookup) -> None:
        self.reach = Reach()
        self._clock = clock
        self._lookup = lookup
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str, wait_ms: float) -> tuple[str, ...]:
        """Return up to MOST_ADDRESSES addresses of a name, after at most `wait_ms`. While the look-up is silent or fails,
        the last good answer holds; that there is no such name is an answer. Raise OSError when there is none."""
        name, now_ms = self._names.setdefault(host, _Name()), self._clock()
        if name.addresses and not name.doubted and now_ms - name.answered_ms < FRESH_MS:
            return name.addresses
        if name.under_way is None and not (name.error and now_ms - name.failed_ms < AGAIN_MS):
            self._begin(host, name)
        left_ms = name.begun_ms + wait_ms - now_ms
        if name.under_way is not None and left_ms > 0.0:
            await asyncio.wait([name.under_way], timeout=left_ms / 1000.0)
        if name.addresses:
            return name.addresses
        raise name.error or socket.gaierror(socket.EAI_AGAIN, "no answer within the limit")

    def doubt(self, host: str) -> bool:
        """Have a name looked up again before it is used again: nobody could be connected to. Return whether that makes a
        difference: not when its answer is only just here."""
        name = self._names.get(host)
        if name is None or self._clock() - name.answered_ms < AGAIN_MS:
            return False
        name.doubted = True
        return True

    def prefer(self, host: str, address: str) -> None:
        """Try an address first from now on: those before it could not be connected to."""
        name = self._names.get(host)
        if name is not None and address in name.addresses:
            name.addresses = (address, *[other for other in name.addresses if other != address])

    def _begin(self, host: str, name: _Name) -> None:
        loop = asyncio.get_running_loop()
        name.begun_ms, name.under_way = self._clock(), loop.create_future()
        threading.Thread(target=self._ask, args=(loop, host), name=f"dns {host}", daemon=True).start()

    def _ask(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        """Run in a thread."""
        found: Found
        try:
            found = self._lookup(host) or socket.gaierror(socket.EAI_NONAME, "the name has no address")
        except OSError as error:
            found = error
        except (UnicodeError, ValueError) as error:  # no name at all
            found = socket.gaierror(socket.EAI_NONAME, str(error))
        try:
            loop.call_soon_threadsafe(partial(self._heard, host, found))
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _heard(self, host: str, found: Found) -> None:
        name, now_ms = self._names[host], self._clock()
        if isinstance(found, list):
            name.addresses, name.answered_ms = tuple(found[:MOST_ADDRESSES]), now_ms
            name.doubted, name.error = False, None
        else:
            name.error, name.failed_ms = found, now_ms
            if found.errno in _NO_SUCH_NAME:
                name.addresses = ()
        waiting, name.under_way = name.under_way, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

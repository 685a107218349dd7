"""Link: one connection to a Redis server; commands go out at once, replies come back in their order. Callbacks, no tasks but
for opening it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from pointsman.core.address import Address
from pointsman.stores.counters.resp import MOST_REPLY_BYTES, Replies, Reply, RespError, command

Done = Callable[[Reply], None]  # None: the connection was lost first
CONNECT_S = 1.0
FINISH_S = 0.25
MOST_WAITING = 100_000  # replies


class Link(asyncio.Protocol):
    """Send commands and hand each its reply. `up` is called when it is connected, `down` when it no longer is."""

    def __init__(
        self,
        address: Address,
        up: Callable[[], None],
        down: Callable[[], None],
        most_reply_bytes: int = MOST_REPLY_BYTES,
    ) -> None:
        self._address = address
        self._most_reply_bytes = most_reply_bytes
        self._up, self._down = up, down
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: deque[Done] = deque()
        self._finished: asyncio.Event | None = None
        self._replies = Replies(self._most_reply_bytes)

    @property
    def is_up(self) -> bool:
        return self._transport is not None

    def open(self) -> asyncio.Task[None] | None:
        """Begin to connect if there is no connection. Bounded by CONNECT_S; `up` tells of success."""
        if self._transport is None and (self._opening is None or self._opening.done()):
            self._opening = asyncio.get_running_loop().create_task(self._connect())
        return self._opening

    def send(self, data: bytes, done: Done) -> None:
        """Send one command, only while `is_up`."""
        assert self._transport is not None
        self._waiting.append(done)
        self._transport.write(data)
        if len(self._waiting) > MOST_WAITING:
            self._transport.abort()

    async def finish(self) -> None:
        """Close when all that was sent has been answered, within FINISH_S."""
        if self._transport is not None and self._waiting:
            self._finished = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_S):
                    await self._finished.wait()
        self.close()

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        address = self._address
        context = ssl.create_default_context() if address.secure else None
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: self, address.host, address.port, ssl=context
                )
        except OSError:  # TimeoutError is one; tried again in a second
            return

    # --- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._replies = Replies(self._most_reply_bytes)
        self._waiting.clear()
        address = self._address
        if address.password:
            user = (address.user,) if address.user else ()
            self.send(command("AUTH", *user, address.password), _ignored)
        if address.database:
            self.send(command("SELECT", address.database), _ignored)
        self._up()

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except (RespError, ValueError):
            if self._transport is not None:
                self._transport.abort()
            return
        for reply in replies:
            if self._waiting:
                self._waiting.popleft()(reply)
        if self._finished is not None and not self._waiting:
            self._finished.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for done in waiting:
            done(None)
        self._down()


def _ignored(reply: Reply) -> None:
    """What is wrong shows in the next command."""

"""An in-memory network: links of two transports with latency, bounded buffers, seeded cuts of the bytes, and sudden ends."""

from __future__ import annotations

import asyncio
import contextvars
import random
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from sim_loop import OWNER, VirtualLoop

WINDOW_BYTES = 64 * 1024  # under way between two ends, as in a socket's buffers


class End(asyncio.Transport):
    """Be one end of a link. `window` bytes may be on their way to it; what is beyond waits in the writer's buffer."""

    peer: End
    closed_s: float | None = None  # when this end was given up by its own side
    lost_s: float | None = None  # when its protocol heard of the end

    def __init__(self, link: Link, protocol: Any, context: contextvars.Context, window: int) -> None:
        super().__init__()
        self.link, self.protocol, self.context, self.window = link, protocol, context, window
        self.owner = context.get(OWNER, 0)
        self.dead = False
        self.high, self.low = 64 * 1024, 16 * 1024
        self.most_high = 1 << 30  # a bound on what the writer may ask for: small kernels
        self.peak_bytes = 0
        self.writes: list[tuple[int, float, int]] = []  # (sequence, time, bytes so far): when what was written
        self.written = 0
        self.last_in_s = 0.0
        self._out: deque[bytes] = deque()  # not yet on its way
        self._out_bytes = 0
        self._inbox: deque[bytes] = deque()  # arrived, not yet read
        self._inbox_bytes = 0
        self._flying_bytes = 0  # on their way to this end
        self._reading = True
        self._stalled = False  # our writer was told to pause
        self._ending: str | None = None  # eof or reset has arrived behind the bytes
        self._reader: asyncio.Handle | None = None

    # --- asyncio.Transport
    def write(self, data: Any) -> None:
        data = bytes(data)
        if self.closed_s is not None or self.dead or not data:
            return
        self.written += len(data)
        self.writes.append((self.link.network.tick(), self.link.loop.time(), self.written))
        if self.link.on_write is not None and self is self.link.front:
            self.link.on_write(self.link, data)
        self._out.append(data)
        self._out_bytes += len(data)
        self._push()
        self.peak_bytes = max(self.peak_bytes, self._out_bytes)
        if self._out_bytes > self.high and not self._stalled:
            self._stalled = True
            self.protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = min(64 * 1024 if high is None else high, self.most_high)
        self.low = self.high // 4

    def get_write_buffer_size(self) -> int:
        return self._out_bytes

    def is_closing(self) -> bool:
        return self.closed_s is not None

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._wake()

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def close(self) -> None:
        if self.closed_s is None:
            self.closed_s = self.link.loop.time()
            self._reading = False
            if not self._out:
                self._fin()

    def abort(self) -> None:
        if self.closed_s is None or self._out:
            self.closed_s = self.link.loop.time() if self.closed_s is None else self.closed_s
            self._out.clear()
            self._out_bytes = 0
            self._tell_peer("reset")
            self._lose(None)

    # --- inside
    def _fin(self) -> None:
        self._tell_peer("eof")
        self._lose(None)

    def _tell_peer(self, how: str) -> None:
        peer = self.peer
        self.link.later(peer, lambda: peer._end(how))

    def _lose(self, error: Exception | None) -> None:
        if self.lost_s is None and not self.dead:
            self.lost_s = -1.0
            self.link.loop.call_soon(self._lost, error, context=self.context)

    def _lost(self, error: Exception | None) -> None:
        if not self.dead:
            self.lost_s = self.link.loop.time()
            self.protocol.connection_lost(error)

    def _push(self) -> None:
        """Put on its way what the window takes, cut at seeded points."""
        peer = self.peer
        while self._out and peer._flying_bytes + peer._inbox_bytes < peer.window:
            data = self._out.popleft()
            room = peer.window - peer._flying_bytes - peer._inbox_bytes
            size = min(len(data), room, self.link.cut(len(data)))
            if size < len(data):
                self._out.appendleft(data[size:])
            piece = data[:size]
            self._out_bytes -= size
            peer._flying_bytes += size
            self.link.later(peer, lambda piece=piece: peer._arrive(piece))
        if not self._out and self.closed_s is not None and self.lost_s is None:
            self._fin()

    def _arrive(self, piece: bytes) -> None:
        self._flying_bytes -= len(piece)
        if self.closed_s is not None or self.dead:
            return
        self._inbox.append(piece)
        self._inbox_bytes += len(piece)
        self._wake()

    def _end(self, how: str) -> None:
        if how == "reset":
            self._inbox.clear()
            self._inbox_bytes = 0
            self._out.clear()
            self._out_bytes = 0
            if self.lost_s is None:
                self.closed_s = self.link.loop.time() if self.closed_s is None else self.closed_s
                self._lose(ConnectionResetError("reset by peer"))
            return
        self._ending = how
        self._wake()

    def _wake(self) -> None:
        if self._reader is None and not self.dead:
            self._reader = self.link.loop.call_soon(self._read, context=self.context)

    def _read(self) -> None:
        self._reader = None
        if self.closed_s is not None or self.dead:
            return
        while self._inbox and self._reading and self.closed_s is None:
            pieces = [self._inbox.popleft()]
            while self._inbox and self.link.joins():
                pieces.append(self._inbox.popleft())
            data = b"".join(pieces)
            self._inbox_bytes -= len(data)
            self.last_in_s = self.link.loop.time()
            self.protocol.data_received(data)
            self.link.loop.call_soon(self.peer._room, context=self.peer.context)
        if self._ending == "eof" and not self._inbox and self._reading and self.closed_s is None:
            self.protocol.eof_received()
            self.closed_s = self.link.loop.time()
            self._out.clear()
            self._lose(None)

    def _room(self) -> None:
        """Go on writing: the other end has read."""
        if self.dead or self.lost_s is not None:
            return
        self._push()
        if self._stalled and self._out_bytes <= self.low:
            self._stalled = False
            self.protocol.resume_writing()

    def kill(self) -> None:
        """End with the process behind it: nobody here hears of anything, the other end is reset."""
        self.dead = True
        if self.closed_s is None or self._out:
            self.closed_s = self.link.loop.time()
            self._out.clear()
            self._tell_peer("reset")


class Link:
    """Join two ends. What arrives keeps its order; each piece takes the link's latency."""

    on_write: Callable[[Link, bytes], None] | None = None  # told of what the front end writes

    def __init__(self, network: Network, number: int, name: str) -> None:
        self.network, self.number, self.name = network, number, name
        self.loop = network.loop
        self.latency_s = 0.0
        self._chance = random.Random(f"{network.seed}:{name}:{number}")
        self.opened_s = self.loop.time()
        self._last: dict[int, float] = {}
        self._queues: dict[int, deque[Callable[[], None]]] = {}
        self.latency_s = self._chance.choice((0.0, 0.0005, 0.002, 0.02))
        self.cuts = self._chance.choice((0, 0, 1, 2))  # 0: hardly cut; 2: small pieces
        self.front: End
        self.back: End

    def cut(self, size: int) -> int:
        if self.cuts == 0 or size < 2:
            return size
        return self._chance.randint(1, size) if self.cuts == 1 else self._chance.randint(1, 80)

    def joins(self) -> bool:
        return self.cuts == 0 or self._chance.random() < 0.7

    def later(self, end: End, call: Callable[[], None]) -> None:
        due = max(self.loop.time() + self.latency_s, self._last.get(id(end), 0.0))
        self._last[id(end)] = due
        # Timers of one time fire in no order that is promised; what is on its way to an end keeps its own.
        queue = self._queues.setdefault(id(end), deque())
        queue.append(call)
        self.loop.call_at(due, lambda: queue.popleft()(), context=self.network.context)


class Network:
    """Hold who listens, every link there was, and what goes wrong while connecting."""

    def __init__(self, loop: VirtualLoop, seed: str) -> None:
        self.loop, self.seed = loop, seed
        self.context = contextvars.Context()
        self.links: list[Link] = []
        self.back: dict[int, Callable[[], Any]] = {}  # port -> protocol factory of a provider
        self.front: Callable[[], Any] | None = None  # the worker's
        self.front_context = self.context
        self.trouble: Callable[[int], str] = lambda port: ""
        self.on_send: Callable[[Link, bytes], None] | None = None
        self.left: list[Any] = []  # clients that went by their own wish
        self.over = False  # no worker comes any more
        self._ticks = 0

    def tick(self) -> int:
        """Return the next number of the one order of all that happens."""
        self._ticks += 1
        return self._ticks

    async def connect(self, factory: Callable[[], Any], port: int) -> tuple[Any, Any]:
        """Open a connection of the gateway to a provider, or fail as the network is told to."""
        trouble = self.trouble(port)
        link = Link(self, len(self.links), f"upstream-{port}")
        await asyncio.sleep(link.latency_s)
        if trouble == "hang":
            await asyncio.sleep(3600.0)
        if trouble == "refuse":
            raise ConnectionRefusedError(111, "Connection refused")
        if trouble == "dns":
            raise OSError(-2, "Name or service not known")
        if trouble == "tls":
            error = ssl.SSLCertVerificationError(1, "certificate verify failed")
            error.verify_message = "certificate has expired"
            raise error
        link.on_write = self.on_send
        protocol = factory()
        self._join(link, (protocol, contextvars.copy_context()), (self.back[port](), self.context))
        return link.front, protocol

    def listen(self, factory: Callable[[], Any], port: int) -> Any:
        self.front, self.front_context = factory, contextvars.copy_context()
        return _Server(self)

    def dial(self, client: Any, *, window: int = WINDOW_BYTES, high: int = 1 << 30) -> Link | None:
        """Connect a client to the worker; None when nobody listens."""
        if self.front is None:
            return None
        link = Link(self, len(self.links), "client")
        factory, context = self.front, self.front_context
        self._join(link, (client, self.context), (context.copy().run(factory), context.copy()), (window, high))
        return link

    def _join(self, link: Link, front: Any, back: Any, small: tuple[int, int] = (WINDOW_BYTES, 1 << 30)) -> None:
        self.links.append(link)
        link.front, link.back = End(link, *front, small[0]), End(link, *back, WINDOW_BYTES)
        link.back.most_high = small[1]
        link.front.peer, link.back.peer = link.back, link.front
        for end in (link.back, link.front):
            end.context.copy().run(end.protocol.connection_made, end)

    def kill(self, owner: int) -> None:
        """End every connection of a dead worker."""
        self.front = None
        for link in self.links:
            for end in (link.front, link.back):
                if end.owner == owner and not end.dead:
                    end.kill()


class _Server:
    sockets = ()  # none to set options on

    def __init__(self, network: Network) -> None:
        self._network = network

    def close(self) -> None:
        self._network.front = None

"""Counters that many machines share, whatever the server is: one call a decision, the server's clock.

A call waits until the server has been silent for 50 ms, and half a second at most while it speaks: a busy one, or a loop of
ours that was late, is no reason to count less exactly. Five that fail in a row open the breaker: then each replica decides
alone, from its share of what was left (`Share`), and asks the server once a second whether it is back. What was used meanwhile
is booked there afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from pointsman.core.quotas import Ask, Counter, End, Taken, Verdict, Windows
from pointsman.stores.counters.base import Clock, CountersError, Then
from pointsman.stores.counters.leases import Leases
from pointsman.stores.counters.server import Done, Fault, Reply, Server
from pointsman.stores.counters.share import Share
from pointsman.stores.counters.unsettled import Unsettled

MOST_WAIT_US = 50_000  # for any word of the server
MOST_BUSY_US = 500_000  # for a decision, while others are answered
FAILURES = 5  # in a row open the breaker
OPEN_US = 1_000_000
SILENT_US = 5_000_000  # without a reply, after which a connection is made anew
BATCH = 64  # counters that are settled in one call
MOST_OWED = 60_000

Connect = Callable[[Callable[[int], None], Callable[[], None]], Server]


class _Asked:
    """Hold one reservation that waits for its reply. `then` is None when it no longer does."""

    __slots__ = ("again", "asked_us", "asks", "sent_us", "then")

    def __init__(self, asks: Sequence[Ask], then: Then, asked_us: int) -> None:
        self.asks = asks
        self.then: Then | None = then
        self.asked_us = asked_us
        self.sent_us = asked_us + MOST_BUSY_US  # the turn of the loop in which it leaves has not ended
        self.again = False


class SharedCounters:
    """Count in a server as one worker of one of so many replicas. To be made and used on the event loop."""

    def __init__(self, connect: Connect, replicas: int, lease_ms: int, clock: Clock, windows: Windows) -> None:
        self.local = True  # until the server has answered
        self.failures: dict[str, int] = {}
        self._clock, self._windows = clock, windows
        self._share = Share(clock, windows, replicas)
        self._server = connect(self._up, self._down)
        self._loop = asyncio.get_running_loop()
        self._asked: deque[_Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._fresh: list[_Asked] = []
        self._looked = False  # once more for replies, before the late ones are given up
        self._in_a_row = 0
        self._again_us = 0  # when an open breaker lets one call through
        self._offset_us: int | None = None  # from our clock to the server's
        self._held: dict[str, int] = {}  # by counter, what we know to hold in the server
        self._unsettled = Unsettled(partial(self._count_failure, "unsettled"))
        self._owed: dict[str, tuple[Counter, int]] = {}  # used while we counted alone
        self._seen: dict[str, tuple[int, int, int, int]] = {}
        self._heard_us = clock.now_us()
        self._ready = asyncio.Event()
        self._leases = Leases(self, lease_ms, replicas, clock.now_us) if lease_ms else None

    @property
    def why(self) -> str:
        """Return what the server said when it was last not to be had."""
        return self._server.why

    async def ready(self, seconds: float) -> bool:
        """Connect; return whether the server has answered within so many seconds."""
        self._server.open()
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    # --- the store
    def reserve(self, asks: Sequence[Ask], then: Then) -> Verdict | None:
        offset_us = self._offset_us
        if self.local or offset_us is None:
            return self._alone(asks)
        if self._leases is not None:
            verdict = self._leases.take(asks)
            if verdict is not None:
                return verdict
        asked = _Asked(asks, then, self._clock.now_us())
        self._ask(asked)
        if not self._fresh:
            self._loop.call_soon(self._turned)
        self._fresh.append(asked)
        return None

    def _turned(self) -> None:
        """Begin to wait for what was asked in the last turn of the loop, which may have been a long one."""
        now_us = self._clock.now_us()
        for asked in self._fresh:
            asked.sent_us = now_us
        self._fresh.clear()
        if self._timer is None and self._asked:
            self._timer = self._loop.call_later(MOST_WAIT_US / 1e6, self._expire)

    def _ask(self, asked: _Asked) -> None:
        self._asked.append(asked)
        self._send(asked.asks, asked.asked_us + MOST_BUSY_US, partial(self._reserved, asked))

    def _send(self, asks: Sequence[Ask], due_us: int, done: Done) -> None:
        offset_us = self._offset_us or 0
        wall_ms = (self._clock.now_us() + offset_us) // 1000
        figures: list[int] = []
        for counter, amount, hard in asks:
            figures += (*self._shape(counter, wall_ms), amount, int(hard))
        self._server.reserve(due_us + offset_us, [counter.name for counter, _, _ in asks], figures, done)

    def settle(self, ends: Sequence[End], *, local: bool = False) -> None:
        if local:
            self._share.settle(ends)
            used = [(counter, 0, actual, 0) for counter, _, actual, _ in ends if not counter.rate_us and actual]
            if not self.local:  # the server came back meanwhile
                self.book(used)
                return
            for counter, _, actual, _ in used:
                if counter.name in self._owed or len(self._owed) < MOST_OWED:
                    self._owed[counter.name] = (counter, self._owed.get(counter.name, (counter, 0))[1] + actual)
        elif self._leases is None or not self._leases.settle(ends):
            self.book(ends)

    def book(self, ends: Sequence[End]) -> None:
        """Settle now, or when the server is back."""
        for counter, reserved, _, _ in ends:
            if not counter.rate_us:
                left = self._held.get(counter.name, 0) - reserved
                if left > 0:
                    self._held[counter.name] = left
                else:
                    self._held.pop(counter.name, None)
        for at in range(0, len(ends), BATCH):
            self._unsettled.add(ends[at : at + BATCH])
        if not self.local:
            self._flush()

    def lease(self, ask: Ask, done: Callable[[Verdict | None], None]) -> None:
        """Reserve for later requests."""

        def told(reply: Reply) -> None:
            verdict = self._verdict([ask], reply)
            if verdict is not None and verdict.refusing < 0:
                self._hold([ask])
            done(verdict)

        if self.local:
            done(None)
        else:
            self._send([ask], self._clock.now_us() + MOST_WAIT_US, told)

    def _hold(self, asks: Sequence[Ask]) -> None:
        for counter, amount, _ in asks:
            if not counter.rate_us:
                self._held[counter.name] = self._held.get(counter.name, 0) + amount

    def read(self, counters: Sequence[Counter]) -> list[tuple[int, int, int, int]]:
        """Return what the last replies said; what nobody asked for lately is old."""
        return [self._seen.get(one.name, (0, 0, one.limit, 0)) for one in counters]

    def flush(self) -> None:
        """Nothing was put off: it is on its way."""

    def tick(self) -> None:
        """Say that we live; when the server was away, ask whether it is back."""
        if not self._server.is_up:
            self._server.open()
        elif self._clock.now_us() - self._heard_us > SILENT_US:
            self._heard_us = self._clock.now_us()
            self._server.close()  # it may be gone without a word
        elif not self.local:
            self._unsettled.again()
            self._flush()
            self._beat()
        elif self._clock.now_us() >= self._again_us:
            self._again_us = self._clock.now_us() + OPEN_US
            self._beat()

    async def finish(self) -> None:
        """Let what was settled reach the server, with the leases given back, and close; bounded in time."""
        if self._leases is not None:
            self._leases.end()
        self._unsettled.again()
        if not self.local and self._server.is_up:
            self._flush()
        await self._server.finish()
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._leases = None
        self._server.close()

    # --- deciding alone
    def _alone(self, asks: Sequence[Ask]) -> Verdict:
        return self._share.reserve(asks)._replace(local=True)

    def _failed(self, what: str) -> None:
        self._count_failure(what)
        self._in_a_row += 1
        if self._in_a_row >= FAILURES and not self.local:
            self._go_alone()

    def _count_failure(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1

    def _go_alone(self) -> None:
        self.local = True
        self._again_us = self._clock.now_us() + OPEN_US
        if self._leases is not None:
            self._leases.end()
        self._give_up(list(self._asked))

    def _heal(self) -> None:
        """Forget what we counted alone: the next time begins from what is left then."""
        if self._in_a_row:
            self._in_a_row = 0
            self._share.begin()

    def _give_up(self, waiting: Sequence[_Asked]) -> None:
        """Answer these from our share. What the server still says to them is given back."""
        for asked in waiting:
            if self._asked and self._asked[0] is asked:
                self._asked.popleft()
            then, asked.then = asked.then, None
            if then is None:
                continue
            try:
                verdict = self._alone(asked.asks)
            except CountersError:
                verdict = Verdict(0, OPEN_US, [Taken(0, OPEN_US, 0) for _ in asked.asks], local=True)
            then(verdict)

    def _due_us(self, asked: _Asked) -> int:
        """Return until when to wait for a reply, as far as is known now."""
        return min(max(asked.sent_us, self._heard_us) + MOST_WAIT_US, asked.asked_us + MOST_BUSY_US)

    def _expire(self) -> None:
        self._timer = None
        now_us = self._clock.now_us()
        late = [asked for asked in self._asked if self._due_us(asked) <= now_us]
        self._looked = bool(late) and not self._looked
        if self._looked:  # our loop may be what was late, and the reply be there: read first
            self._timer = self._loop.call_later(0.001, self._expire)
            return
        for _ in late:
            self._failed("timeout")
        self._give_up(late)
        if self._asked:
            wait_s = max(0.001, (self._due_us(self._asked[0]) - now_us) / 1e6)
            self._timer = self._loop.call_later(wait_s, self._expire)

    # --- replies
    def _reserved(self, asked: _Asked, reply: Reply) -> None:
        then, asked.then = asked.then, None
        if self._asked and self._asked[0] is asked:
            self._asked.popleft()
        verdict = self._verdict(asked.asks, reply)
        if reply is not None:
            self._heard_us = self._clock.now_us()
        if verdict is None:
            if then is not None:
                self._failed("lost" if reply is None else "error" if isinstance(reply, Fault) else "late")
                asked.then = then
                self._give_up([asked])
            return
        if verdict.refusing >= 0 and then is not None and self._asks_again(asked, then):
            return
        if verdict.refusing < 0:
            self._hold(asked.asks)
            if then is None:  # too late: nobody waits for it any more
                ends = [
                    (counter, amount, 0, one[2])
                    for (counter, amount, _), one in zip(asked.asks, verdict.taken, strict=True)
                ]
                self.book(ends)
        if then is not None:
            self._heal()
            if self._leases is not None and verdict.refusing < 0:
                self._leases.note(asked.asks, [Taken._make(one) for one in verdict.taken])
            then(verdict)

    def _asks_again(self, asked: _Asked, then: Then) -> bool:
        """Ask once more, when it was our own leases that left no room; they are given back first."""
        if self.local or self._leases is None or asked.again or not self._leases.give_back(asked.asks):
            return False
        asked.again, asked.then = True, then
        self._ask(asked)
        return True

    def _verdict(self, asks: Sequence[Ask], reply: Reply) -> Verdict | None:
        """Read a reply; None when it is none that decides."""
        if not isinstance(reply, list) or len(reply) != 3 + 5 * len(asks):
            return None
        refusing, wait_us, server_us = reply[:3]
        self._note_clock(server_us)
        taken = [Taken(*reply[at : at + 5]) for at in range(3, len(reply), 5)]
        for (counter, amount, _), one in zip(asks, taken, strict=True):
            left = one.left + amount if refusing >= 0 else one.left
            held = one.held + (amount if refusing < 0 and not counter.rate_us else 0)
            used = one.used if not counter.rate_us else counter.limit - left
            self._share.heard(counter, left)
            if counter.name in self._seen or len(self._seen) < MOST_OWED:
                self._seen[counter.name] = (used, held, left, one.reset_us)
        return Verdict(refusing, wait_us, taken)

    def _note_clock(self, server_us: int) -> None:
        """Take the server's time as the newest reply has it: behind by its way here, so that we rather give up early."""
        self._heard_us = self._clock.now_us()
        self._offset_us = server_us - self._heard_us

    # --- settling
    def _flush(self) -> None:
        """Send the settlements that the present connection has not seen."""
        wall_ms = (self._clock.now_us() + (self._offset_us or 0)) // 1000
        for number, ends in self._unsettled.unsent():
            figures: list[int] = []
            for counter, reserved, actual, start in ends:
                figures += (*self._shape(counter, wall_ms), reserved, actual, start)
            self._server.settle(number, [end[0].name for end in ends], figures, partial(self._settled, number))

    def _settled(self, number: int, reply: Reply) -> None:
        if reply is None:
            return  # sent again on the next connection
        refused = isinstance(reply, Fault)
        self._unsettled.answered(number, taken=not refused)
        if refused:
            self._failed("error")

    def _shape(self, counter: Counter, wall_ms: int) -> tuple[int, int, int, int, int]:
        """Return what the server needs to know of a counter: period of the rate, limit, this window and the end of the next."""
        if counter.rate_us:
            return counter.rate_us, counter.limit, 0, 0, 0
        begin, until = self._windows.at(counter.period, wall_ms)
        return 0, counter.limit, begin, until, until + (until - begin)

    # --- the connection
    def _up(self, server_us: int) -> None:
        self._unsettled.again(all=True)
        self._note_clock(server_us)
        self._flush()  # what the connection before may not have carried; then the server has what we know, and perhaps more
        self._beat(reconcile=True)

    def _beat(self, *, reconcile: bool = False) -> None:
        due_us = self._clock.now_us() + MOST_WAIT_US
        self._server.beat(self._held if reconcile else None, partial(self._beaten, due_us))

    def _beaten(self, due_us: int, reply: Reply) -> None:
        now_us = self._clock.now_us()
        if not isinstance(reply, list):
            if isinstance(reply, Fault):
                self._count_failure("error")
            return
        if reply:
            self._note_clock(reply[0])
        if not self.local or now_us > due_us:
            return
        self.local = False
        self._heal()
        owed, self._owed = list(self._owed.values()), {}
        for at in range(0, len(owed), BATCH):
            self._unsettled.add([(counter, 0, amount, 0) for counter, amount in owed[at : at + BATCH]])
        self._unsettled.again()
        self._flush()
        self._ready.set()

    def _down(self) -> None:
        if not self.local:
            self._count_failure("lost")
            self._go_alone()

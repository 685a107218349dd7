"""PostgreSQL as the server of shared counters: `postgresql://`. One call carries all decisions that came while the one before
was under way, so a worker has one connection and each decision costs at most one round trip of its own.

The driver is the only one here that has coroutines: one task lives as long as the connection and carries what is queued.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from pointsman.stores.counters import routines
from pointsman.stores.counters.base import CountersError
from pointsman.stores.counters.server import OWNER_MS, Done, Fault, Figures

try:
    import asyncpg
except ModuleNotFoundError:
    raise CountersError("counters in PostgreSQL need its driver: pip install 'pointsman[postgres]'") from None

CONNECT_S = 2.0
FINISH_S = 0.25
LOCK_MS = 1_000  # that the server waits for a row; nobody holds one for longer than a call takes
MOST_STEPS = 256  # in a call
MOST_QUEUED = 100_000
MOST_FIGURE = 1 << 60  # so that sums stay within 64 bits
_WIDTH = {routines.RESERVE: 7, routines.SETTLE: 8}  # figures of a counter
# The first call of a connection takes the server longer, so it is made for nobody: of nothing, in a window without end.
_FIRST = [routines.RESERVE, 1, MOST_FIGURE, 1, 0, 1, 0, 1 << 51, 1 << 51, 0, 0]
_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


class _Step(NamedTuple):
    """Hold one reservation or settlement; `head` is the latest time or the number. Kind 0: a beat."""

    kind: int
    head: int
    names: Sequence[str]
    figures: Sequence[int]
    done: Done


class PostgresServer:
    """Call the routines as `owner`, one worker of one replica."""

    def __init__(self, url: str, owner: str, up: Callable[[int], None], down: Callable[[], None]) -> None:
        self._url, self._owner = url, owner
        self._up, self._down = up, down
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[_Step] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self.why = ""

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._live())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        if self._task is not None:
            self._task.cancel()

    async def finish(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                while self.is_up and (self._queue or not self._idle.is_set()):
                    self._idle.clear()
                    self._wake.set()
                    await self._idle.wait()
        self.close()

    def reserve(self, latest_us: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        self._put(_Step(routines.RESERVE, latest_us, names, figures, done))

    def settle(self, number: int, names: Sequence[str], figures: Sequence[int], done: Done) -> None:
        self._put(_Step(routines.SETTLE, number, names, figures, done))

    def beat(self, known: Mapping[str, int] | None, done: Done) -> None:
        held = known or {}
        self._put(_Step(0, int(known is not None), list(held), list(held.values()), done))

    def _put(self, step: _Step) -> None:
        self._queue.append(step)
        self._wake.set()
        if len(self._queue) > MOST_QUEUED and self._connection is not None:
            self._connection.terminate()

    # --- the task
    async def _live(self) -> None:
        """Connect, and carry what is queued until the connection is lost."""
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await asyncpg.connect(self._url, server_settings={"lock_timeout": str(LOCK_MS)})
        except (OSError, *_REFUSED) as error:  # TimeoutError is one; tried again in a second
            self.why = str(error)[:200] or "it does not answer"
            return
        under_way: list[_Step] = []
        try:
            count, beat = await _prepared(connection)
            connection.add_termination_listener(lambda _: self._wake.set())
            await count.fetchval(self._owner, ["-"], _FIRST)
            (now_us,) = await beat.fetchval(self._owner, OWNER_MS, False, [], [])
            self._connection, self.why = connection, ""
            self._up(now_us)
            while not connection.is_closed():
                under_way += self._next()
                if not under_way:
                    self._idle.set()
                    await self._wake.wait()
                    self._wake.clear()
                elif under_way[0].kind:
                    await self._count(count, under_way)
                else:
                    ((_, reconcile, names, amounts, _),) = under_way
                    reply = await _asked(beat, self._owner, OWNER_MS, bool(reconcile), names, amounts)
                    under_way.pop().done(reply)
        except (OSError, *_REFUSED) as error:
            self.why = str(error)[:200]
        finally:
            was_up, self._connection = self._connection is not None, None
            connection.terminate()
            lost, self._queue = [*under_way, *self._queue], deque()
            self._idle.set()
            for step in lost:
                step.done(None)
            if was_up:
                self._down()

    def _next(self) -> list[_Step]:
        """Take what the next call carries: a beat, or as many decisions as there are up to the next one."""
        queue, taken = self._queue, list[_Step]()
        while queue and len(taken) < MOST_STEPS and (not taken or (queue[0].kind and taken[0].kind)):
            taken.append(queue.popleft())
        return taken

    async def _count(self, count: asyncpg.prepared_stmt.PreparedStatement, steps: list[_Step]) -> None:
        """Carry decisions, which leave `steps` as they are answered."""
        names = sorted({name for step in steps for name in step.names})
        place = {name: at for at, name in enumerate(names, 1)}
        figures: list[int] = []
        for step in steps:
            figures += (step.kind, len(step.names), step.head)
            width = _WIDTH[step.kind]
            for at, name in enumerate(step.names):
                figures.append(place[name])
                figures += step.figures[at * width : (at + 1) * width]
        if max(figures) > MOST_FIGURE:
            figures = [min(one, MOST_FIGURE) for one in figures]
        reply = await _asked(count, self._owner, names, figures)
        carried, at = steps[:], 0
        steps.clear()
        for step in carried:
            if isinstance(reply, Fault):
                step.done(reply)
                continue
            size = 3 + 5 * len(step.names) if step.kind == routines.RESERVE else 1
            part = reply[at : at + size]
            at += size
            step.done(part[:3] if part[0] < -1 else part)


async def _prepared(
    connection: asyncpg.Connection,
) -> tuple[asyncpg.prepared_stmt.PreparedStatement, asyncpg.prepared_stmt.PreparedStatement]:
    """Return the routines, ready to be called; they are installed if they are not there."""
    async with asyncio.timeout(CONNECT_S):
        if not await connection.fetchval(routines.IS_THERE):
            await connection.execute(routines.INSTALL)
        count = await connection.prepare(f"SELECT {routines.COUNT}($1, $2, $3)")
        return count, await connection.prepare(f"SELECT {routines.BEAT}($1, $2, $3, $4, $5)")


async def _asked(routine: asyncpg.prepared_stmt.PreparedStatement, *given: object) -> Figures | Fault:
    """Return what a routine answers. Raise what says that the connection or the routine is gone."""
    try:
        found: Figures = await routine.fetchval(*given)
        return found
    except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError, asyncpg.PostgresConnectionError):
        raise
    except asyncpg.PostgresError as error:
        return Fault(str(error)[:200])

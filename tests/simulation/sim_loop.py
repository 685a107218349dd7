"""A virtual event loop: time passes only when nothing is left to do, and every choice comes from a seed."""

from __future__ import annotations

import asyncio
import inspect
import random
import selectors
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from pointsman.gateway.clock import Clock

EPOCH_S = 1_790_000_000  # wall clock of virtual second 0
OWNER: ContextVar[int] = ContextVar(
    "OWNER", default=0
)  # the worker incarnation that code runs for; 0: the world around


class Deadlock(AssertionError):
    """Say that nothing is left that could ever happen."""


class _Selector(selectors.SelectSelector):
    """Never poll; let the loop's time go to its next timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is scheduled and nothing is ready")
        if timeout > 0:
            self.loop.advance()
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run callbacks under virtual time. `network` plays the sockets, `after_step` looks at the world after each turn.

    Of what is ready at once only task steps change places: that plain callbacks run in order is asyncio's promise.
    """

    def __init__(self, seed: str) -> None:
        self._now_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._chance = random.Random(f"{seed}:loop")
        self._owned: list[tuple[int, asyncio.Task[Any]]] = []
        self.network: Any = None
        self.after_step: Callable[[], None] = lambda: None
        self.failures: list[str] = []  # exceptions that no code of ours caught
        self.set_exception_handler(_note)

    def time(self) -> float:
        return self._now_s

    def advance(self) -> None:
        self._now_s = max(self._now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        self._shuffle()
        super()._run_once()  # type: ignore[misc]
        self.after_step()

    def _shuffle(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        if len(ready) < 2:
            return
        places = [i for i, handle in enumerate(ready) if "Task" in type(handle._callback).__name__]
        if len(places) > 1:
            steps = [ready[i] for i in places]
            self._chance.shuffle(steps)
            for place, handle in zip(places, steps, strict=True):
                ready[place] = handle

    # --- the outside world
    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return await self.network.connect(factory, port)

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return self.network.listen(factory, port)

    # --- sudden death
    def forget(self, owner: int) -> None:
        """Drop all that is to happen on behalf of a dead worker, as the kernel does with a killed process."""
        for handle in [*self._ready, *self._scheduled]:  # type: ignore[attr-defined]
            if handle._context is not None and handle._context.get(OWNER) == owner:
                handle.cancel()
        for task in self.tasks_of(owner):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro: Any = task.get_coro()
            if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
                coro.close()  # else Python warns that it was never awaited

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        self._owned.append((OWNER.get() if context is None else context.get(OWNER, 0), task))
        return task

    def tasks_of(self, owner: int) -> list[asyncio.Task[Any]]:
        """Return the tasks of a worker that have not ended."""
        return [task for its, task in self._owned if its == owner and not task.done()]


class Crash(BaseException):
    """Unwind the callback in which a worker was killed."""


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    assert isinstance(loop, VirtualLoop)
    if isinstance(error, Crash):
        return
    where = ""
    trace = getattr(error, "__traceback__", None)
    while trace is not None:
        where, trace = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}", trace.tb_next
    loop.failures.append(f"{type(error).__name__}: {error} at {where} ({context.get('message')})")


class VirtualClock(Clock):
    """Read the loop's time; `jump_s` moves the wall clock alone."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.jump_s = 0.0
        self.monotonic = lambda: 1000.0 + loop.time()  # type: ignore[assignment]
        self.wall_ns = lambda: int((EPOCH_S + loop.time() + self.jump_s) * 1e9)  # type: ignore[assignment]

    def now_ms(self) -> float:
        return (1000.0 + self.loop.time()) * 1000.0


class Ordered(dict[Any, None]):
    """A set that is walked in the order of insertion, so that equal seeds walk alike."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

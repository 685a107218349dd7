"""Guard: what keeps plug-ins from harming the worker they run in: calls are timed, faults counted, and after some of them
a plug-in is not asked for a while.

Python cannot interrupt Python, so a call that never ends is beyond this; one that is slow costs its time once, then thrice.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import PurePath
from typing import TypeVar

MOST_MS = 5.0  # a call that takes longer is a strike
STRIKES = 3  # so many ...
WITHIN_S = 60.0  # ... within this time disable a plug-in ...
PAUSE_S = 60.0  # ... for so long
_WHOSE = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
T = TypeVar("T")


def _usage() -> tuple[float, int]:
    """Return the seconds of CPU that this thread has used, and how often it has waited for something."""
    used = resource.getrusage(_WHOSE)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw


def _print(text: str) -> None:
    print(f"pointsman: {text}", file=sys.stderr, flush=True)


class Failed(Exception):
    """Say in a few words how a plug-in failed; nothing of the request is in it."""


class Guards:
    """Hold what is known of each plug-in's behaviour. Calls are only timed and counted where this is `enforced`: in a
    worker, whose other requests wait for them. `clock` gives seconds, `usage` seconds of CPU and the number of waits."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, usage: Callable[[], tuple[float, int]] = _usage
    ) -> None:
        self.enforced = False
        self.clock, self.usage = clock, usage
        self._strikes: dict[str, deque[float]] = {}
        self._until_s: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.tell: Callable[[str], None] = _print

    def resting(self, name: str) -> bool:
        """Tell whether a plug-in is disabled now."""
        return self.enforced and self._until_s.get(name, 0.0) > self.clock()

    def states(self) -> dict[str, str]:
        """Return `ok` or `disabled` by plug-in, of those that were asked."""
        return {name: "disabled" if self.resting(name) else "ok" for name in self.failures}

    def call(self, name: str, ask: Callable[[], T], fault_of: Callable[[T], str]) -> T:
        """Return the plug-in's answer. Raise Failed when it is disabled, raises, or answers what `fault_of` objects to."""
        if self.resting(name):
            raise Failed(f"{name} is disabled")
        began, where = (self.clock(), *self.usage()) if self.enforced else (0.0, 0.0, 0), ""
        try:
            answer = ask()
            fault = fault_of(answer)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it raises, the request goes on
            fault, where = f"raised {type(error).__name__}", _place(error)
        if self.enforced:
            self._note(name, fault + where, self._took_ms(*began))
        if fault:
            raise Failed(f"{name} {fault}")
        return answer

    def _took_ms(self, began_s: float, began_cpu_s: float, began_waits: int) -> float:
        """Return how long a call took. Time in which the machine did other work counts only if the call waited for it."""
        took_ms = (self.clock() - began_s) * 1000.0
        if took_ms <= MOST_MS:
            return took_ms
        cpu_s, waits = self.usage()
        return took_ms if waits > began_waits else (cpu_s - began_cpu_s) * 1000.0

    def _note(self, name: str, fault: str, took_ms: float) -> None:
        self.failures.setdefault(name, 0)
        if not fault and took_ms <= MOST_MS:
            return
        now_s = self.clock()
        strikes = self._strikes.setdefault(name, deque(maxlen=STRIKES))
        strikes.append(now_s)
        self.failures[name] += 1
        if len(strikes) == STRIKES and now_s - strikes[0] <= WITHIN_S:
            strikes.clear()
            self._until_s[name] = now_s + PAUSE_S
            last = fault or f"took {took_ms:.1f} ms"
            told = f"the plug-in {name} is disabled for {PAUSE_S:g} s: it failed {STRIKES} times within "
            self.tell(f"{told}{WITHIN_S:g} s; the last time it {last}")


def _place(error: BaseException) -> str:
    """Return where in the plug-in an error was raised; its text may hold what a client wrote, so it is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" at {PurePath(frame.filename).name}:{frame.lineno}"


GUARDS = Guards()

"""Reload: bring a changed config to the running processes: compile it, let the control process keep it, then the workers
adopt it. Standard library only, and never waits: the supervisor calls `step` whenever something has happened.

Each child has the policy it was last given and the one it is known to have; it is given another only when the two are the
same, so that at most one waits in its pipe. A child that dies is started with what it ought to have.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pointsman.cli.child import Child
from pointsman.observe.log import LOG
from pointsman.stores.versions import RELOAD, Versions, replace

WATCH_S = 1.0  # between two looks at the file
SETTLE_S = 0.2  # a file that has changed must be the same once more after this time: it may be half written
COMPILE_S = 60.0
SLOW_S = 30.0  # after which it is said that a process has not taken a version yet
PRICE_LIST = "prices.json"  # in the data folder: the price list in force
CLOCK_S = 30.0  # at most between two looks at the clock of the day, which may be set
PRICES_AGAIN_S = 600.0  # when a config cannot be compiled at the moment at which prices change
MOST_ASKED = 64  # requests of the admin API that one reload answers
Look = tuple[int, int, int] | None
COMPILER = "pointsman.cli.compile_config"


class Watch:
    """Notice that a file has changed and is not being written any more. Without a path nothing ever changes."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._known = self._last = self._look()
        self.due_s = time.monotonic() + WATCH_S if path else float("inf")

    def changed(self, now_s: float) -> bool:
        """Look if it is time to; return whether the file is another than when `known` was last called."""
        if now_s < self.due_s:
            return False
        last, self._last = self._last, self._look()
        settled = self._last == last or self._last is None  # missing: an editor is about to put it back
        self.due_s = now_s + (WATCH_S if settled else SETTLE_S)
        return settled and self._last not in (None, self._known)

    def known(self) -> None:
        """Take the file for known as it is now: it is about to be read."""
        self._known = self._last = self._look()

    def _look(self) -> Look:
        try:
            found = os.stat(self._path) if self._path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None


class Handling(Protocol):
    """What the supervisor does with children."""

    def start(self, child: Child) -> None: ...
    def ended(self, child: Child) -> str | None: ...
    def give(self, child: Child, data: bytes) -> None: ...


class Reload:
    """Hold what is served and what shall be. `options` are those of the command line."""

    def __init__(self, options: dict[str, Any], hand: Handling, say: Callable[..., None]) -> None:
        self.told: dict[str, Any] = {}  # the compiler's summary of what is served
        self.policy = b""  # what workers are to have
        names = ("config", "data", "host", "port", "admin_port", "workers")
        self._wanted = {name: options.get(name) for name in names}
        self.compiler = Child("the config compiler", COMPILER, json.dumps(self._wanted))
        self._data = Path(options["data"])
        self._hand, self._say = hand, say
        self._watch = Watch(options.get("config"))
        self._prices = Watch(str(self._data / PRICE_LIST))
        self._prices_at_s = float("inf")  # of the clock of the day: when a price is another by itself
        self._asked: list[tuple[str, str]] = []  # trigger and token, not yet looked after
        self._answering: list[tuple[str, str]] = []  # those that the reload under way answers
        self._new: dict[str, Any] | None = None  # the summary of what is on its way
        self._offered = b""  # what the control process is to have
        self._before = b""  # what workers go back to when one of them refuses
        self._told_before: dict[str, Any] = {}
        self._refusal = ""
        self._killed_at_s = self._slow_at_s = float("inf")
        self._counts = {"reloads": 0, "failed": 0}

    # --- start
    def compiled(self) -> bool:
        """Take what the first compilation made; return whether it made something."""
        line, _, policy = bytes(self.compiler.heard).partition(b"\n")
        if not line or not policy:
            return False
        self.told, self.policy = json.loads(line), policy
        self._offered = policy
        self._note_prices(self.told)
        return True

    def begun(self) -> None:
        """Note that the first version is served."""
        self._answering = [("start", "")]
        self._note_version(self.told)
        self._note(ok=True)

    def policy_for(self, control: bool) -> bytes:
        """Return what a child that starts now is to have."""
        return self._offered if control else self.policy

    # --- life
    def ask(self, trigger: str, token: str = "") -> None:
        """Look at the config again: `trigger` says why, `token` which request of the admin API waits for the outcome."""
        if len(self._asked) < MOST_ASKED:
            self._asked.append((trigger, token))

    @property
    def due_s(self) -> float:
        """Return when to call `step` although nothing happened."""
        dues = (self._watch.due_s, self._prices.due_s, self._killed_at_s, self._slow_at_s)
        return min(*dues, time.monotonic() + min(CLOCK_S, max(0.0, self._prices_at_s - time.time())))

    def step(self, control: Child, workers: list[Child]) -> None:
        """Go on with whatever can go on."""
        now_s = time.monotonic()
        for child in (control, *workers):
            self._hear(child)
        if self._watch.changed(now_s) and self._new is None and not self.compiler.running:
            self.ask("file")
        self._look_at_prices(now_s)
        if now_s > self._slow_at_s:
            self._slow_at_s = float("inf")
            self._say(
                f"version {(self._new or self.told)['version']} is still not taken by all processes",
                error=True,
                event="not_noted",
            )
        if self.compiler.running:
            if now_s > self._killed_at_s:
                self.compiler.signal(signal.SIGKILL)
            how = self._hand.ended(self.compiler)
            if how is not None:
                self._has_compiled(how)
        self._advance(control, workers)
        for child in (control, *workers):
            self._bring(child, self._offered if child is control else self.policy)
        if self._asked and self._new is None and not self.compiler.running:
            self._compile(now_s)

    def _look_at_prices(self, now_s: float) -> None:
        """Ask for a reload when there is another price list, or a moment has come at which prices change."""
        if self._new is not None or self.compiler.running:
            return
        if self._prices.changed(now_s):
            self._prices.known()
            self.ask("prices")
        if time.time() >= self._prices_at_s:
            self._prices_at_s = time.time() + PRICES_AGAIN_S  # unless the compiler says when
            self.ask("prices")

    def _note_prices(self, told: dict[str, Any]) -> None:
        self._prices_at_s = told.get("price_change_ms", 0) / 1000 or float("inf")

    def _hear(self, child: Child) -> None:
        for line in child.lines():
            word, _, rest = line.partition(" ")
            if word in ("ready", "kept", "adopted"):
                child.has = child.given
            elif word == "refused":
                child.given = child.has
                self._refusal = f"{child.name}: {rest}"
            elif word == "reload":
                self.ask("admin API", rest)

    def _bring(self, child: Child, policy: bytes) -> None:
        if child.running and child.has is child.given and child.has not in (None, policy):
            child.given = policy
            self._hand.give(child, json.dumps({"policy_bytes": len(policy)}).encode() + b"\n" + policy)

    def _compile(self, now_s: float) -> None:
        self._answering, self._asked = self._asked, []
        self._watch.known()
        present = {"listening": self.told["listening"], "asked": self.told["asked"], "trigger": self._answering[0][0]}
        present["log"] = self.told["log"]
        self.compiler = Child("the config compiler", COMPILER, json.dumps({**self._wanted, **present}))
        self._killed_at_s = now_s + COMPILE_S
        self._hand.start(self.compiler)

    def _has_compiled(self, how: str) -> None:
        self._killed_at_s = float("inf")
        line, _, policy = bytes(self.compiler.heard).partition(b"\n")
        self.compiler.heard.clear()
        try:
            made = json.loads(line)
        except ValueError:  # it died
            made = {}
        if how != "exit code 0" or not policy:
            self._failed(made.get("failed", f"{self.compiler.name} ended: {how}"))
        elif policy == self.policy:
            self._note_prices(made)
            self._note(ok=True)
        else:
            self._note_prices(made)
            self._new, self._offered, self._refusal = made, policy, ""
            self._slow_at_s = time.monotonic() + SLOW_S

    def _advance(self, control: Child, workers: list[Child]) -> None:
        """Let the workers follow the control process; see whether all have, or one refused."""
        if self._new is None:
            return
        if self._refusal:
            if self._before:
                self.policy, self.told = self._before, self._told_before
            self._offered = self.policy
            self._failed(self._refusal, said=True)
        elif self.policy is not self._offered:
            if control.has is self._offered:
                self._before, self._told_before = self.policy, self.told
                self.policy, self.told = self._offered, self._new
        elif all(worker.has is self.policy for worker in workers if worker.running):
            self._adopted()

    # --- ends
    def _adopted(self) -> None:
        new, old = self.told, self._told_before
        self._end()
        self._counts["reloads"] += 1
        self._note_version(new)
        LOG.configure("supervisor", **new["log"])
        was = "as before, other credentials" if new["version"] == old["version"] else f"before {old['version']}"
        self._say(f"config reloaded: version {new['version']} ({was})", event="config_reloaded")
        self._note(ok=True)

    def _failed(self, error: str, *, said: bool = False) -> None:
        """`said`: nobody has printed the reason yet."""
        self._end()
        self._counts["failed"] += 1
        if said:
            self._say(error, error=True, event="config_refused")
        self._say(f"config not changed: still version {self.told['version']}", error=True, event="config_refused")
        self._note(ok=False, error=error)

    def _end(self) -> None:
        self._new, self._before, self._told_before, self._refusal = None, b"", {}, ""
        self._slow_at_s = float("inf")

    def _note_version(self, told: dict[str, Any]) -> None:
        try:
            Versions(self._data).append(told["entry"])
        except OSError as error:
            self._say(f"the version could not be noted: {error.strerror}", error=True, event="not_noted")

    def _note(self, *, ok: bool, error: str = "") -> None:
        """Write the outcome for the admin listener."""
        answering, self._answering = self._answering, []
        value = {
            "at_ms": time.time_ns() // 1_000_000,
            "ok": ok,
            "version": self.told["version"],
            "error": error,
            "restart": self.told["restart"],
            "trigger": answering[0][0] if answering else "",
            "answers": [token for _, token in answering if token],
            **self._counts,
        }
        try:
            replace(self._data / RELOAD, json.dumps(value).encode())
        except OSError as failure:
            self._say(f"{RELOAD} could not be written: {failure.strerror}", error=True, event="not_noted")

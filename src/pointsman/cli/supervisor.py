"""The supervisor: starts the workers and the control process, starts again what dies, ends them in the right order.

Small on purpose: it imports nothing but the standard library, and compiles the config in a child. Its children read its
end of a pipe, so they come to an end by themselves when it is killed. What a changed config leads to stands in `reload`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pointsman import __version__
from pointsman.cli.child import Child
from pointsman.cli.reload import Reload
from pointsman.observe.log import LOG

WORKER, CONTROL = "pointsman.gateway.worker", "pointsman.control.main"
CONTROL_NICE = 12  # until it is ready; then the least share, which it takes by itself
START_S = 60.0  # for all to get ready
FLUSH_S = 75.0  # for the control process to book the last requests
MOST_LISTED = 6  # names in a line of the report


class Failed(Exception):
    """End the supervisor with an exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """Run `pointsman serve`. `options` are those of the command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._data = Path(options["data"])
        self._control = Child("the control process", CONTROL, nice=CONTROL_NICE)
        self._workers: list[Child] = [Child("worker 1", WORKER)]
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._due: dict[Child, float] = {}  # when to start again what died
        self._draining = False
        self._restarts = {"control": 0, "worker": 0}
        self._on_terminal = _is_terminal()
        self._reload = Reload(options, self, _say)

    def run(self) -> int:
        """Serve until told to end; return the exit code. Raise Failed when it cannot start."""
        self._prepare()
        with self._wakeups():
            try:
                self._begin()
                self._reload.begun()
                self._report()
                return self._watch()
            finally:
                self._kill()

    # --- start
    def _prepare(self) -> None:
        os.umask(0o077)
        try:
            run = self._data / "run"
            run.mkdir(parents=True, exist_ok=True)
            for old in (
                *run.glob("metrics-*"),
                *run.glob("standing-*"),
                *run.glob("under-way-*"),
                *run.glob("restarts.*"),
            ):
                old.unlink()  # of workers that are no more
        except OSError as error:
            raise Failed(f"the data folder {self._data} cannot be used: {error.strerror}", 2) from None

    def _begin(self) -> None:
        """Compile the config while the others start already; then give it to all, and wait until they are ready."""
        compiler = self._reload.compiler
        for child in (compiler, self._workers[0], self._control):
            self.start(child)
        until_s = time.monotonic() + START_S
        ended = None
        while ended is None:
            self._turn(until_s)
            ended = self.ended(compiler)
        if ended != "exit code 0" or not self._reload.compiled():
            raise Failed("", int(ended.removeprefix("exit code ")) if ended.startswith("exit code ") else 1)
        LOG.configure("supervisor", **self._reload.told["log"])
        self._check_ports()
        for number in range(2, self._reload.told["workers"] + 1):
            self._workers.append(Child(f"worker {number}", WORKER))
            self.start(self._workers[-1])
        for child in (*self._workers, self._control):
            self._feed(child)
        while not all(child.ready for child in (*self._workers, self._control)):
            self._turn(until_s)
            for child in (*self._workers, self._control):
                how = self.ended(child)
                if how is not None:
                    raise Failed(f"{child.name} ended before it was ready ({how})")

    def _check_ports(self) -> None:
        """Make sure that nobody else listens: with SO_REUSEPORT the workers would share the port with whoever does."""
        told = self._reload.told
        places = (
            (told["host"], told["port"], "--port"),
            (self._options["admin_host"], told["admin_port"], "--admin-port"),
        )
        for host, port, option in places:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
                    probe.listen(1)
            except OSError as error:
                raise Failed(
                    f"cannot listen on {host}:{port}: {error.strerror}. Choose another with {option}."
                ) from None

    def start(self, child: Child) -> None:
        """Start a child and listen to it."""
        child.start()
        self._selector.register(child.stdout, selectors.EVENT_READ, child.hear)

    def ended(self, child: Child) -> str | None:
        """Return how a child ended; None while it runs, or did not run."""
        if not child.is_over:
            return None
        self._forget(child.stdin)
        self._forget(child.stdout)
        return child.bury()

    def _forget(self, fd: int) -> None:
        if fd >= 0 and fd in self._selector.get_map():
            self._selector.unregister(fd)

    def _kill(self) -> None:
        """End at once whatever still runs."""
        children = [child for child in (self._reload.compiler, self._control, *self._workers) if child.running]
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            child.bury()

    def _feed(self, child: Child) -> None:
        """Send a worker or the control process its start line and the policy."""
        policy = child.given = self._reload.policy_for(control=child is self._control)
        start = {"data": str(self._data), "policy_bytes": len(policy)}
        if child is self._control:
            start["admin_host"] = self._options["admin_host"]
        else:
            start["number"] = self._workers.index(child) + 1
        self.give(child, json.dumps(start).encode() + b"\n" + policy)

    def give(self, child: Child, data: bytes) -> None:
        """Send bytes to a child without waiting for it to read them."""
        child.feed(data)
        if not child.fed() and child.stdin not in self._selector.get_map():
            self._selector.register(child.stdin, selectors.EVENT_WRITE, lambda: not child.fed())

    # --- life
    def _watch(self) -> int:
        """Start again what dies, follow the config; on a signal drain; return the exit code."""
        while not self._signals:
            self._reload.step(self._control, self._workers)
            self._turn()
            self._tend()
        return self._drain() or self._flush()

    def _drain(self) -> int:
        """Let the workers finish; return the exit code of a second signal, or 0."""
        self._draining = True
        running = [worker for worker in self._workers if worker.running]
        many = f"{len(running)} worker{'' if len(running) == 1 else 's'}"
        _say(f"draining {many}; a second signal ends them at once", event="draining")
        for worker in running:
            worker.signal(signal.SIGTERM)
        while any(worker.running for worker in self._workers):
            self._turn()
            self._tend()
            if len(self._signals) > 1:
                return 128 + self._signals[1]
        return 0

    def _flush(self) -> int:
        """Let the control process book the last requests, after the workers wrote them."""
        control, until_s = self._control, time.monotonic() + FLUSH_S
        if not control.running:
            self.start(control)
            self._feed(control)
        while not control.fed() and time.monotonic() < until_s:
            self._turn(until_s)
        self._forget(control.stdin)
        control.hang_up()
        while control.running and time.monotonic() < until_s:
            self._turn(until_s)
            self.ended(control)
            if len(self._signals) > 1:
                return 128 + self._signals[1]
        return 0

    def _tend(self) -> None:
        """Notice who died, and start again whose time has come. Workers are not started again while draining."""
        now_s = time.monotonic()
        for child in (*self._workers, self._control):
            how = self.ended(child)
            if how is not None and (child is self._control or not self._draining):
                _say(f"{child.name} died ({how}); starting it again", error=True, event="process_died")
                self._note_restart("control" if child is self._control else "worker")
                self._due[child] = now_s + child.delay_s
        for child in [child for child, due_s in self._due.items() if due_s <= now_s]:
            del self._due[child]
            if child is self._control or not self._draining:
                self.start(child)
                self._feed(child)

    def _turn(self, until_s: float | None = None) -> None:
        """Wait for something to happen: a signal, a child's word, or the time to start one. Raise Failed at `until_s`,
        or when a signal comes before the start is over."""
        dues = [*self._due.values(), *([until_s] if until_s is not None else [])]
        if not self._draining:
            dues.append(self._reload.due_s)
        due_s = min(dues, default=float("inf"))
        timeout_s = None if due_s == float("inf") else max(0.0, due_s - time.monotonic())
        for key, _ in self._selector.select(timeout_s):
            if not key.data():
                self._selector.unregister(key.fileobj)
        if until_s is not None and not self._draining:
            if self._signals:
                raise Failed("", 128 + self._signals[0])
            if time.monotonic() > until_s:
                raise Failed(f"not ready after {START_S:.0f} s")

    @contextlib.contextmanager
    def _wakeups(self) -> Iterator[None]:
        """Let signals wake the selector: ends are noted in `_signals`, the death of a child is looked for anyway."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, _noted)

        def woken() -> bool:
            for number in ours.recv(4096):
                if number == signal.SIGHUP and not (self._on_terminal and not _is_terminal()):
                    self._reload.ask("signal")
                elif number != signal.SIGCHLD:  # a terminal that is gone is a reason to end
                    self._signals.append(number)
            return True

        self._selector.register(ours, selectors.EVENT_READ, woken)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            ours.close()
            theirs.close()

    # --- what people are told
    def _report(self) -> None:
        lines = report(self._reload.told, self._options)
        if LOG.json:
            facts = dict(line.split(None, 1) for line in lines[1:])
            LOG.info("ready", lines[0], **facts)
            return
        for line in lines:
            _say(line, event="ready")

    def _note_restart(self, process: str) -> None:
        """Count what was started again, for the control process to tell."""
        self._restarts[process] += 1
        with contextlib.suppress(OSError):
            fresh = self._data / "run" / "restarts.new"
            fresh.write_text(json.dumps(self._restarts))
            fresh.replace(fresh.with_name("restarts.json"))


def _noted(number: int, frame: object) -> None:
    """Do nothing: the wake-up descriptor has the signal's number."""


def _is_terminal() -> bool:
    """Tell whether we run on a terminal that is there."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def report(told: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Return the lines that say what is served, where, and to whom."""
    scheme = "https" if told["tls"] else "http"
    took_s = time.time() - options["began_s"]
    routes = [f"{name} ({how})" for name, how in told["routes"]]
    routes = [_listed(routes)] if routes else []
    routes.append(f"every deployment by its name: {_listed(told['deployments'])}")
    found = "" if options.get("config") else f", by the keys found of {_listed(told['providers'])}"
    lines = {
        "endpoint": f"{scheme}://{_host(told['host'])}:{told['port']}/v1",
        "routes": "; ".join(routes),
        "keys": _listed(told["keys"]) if told["keys"] else _nobody_needs(told["host"]),
        "status": f"http://{_host(options['admin_host'])}:{told['admin_port']}/ (password: pointsman admin token)",
        "config": f"{told['source']}{found}, version {told['version']}",
        "unpriced": _listed(told["unpriced"]),
        "data": str(options["data"]),
        "workers": str(told["workers"]),
    }
    head = f"pointsman {__version__} is ready ({took_s:.2f} s)"
    return [head, *[f"  {name:10}{text}" for name, text in lines.items() if text]]


def _nobody_needs(host: str) -> str:
    local = host.startswith("127.") or host in ("localhost", "::1")
    return "none: loopback only, no key needed" if local else "none: whoever reaches the port may call"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _say(text: str, *, event: str, error: bool = False) -> None:
    """Tell people: on standard output what goes well, on standard error what does not; JSON lines all on the latter."""
    if LOG.json or error:
        LOG.say("error" if error else "info", event, text)
        return
    with contextlib.suppress(OSError):  # nobody listens any more
        print(text, flush=True)


def main() -> None:
    """Run the supervisor with the options in the first argument, a JSON object."""
    try:
        sys.exit(Supervisor(json.loads(sys.argv[1])).run())
    except Failed as failure:
        if str(failure):
            _say(str(failure), error=True, event="failed")
        sys.exit(failure.code)


if __name__ == "__main__":
    main()

"""Child: one process of the supervisor's, fed and heard through pipes, without ever waiting for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

READY = b"ready\n"
YOUNG_S = 5.0  # who dies before this age is started again with a delay
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


class Child:
    """Start `python -m module`, and know what became of it. `name` is how people are told of it."""

    def __init__(self, name: str, module: str, *arguments: str, nice: int = 0) -> None:
        self.name = name
        self.delay_s = 0.0  # before the next start
        self.ready = False
        self.heard = bytearray()
        self.given: bytes | None = None  # the policy that was last sent to it
        self.has: bytes | None = None  # the policy that it said it has
        self._module = module
        self._arguments = arguments
        self._nice = nice  # from its first instruction on: what it imports must not keep the others from getting ready
        self._feed = memoryview(b"")
        self.process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0

    def start(self) -> None:
        """Start the process; what was fed before is forgotten."""
        self.ready = False
        self.given = self.has = None
        self.heard.clear()
        self._feed = memoryview(b"")
        self._started_s = time.monotonic()
        # -P: a file in the working folder must not take the place of a module.
        command = [sys.executable, "-P", "-m", self._module, *self._arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)  # noqa: S603
        if self._nice:
            with contextlib.suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, self.process.pid, self._nice)
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def stdin(self) -> int:
        """The descriptor it reads from; -1 when there is none."""
        pipe = self.process.stdin if self.process is not None else None
        return pipe.fileno() if pipe is not None and not pipe.closed else -1

    @property
    def stdout(self) -> int:
        """The descriptor it writes to; -1 when there is none."""
        pipe = self.process.stdout if self.process is not None else None
        return pipe.fileno() if pipe is not None and not pipe.closed else -1

    def feed(self, data: bytes) -> None:
        """Give it more bytes to read; `fed` sends them as fast as it takes them."""
        self._feed = memoryview(bytes(self._feed) + data)

    def fed(self) -> bool:
        """Send what it takes now; return whether all is sent. A child that is gone takes everything."""
        while self._feed:
            try:
                self._feed = self._feed[os.write(self.stdin, self._feed) :]
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self._feed = memoryview(b"")
        return True

    def hear(self) -> bool:
        """Take what it says; return whether it may say more."""
        try:
            said = os.read(self.stdout, 1 << 20)
        except BlockingIOError:
            return True
        self.heard += said
        self.ready = self.ready or READY in self.heard[-len(said) - len(READY) :]
        return bool(said)

    def lines(self) -> Iterator[str]:
        """Yield what it has said since the last call, line by line."""
        while (end := self.heard.find(b"\n")) >= 0:
            line = self.heard[:end].decode("utf-8", "replace")
            del self.heard[: end + 1]
            yield line

    def hang_up(self) -> None:
        """Close its standard input: the sign to come to an end."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    @property
    def is_over(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def bury(self) -> str:
        """Take the last words of a process that is over, forget it, and return how it ended. Sets `delay_s` for the
        next start."""
        assert self.process is not None
        code = self.process.wait()
        while said := os.read(self.stdout, 1 << 20):
            self.heard += said
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process = None
        young = time.monotonic() - self._started_s < YOUNG_S
        self.delay_s = min(LONGEST_DELAY_S, max(FIRST_DELAY_S, self.delay_s * 2)) if young else 0.0
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

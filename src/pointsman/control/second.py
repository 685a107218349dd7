"""Second: another process that books some of the journals while several are far behind; one alone uses one core.

All that the two share is the ledger: rows are kept by request id, and a journal's marks are written with its rows. A journal
belongs to one of them at a time. The second begins at the marks; the first takes a journal back when the second has ended,
however it did, and begins at the marks again. So none of them may be taken at its word, and each may be killed at any time.

The second holds the lock of the pump too: after a death of the control process the next one books nothing until it has ended,
which it does when the pipe to it is closed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import msgspec

from pointsman.control.pump import Counts, Elsewhere, Pump
from pointsman.control.segment import PIECE_BYTES
from pointsman.core.log import Level, LogSettings
from pointsman.observe.log import LOG

MODULE = "pointsman.control.second_main"
WORTH_BYTES = 16 * 1024 * 1024  # unread: to book it takes several times as long as to start a process
MOST_LENT = 64  # incarnations
STEPS = 3  # in a row that leave something to be read
RETRY_S = 60.0  # before the next one, after one was lost
SILENT_S = 60.0  # after which one is killed; it speaks after each step
END_S = 5.0  # for it to end when it is told to
READ_BYTES = 1 << 16


class Start(msgspec.Struct):
    """Hold what the second process is told, in one line of JSON."""

    data: str
    incarnations: list[str]
    format: str = "text"
    level: Level = "info"


def share(unread: Mapping[str, int]) -> frozenset[str]:
    """Return the incarnations that a second process shall book, of the bytes that are unread of each: at most half of all;
    none when that is not worth a process."""
    far = sorted(((size, name) for name, size in unread.items() if size >= PIECE_BYTES), reverse=True)
    mine = theirs = 0
    lent: list[str] = []
    for size, name in far:
        if theirs + size <= mine and len(lent) < MOST_LENT:
            theirs += size
            lent.append(name)
        else:
            mine += size
    return frozenset(lent) if theirs >= WORTH_BYTES else frozenset()


class Second:
    """Start, hear and end the second process of a pump, one at a time. Used by the pump's thread alone.

    `data`: the folder, whose ledger is a file in it; `log` gives the present settings; `may`, whether it may run now.
    """

    def __init__(self, pump: Pump, data: str, log: Callable[[], LogSettings], may: Callable[[], bool]) -> None:
        self.locks: tuple[int, ...] = ()  # descriptors that it holds open as well
        self._pump, self._data, self._log, self._may = pump, data, log, may
        self._process: subprocess.Popen[bytes] | None = None
        self._behind = 0  # steps in a row
        self._not_before_s = 0.0
        self._heard_s = 0.0
        self._heard = b""  # of a line that is not whole
        self._said = Counts()

    @property
    def pid(self) -> int:
        """The number of the process; 0: there is none."""
        return self._process.pid if self._process is not None else 0

    def look(self) -> None:
        """Do what is due after a step of the pump: start the process, take what it says, take back what it had."""
        process = self._process
        if process is None:
            self._behind = self._behind + 1 if self._pump.behind else 0
            if self._behind >= STEPS and time.monotonic() >= self._not_before_s and self._may():
                self._start(share(self._pump.unread))
            return
        over = process.poll() is not None
        self._hear(process)
        if over:
            self._over(process)
        elif time.monotonic() - self._heard_s > SILENT_S:
            process.kill()
        elif not self._may():
            _hang_up(process)

    def stop(self) -> None:
        """End the process, if there is one, and take back what it had."""
        process = self._process
        if process is None:
            return
        _hang_up(process)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._hear(process)
        self._over(process)

    def _start(self, names: frozenset[str]) -> None:
        if not names:
            return
        log = self._log()
        start = msgspec.json.encode(Start(self._data, sorted(names), log.format, log.level)) + b"\n"
        # -P: a file in the working folder must not take the place of a module.
        command = [sys.executable, "-P", "-m", MODULE]
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, pass_fds=self.locks)  # noqa: S603
        except OSError as error:
            self._lost(f"it cannot be started: {error}")
            return
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(BrokenPipeError):  # it is gone already
            process.stdin.write(start)
        self._process, self._heard, self._said, self._heard_s = process, b"", Counts(), time.monotonic()
        self._pump.lend(names)
        self._pump.counts.processes = 2
        LOG.info("second_pump_started", f"a second process books {len(names)} journals", journals=len(names))

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        """Take what is in the pipe now."""
        assert process.stdout is not None
        while data := process.stdout.read(READ_BYTES):
            self._heard += data
            self._heard_s = time.monotonic()
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines[-1:]:  # each has the sums since its start
            with contextlib.suppress(msgspec.MsgspecError):  # a plug-in has printed something
                self._count(msgspec.json.decode(line, type=Counts))

    def _count(self, said: Counts) -> None:
        counts, before, elsewhere = self._pump.counts, self._said, self._pump.elsewhere
        counts.rows += said.rows - before.rows
        counts.signals += said.signals - before.signals
        counts.recovered += said.recovered - before.recovered
        counts.damaged_bytes += said.damaged_bytes - before.damaged_bytes
        self._pump.elsewhere = Elsewhere(elsewhere.names, said.lag_bytes, said.open_requests)
        self._said = said

    def _over(self, process: subprocess.Popen[bytes]) -> None:
        """Take back what the process had, now that it can write no more."""
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        self._process, self._behind = None, 0
        self._pump.lend(frozenset())
        self._pump.counts.processes = 1
        if process.returncode:
            self._lost(f"exit code {process.returncode}")
        else:
            rows = self._said.rows
            LOG.info("second_pump_ended", f"the second process has booked {rows} requests and ended", rows=rows)

    def _lost(self, why: str) -> None:
        self._not_before_s = time.monotonic() + RETRY_S
        LOG.warning("second_pump_lost", f"no second process books journals: {why}; the first one does it all")


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()

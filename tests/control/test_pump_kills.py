"""Kills of both processes that book, at any point: every request has one row, with the sums that belong to it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pump_seconds import alone, books, files, pump_of, second_of, together, until
from pump_seconds import data as data
from pump_seconds import expected as expected
from pump_seconds import journals as journals
from pump_seconds import small as small

from pointsman.control import second
from pointsman.control.main import PumpThread

KILLS = 3
pytestmark = pytest.mark.usefixtures("small")


def first(data: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a process with the pump of a control process, in a process group of its own; return it and the second's number."""
    command = [sys.executable, "-P", "-m", "pump_seconds", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def buried(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def is_gone(pid: int) -> bool:
    """Tell whether a process runs no more; nobody may have waited for it yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("seed", range(6))
def test_i01_i02_the_second_is_killed(data: Path, expected: object, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "RETRY_S", 0.0)
    chance = random.Random(seed)
    pump, writer = pump_of(data)
    other = second_of(pump, data)
    due: dict[int, tuple[int, float]] = {}  # by process: after so many rows that it has said, and so many seconds more
    killed: dict[int, float] = {}

    def kill() -> None:
        if not other.pid or len(killed) == KILLS:
            return
        rows, more_s = due.setdefault(other.pid, (chance.randrange(400), chance.uniform(0.0, 0.03)))
        if other._said.rows >= rows and time.monotonic() > killed.setdefault(other.pid, time.monotonic() + more_s):
            os.kill(other.pid, signal.SIGKILL)  # not yet waited for, so the number is its own

    together(pump, other, kill)
    writer.close()
    assert killed
    assert books(data) == expected and files(data) == []


@pytest.mark.parametrize("seed", range(4))
def test_i01_i02_the_first_is_killed_and_the_second_ends(data: Path, expected: object, seed: int) -> None:
    chance = random.Random(seed)
    for most in (18, 12):
        process, pid = first(data)
        some = chance.randint(most - 8, most - 1)
        until(lambda some=some: len(list((data / "journal").glob("*.pmj"))) <= some)  # type: ignore[misc]
        buried(process)
        until(lambda pid=pid: not pid or is_gone(pid))  # type: ignore[misc]
    alone(data)
    assert books(data) == expected and files(data) == []


def test_while_an_orphan_books_the_next_control_process_waits(
    data: Path, expected: object, capfd: pytest.CaptureFixture[str]
) -> None:
    process, pid = first(data)
    os.kill(pid, signal.SIGSTOP)
    buried(process)
    pump, writer = pump_of(data)
    thread = PumpThread(pump, data)
    try:
        thread.start()
        said = ""

        def waits() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "another process books" in said

        until(waits)
        assert pump.counts.rows == 0 and thread.is_alive()
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: is_gone(pid))
    until(lambda: pump.counts.rows and not pump.behind)
    thread.stopping.set()
    thread.join(60)
    writer.close()
    assert books(data) == expected and files(data) == []

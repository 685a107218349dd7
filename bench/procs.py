"""What a process tree uses, read from /proc (Linux): CPU, memory, and what everyone else used of our two cores."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cores() -> tuple[int, int]:
    """Return (core of the gateway, core of everything else). Raise SystemExit when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("bench: two cores are needed: one for the gateway, one for load and upstream")
    return usable[0], usable[1]


def tree(root: int) -> list[int]:
    """Return the process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            children.setdefault(_parent(int(entry)), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def _parent(pid: int) -> int:
    text = _read(_PROC / str(pid) / "stat")
    return int(text.rpartition(")")[2].split()[1]) if text else -1


def cpu_s(pids: list[int]) -> float:
    """Return the CPU seconds all threads of the processes have used (schedstat, field 1, in nanoseconds)."""
    total = 0
    for pid in pids:
        for path in (_PROC / str(pid) / "task").glob("*/schedstat"):
            total += int((_read(path) or "0").split()[0])
    return total / 1e9


def rss_mib(pids: list[int]) -> dict[int, float]:
    """Return the resident memory of each process in MiB."""
    found = {}
    for pid in pids:
        for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines():
            if line.startswith("Rss:"):
                found[pid] = int(line.split()[1]) / 1024
    return found


def busy_s(on: tuple[int, int]) -> float:
    """Return the CPU seconds the two cores have been busy for anyone (/proc/stat: not idle, not waiting, not stolen)."""
    names = {f"cpu{core}" for core in on}
    total = 0
    for line in _read(_PROC / "stat").splitlines():
        fields = line.split()
        if fields and fields[0] in names:
            user, nice, system, _idle, _wait, hard, soft, *_ = map(int, fields[1:])
            total += user + nice + system + hard + soft
    return total / _TICKS_PER_S


def is_worker(pid: int) -> bool:
    """Tell whether a process is a data-plane worker of ours, from its command line."""
    return "pointsman.gateway.worker" in _read(_PROC / str(pid) / "cmdline")


def _read(path: Path) -> str:
    """Return a file's text; empty when the process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""

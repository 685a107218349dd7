"""A package with plug-ins, installed as pip would: a folder with modules and a .dist-info, on the path of child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What it does stands in the file that ACME_MODE names, and is read at each call: so it can turn bad after it was checked.
ACME = '''
import os
import time
from pathlib import Path

import pointsman.strategies.guard
from pointsman.core.facts import Fact
from pointsman.core.strategy import Ranking

MODE = Path(os.environ["ACME_MODE"])
pointsman.strategies.guard.PAUSE_S = float(os.environ.get("ACME_PAUSE_S", "60"))
MODE.with_name("imported").touch()


def misbehave():
    mode = MODE.read_text()
    if mode == "raise":
        raise ValueError("what a client wrote")
    if mode == "exit":
        raise SystemExit(3)
    if mode == "slow":
        time.sleep(0.02)
    return mode


def last(options, eligible, features, snapshot):
    """Take the last candidate."""
    mode = misbehave()
    order = eligible[::-1] if mode != "wrong" else eligible + eligible
    return Ranking(order, (1.0,) + (0.0,) * (len(order) - 1), (0.0,) * len(order))


def moody(options, eligible, features, snapshot):
    return Ranking(eligible, (1.0,) + (0.0,) * (len(eligible) - 1), (time.perf_counter(),) * len(eligible))


class Segment:
    fact = Fact("string", "unknown", "Customer segment.")

    def value(self, case):
        return 7 if misbehave() == "wrong" else case.said.metadata.get("segment", "none")


segment = Segment()
broken = object()
'''
POINTS = {
    "pointsman.strategies": {"acme": "acme_plugins:last", "acme-moody": "acme_plugins:moody", "gone": "no_such:one"},
    "pointsman.facts": {
        "acme.segment": "acme_plugins:segment",
        "acme.broken": "acme_plugins:broken",
        "request.mine": "acme_plugins:segment",
    },
}


class Installed:
    """The package in `folder`, unless `empty`, and the environment of a process that has what is there."""

    def __init__(self, folder: Path, *, empty: bool = False) -> None:
        self.folder = folder
        self.mode = folder / "mode"
        if not empty:
            self.put("acme_plugins", ACME, POINTS)
            self.now("good")

    def put(self, module: str, code: str, points: dict[str, dict[str, str]]) -> None:
        """Install a distribution of one module."""
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (self.folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        groups = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items())
        (info / "entry_points.txt").write_text("\n".join(groups))

    def now(self, mode: str) -> None:
        """Make it behave: good, raise, exit, slow or wrong."""
        fresh = self.mode.with_suffix(".new")
        fresh.write_text(mode)
        fresh.replace(self.mode)

    @property
    def imported(self) -> bool:
        """Whether any process has loaded the module."""
        return (self.folder / "imported").exists()

    def environment(self, **more: str) -> dict[str, str]:
        paths = (str(self.folder), os.environ.get("PYTHONPATH", ""))
        given = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "ACME_MODE": str(self.mode)}
        return {**os.environ, **given, **more}

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of ours in a process that has the package."""
        command = [sys.executable, "-m", "pointsman.cli", *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment(), cwd=self.folder, timeout=60
        )

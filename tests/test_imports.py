"""Importing is quick and touches nothing; a worker loads only what the data plane needs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pace import slowness

HEAVY = (
    "pydantic",
    "yaml",
    "genai_prices",
    "starlette",
    "uvicorn",
    "typer",
    "sqlite3",
    "openai",
    "http.server",
    "asyncpg",
    "pointsman.stores.counters.shared",
    "pointsman.stores.cache_redis",
    "pointsman.control",
    "pointsman.lab",
    "pointsman.cli",
)

# What the interpreter reports of files and sockets while `pointsman` is imported; reading modules is no file of its own.
WATCH = """
import sys
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        name = str(args[0])
        if not name.endswith((".py", ".pyc", ".so", ".pth", ".cfg", ".abi3.so")):
            opened.append(name)
    elif event.startswith("socket.") or event in ("subprocess.Popen", "os.mkdir", "sqlite3.connect"):
        opened.append(event)
sys.addaudithook(hook)
import pointsman
print(opened)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_pointsman_opens_no_file_and_no_socket() -> None:
    assert run(WATCH) == "[]"


def test_importing_pointsman_takes_at_most_150_ms() -> None:
    code = "import time; t = time.perf_counter(); import pointsman; print((time.perf_counter() - t) * 1000)"
    assert min(float(run(code)) for _ in range(5)) <= 150 * slowness()


@pytest.mark.parametrize("module", ["pointsman.gateway.worker", "pointsman.core.entry", "pointsman.stores.journal"])
def test_the_data_plane_loads_nothing_heavy(module: str) -> None:
    loaded = run(f"import sys, {module}; print(' '.join(sys.modules))").split()
    assert [name for name in HEAVY if name in loaded] == []


def test_the_core_loads_nothing_that_does_io() -> None:
    code = """
import sys, importlib, pkgutil
before = set(sys.modules)
import pointsman.core
for found in pkgutil.iter_modules(pointsman.core.__path__):
    importlib.import_module("pointsman.core." + found.name)
print(" ".join(n for n in set(sys.modules) - before if n.startswith("pointsman.")))
"""
    ours = run(code).split()
    assert [name for name in ours if not name.startswith("pointsman.core")] == []


def test_a_worker_is_importable_quickly() -> None:
    start = time.perf_counter()
    run("import pointsman.gateway.worker")
    assert time.perf_counter() - start < 1.5  # the interpreter's own start included; this machine is shared

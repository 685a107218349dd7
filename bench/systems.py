"""The systems side by side, each started on the gateway's core, and the upstreams they all stand in front of."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import payloads
import procs
from openload import complete

HERE = Path(__file__).parent
RUN = HERE / "run"
READY_S = 30.0
STOP_S = 5.0
STREAM_MODELS = ("pace-10", "pace-100")
NAMES = ("nginx", "haproxy", "pointsman", "interpreted")  # of what is compared
NEEDED = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "cc": "gcc"}  # program -> Debian package
COMPILED = HERE.parent / "build" / "compiled"  # what hatch_build.py makes


class BenchError(RuntimeError):
    """Say that a system, an upstream or a load did not do its part."""


@dataclass(kw_only=True)
class System:
    """Hold one system. `ports` is (JSON, streams), `key` what its clients send; `command` None: the upstream itself."""

    name: str
    ports: tuple[int, int]
    key: str = payloads.CLIENT_KEY
    command: list[str] | None = None
    env: dict[str, str] = field(default_factory=dict)
    data: Path | None = None  # emptied before each start
    process: subprocess.Popen[bytes] | None = None

    def port(self, model: str) -> int:
        return self.ports[model in STREAM_MODELS]

    def pids(self) -> list[int]:
        return procs.tree(self.process.pid) if self.process else []

    def start(self, core: int) -> float:
        """Start on `core`; return the seconds from exec to the first good answer. Raise BenchError."""
        if self.command is None:
            return 0.0
        if self.data is not None:
            shutil.rmtree(self.data, ignore_errors=True)
        request = payloads.http(self.ports[0], payloads.request("bench", stream=False), self.key)
        began = time.monotonic()
        self.process = launch(self.command, core, f"{self.name}.log", self.env)
        while time.monotonic() - began < READY_S and self.process.poll() is None:
            if ask(self.ports[0], request).startswith(b"HTTP/1.1 200"):
                return time.monotonic() - began
            time.sleep(0.003)
        self.stop()
        raise BenchError(f"{self.name} gave no good answer; see {RUN / self.name}.log")

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None


class Upstreams:
    """Run the JSON and the streaming upstream on the load's core."""

    def __init__(self, core: int) -> None:
        self.core = core
        self.json_port, self.stream_port = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Upstreams:
        config = fill("upstream-nginx.conf", {"json_port": self.json_port, "reply": payloads.reply().decode()})
        streams = [sys.executable, str(HERE / "streamserver.py"), str(self.stream_port)]
        for command in (["nginx", "-c", config], streams):
            self._processes.append(launch(command, self.core, "upstreams.log", {}))
        for port in (self.json_port, self.stream_port):
            wait_for(port)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            end(process)

    def pids(self) -> list[int]:
        return [pid for process in self._processes for pid in procs.tree(process.pid)]


def systems(upstreams: Upstreams) -> dict[str, System]:
    """Return what is compared, by name; `direct` is the upstream without anything in front."""
    ports = {"json_port": upstreams.json_port, "stream_port": upstreams.stream_port}
    direct = System(name="direct", ports=(upstreams.json_port, upstreams.stream_port), key=payloads.UPSTREAM_KEY)
    return {"direct": direct, "nginx": _nginx(ports), "haproxy": _haproxy(ports)} | {
        name: _pointsman(name, ports, path)
        for name, path in (("pointsman", COMPILED), ("interpreted", HERE.parent / "src"))
    }


def _nginx(ports: dict[str, int]) -> System:
    own = (free_port(), free_port())
    config = fill("nginx.conf", {**ports, "port": own[0], "port_of_streams": own[1]})
    return System(name="nginx", ports=own, command=["nginx", "-c", config])


def _haproxy(ports: dict[str, int]) -> System:
    own = (free_port(), free_port())
    config = fill("haproxy.cfg", {**ports, "port": own[0], "port_of_streams": own[1]})
    return System(name="haproxy", ports=own, command=["haproxy", "-db", "-f", config])


def _pointsman(name: str, ports: dict[str, int], path: Path) -> System:
    port, data = free_port(), RUN / f"{name}-data"
    config = fill("pointsman.yaml", {**ports})
    where = ["--port", str(port), "--admin-port", str(free_port()), "--data", str(data), "--workers", "1"]
    return System(
        name=name,
        ports=(port, port),
        command=[str(Path(sys.executable).with_name("pointsman")), "serve", config, *where],
        env={
            "BENCH_UPSTREAM_KEY": payloads.UPSTREAM_KEY,
            "BENCH_CLIENT_KEY": payloads.CLIENT_KEY,
            "PYTHONPATH": str(path),
        },
        data=data,
    )


def fill(template: str, values: Mapping[str, object]) -> str:
    """Write a template of `conf/` with its @names@ replaced; return the path."""
    text = (HERE / "conf" / template).read_text()
    for name, value in {**values, "folder": RUN, "upstream_key": payloads.UPSTREAM_KEY}.items():
        text = text.replace(f"@{name}@", str(value))
    path = RUN / template
    path.write_text(text)
    return str(path)


def launch(command: list[str], core: int, log: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process group pinned to one core, its output in bench/run/."""
    with (RUN / log).open("ab") as out:
        return subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            cwd=RUN,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop what `launch` started: ask the first process, then kill what is left of its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask(port: int, request: bytes) -> bytes:
    """Return the reply to one request on a fresh connection; empty while nobody answers."""
    data = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(request)
            while not complete(data):
                more = sock.recv(65536)
                if not more:
                    return b""
                data += more
    except OSError:
        return b""
    return data


def wait_for(port: int) -> None:
    """Wait until something listens. Raise BenchError."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise BenchError(f"nothing listens on port {port}; see {RUN / 'upstreams.log'}")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])

"""The demo's processes: the mock providers and the router, started as an operator would, on free ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from pointsman.lab.mock.config import load_mock_config

READY_S = 20.0
STOP_S = 10.0
COMMAND_S = 30.0
HTTP_S = 10.0


class DemoError(RuntimeError):
    """Say that the demo cannot go on, and what the operator may look at."""


class Processes:
    """Own what the demo starts. Logs and data are below `folder`; `close` stops everything."""

    def __init__(self, folder: Path, config: Path, providers: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = config
        self.mock_ports: dict[str, int] = {}
        self.port, self.admin_port = _free_port(), _free_port()
        self._providers = providers
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the providers, then the router, and wait until both serve. Raise DemoError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mock_ports = self._start_mock()
        env = {f"DEMO_{name.upper()}_PORT": str(port) for name, port in self.mock_ports.items()}
        where = ["--port", str(self.port), "--admin-port", str(self.admin_port), "--data", str(self.data)]
        router = self._launch("router", ["serve", str(self.config), *where], env)
        self._wait(router, "router", lambda: get(self.port, "/readyz") is not None)

    def command(self, *words: str) -> str:
        """Return what a `pointsman` command prints about the demo's data. Raise DemoError when it fails."""
        done = subprocess.run(  # noqa: S603  our own command
            [*_pointsman(), *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=os.environ | {"COLUMNS": "100"},
        )
        if done.returncode:
            raise DemoError(f"pointsman {words[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def mock(self, method: str, path: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the providers' control endpoint. Raise DemoError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.mock_ports["_admin"], timeout=HTTP_S)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(value) if value is not None else None)
            answer = connection.getresponse()
            body: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            raise DemoError(f"{method} {path}: {body}")
        return body

    def close(self) -> None:
        """Stop what runs, the router first; whatever does not end in time is killed."""
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start_mock(self) -> dict[str, int]:
        """Start the providers on free ports; return the ports by name, that of the control endpoint as `_admin`."""
        config = load_mock_config(self._providers)
        free = tuple(msgspec.structs.replace(provider, port=0) for provider in config.providers)
        file, ports = self.folder / "providers.json", self.folder / "ports.json"
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(config, providers=free, admin_port=0)))
        ports.unlink(missing_ok=True)
        process = self._launch("providers", ["mock", str(file), "--port-file", str(ports)], {})
        self._wait(process, "providers", ports.exists)
        found: dict[str, int] = json.loads(ports.read_bytes())
        return found

    def _launch(self, name: str, words: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  our own command
                [*_pointsman(), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | env,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops these in order
            )
        self._running.append(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes], name: str, ready: Any) -> None:
        log = self.folder / f"{name}.log"
        until = time.monotonic() + READY_S
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace")[-800:].strip()
                raise DemoError(f"the {name} did not start; {log} says:\n{said}")
            time.sleep(0.03)


def get(port: int, path: str) -> bytes | None:
    """Return what a local server answers with 200, else None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
    return body if answer.status == 200 else None


def _pointsman() -> list[str]:
    """Return how to call our own command line: the script beside this interpreter."""
    script = Path(sys.executable).with_name("pointsman")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pointsman.cli"]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port

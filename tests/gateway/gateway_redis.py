"""A Redis server of the tests' own: on a free port, with a folder of its own, nothing written to disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path


class RedisServer:
    """A running redis-server. Use as a context. Fails, and says what to do, when there is none on this machine."""

    def __init__(self, folder: Path, password: str = "") -> None:
        program = shutil.which("redis-server")
        assert program, (
            "redis-server is not installed: scripts/check.sh does it as root; else apt-get install redis-server"
        )
        self._program = program
        self._folder = folder
        self._password = password
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> RedisServer:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
        } | ({"requirepass": self._password} if self._password else {})
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._program, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + 60
        while True:
            try:
                if self.ask("PING") == b"+PONG":
                    return self
            except OSError:
                assert time.monotonic() < until_s, "redis-server does not answer"
                time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it as a machine that hangs does: connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        return f"redis://{f':{self._password}@' if self._password else ''}127.0.0.1:{self.port}/0"

    def ask(self, *words: str) -> bytes:
        """Send one inline command and return what it answers, to the first pause."""
        with self.connected() as wire:
            wire.sendall(" ".join(words).encode() + b"\r\n")
            return wire.recv(65536).strip()

    def connected(self) -> socket.socket:
        """Return a connection that may ask."""
        wire = socket.create_connection(("127.0.0.1", self.port), 2)
        if self._password:
            wire.sendall(f"AUTH {self._password}\r\n".encode())
            assert wire.recv(100) == b"+OK\r\n"
        return wire

"""A PostgreSQL server of the tests' own: on a free port, in a folder of its own, gone when they end.

server = PostgresServer()        one a session: the fixture `postgres`
server.database()                the URL of a new, empty database: the fixture `postgres_url`
server.freeze(), server.thaw()   as a machine that hangs
server.kill(), server.start()    as a machine that fails, and comes back with what was committed
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PASSWORD = "a-password-of-the-tests"  # asked for by the server, so that tests may look where it turns up
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",  # what is committed survives the processes, as tests kill them; not the machine
    "full_page_writes": "off",
    "autovacuum": "off",
    "log_min_messages": "warning",
}
_PR_SET_PDEATHSIG = 1
_numbers = itertools.count(1)


class PostgresServer:
    """A running server. Use as a context. Fails, and says what to do, when there is none on this machine."""

    def __init__(self) -> None:
        self._bin = _programs()
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._as = self._as if os.getuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="pointsman-postgres-"))
        if self._as:
            shutil.chown(self._folder, "postgres", "postgres")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        try:
            self._make()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> PostgresServer:
        """Start the server, on the port and with the data that it had; return when it answers."""
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._folder / "data", "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **self._as,
            )
        until_s = time.monotonic() + 30
        while subprocess.run([self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert self._process.poll() is None and time.monotonic() < until_s, (self._folder / "log").read_text()
            time.sleep(0.02)
        return self

    def close(self) -> None:
        """End the server and remove all that it had."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)  # at once, but giving its shared memory back
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End every process of the server at once."""
        assert self._process is not None
        family = self._family()
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        until_s = time.monotonic() + 60
        while any(_alive(pid) for pid in family):
            assert time.monotonic() < until_s
            time.sleep(0.01)

    def freeze(self) -> None:
        """Stop it as a machine that hangs does: connections stay, new ones too, nothing answers."""
        for pid in self._family():
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._family():
            _signal(pid, signal.SIGCONT)

    def database(self) -> str:
        """Make an empty database and return its URL, with the password in it."""
        name = f"t{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement and return what it prints: columns parted by `|`, a row a line."""
        done = subprocess.run(
            [self._bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PGCONNECT_TIMEOUT": "10"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # the folder is its owner's only
        auth = ("-A", "scram-sha-256", "-U", "postgres", f"--pwfile={secret}")
        done = subprocess.run(
            [self._bin / "initdb", "-D", self._folder / "data", *auth, "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True,
            text=True,
            cwd=self._folder,
            **self._as,
        )
        assert done.returncode == 0, done.stderr

    def _family(self) -> list[int]:
        """Return the processes of the server: itself and its children, which are in sessions of their own."""
        if self._process is None:
            return []
        parent, found = self._process.pid, [self._process.pid]
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(path.parent.name))
        return found


def _programs() -> Path:
    """Return the newest folder that has the server's programs: Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    where = str(found[-1]) if found else shutil.which("initdb")
    assert where, "PostgreSQL is not installed: scripts/check.sh does it as root; else apt-get install postgresql"
    return Path(where).resolve().parent


def _die_with_parent() -> None:
    """End with the tests, also when they are killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

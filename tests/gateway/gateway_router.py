"""A data-plane worker as a real process, started as its supervisor would, and a look at what it booked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pointsman.config.load import Options, load_text
from pointsman.config.transport import encode
from pointsman.core import entry
from pointsman.core.entry import Admitted, AttemptRow, Settled
from pointsman.core.policy import Policy
from pointsman.stores.journal import read_all

KEY = "sk-test-0123456789abcdef0123456789abcdef"
T = TypeVar("T")


def until(find: Callable[[], T], seconds: float = 30.0) -> T:
    """Return the first true value of `find`, asked again and again; AssertionError when none comes."""
    end = time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        assert time.monotonic() < end, f"nothing came within {seconds} s"
        time.sleep(0.01)


def free_port() -> tuple[int, socket.socket]:
    """Return a port and the socket that keeps it: bound with SO_REUSEPORT but not listening, so a worker can share."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(("127.0.0.1", 0))
    return keeper.getsockname()[1], keeper


@dataclass(frozen=True)
class Booked:
    """What the books say of the end of one request. Milliseconds are from its receipt."""

    id: str
    outcome: str
    status: int
    attempts: tuple[AttemptRow, ...]
    charge_nano: int
    charge_state: str
    decided_ms: float
    first_ms: float
    total_ms: float
    overhead_ms: float

    @classmethod
    def of(cls, row: Settled) -> Booked:
        nano, state = entry.total_of(row.attempts)
        times = (row.decided_ms, row.first_ms, row.ended_ms, row.ended_ms - row.upstream_ms)
        return cls(row.id, row.outcome, row.status, row.attempts, nano, state, *times)


class Router:
    """One worker process serving a config given as plain values. Use as a context, or `start` and `stop`."""

    def __init__(self, config: dict[str, Any], data: Path, *, keys: bool = True) -> None:
        self.port, self._keeper = free_port()
        server = {"port": self.port, "admin_port": 0} | config.get("server", {})
        config = config | {"server": server}
        if keys:
            config = {"keys": [{"name": "dev", "key": KEY, "team": "core"}]} | config
        loaded = load_text(yaml.safe_dump(config), "test.yaml", {}, Options(today=date(2026, 11, 22)), beside=data)
        self.policy: Policy = loaded.policy
        self.data = data
        self.secure = "tls" in server
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = data / "stderr.txt"

    # --- life
    def start(self) -> Router:
        self.data.mkdir(parents=True, exist_ok=True)
        policy = encode(self.policy)
        start = {"number": 0, "data": str(self.data), "policy_bytes": len(policy)}
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pointsman.gateway.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: what it said is told below
            self._process.stdin.write(json.dumps(start).encode() + b"\n" + policy)
            self._process.stdin.flush()
        assert self._process.stdout.readline() == b"ready\n", self.errors()
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None
        self._keeper.close()

    def __enter__(self) -> Router:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def term(self) -> None:
        """Ask the worker to drain and end."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_ended(self, seconds: float = 60.0) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    def errors(self) -> str:
        """Return what the worker wrote on standard error."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def check_quiet(self) -> None:
        """Fail when the worker reported anything but alerts: no fault of others may surface as one of ours."""
        said = [line for line in self.errors().splitlines() if not line.startswith("pointsman: alert ")]
        assert said == [], "\n".join(said)[-3000:]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts of the worker."""
        lines = self.errors().splitlines()
        return [json.loads(line.partition("alert ")[2]) for line in lines if line.startswith("pointsman: alert ")]

    # --- what it uses
    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # --- what it booked
    def records(self) -> list[entry.Record]:
        payloads = read_all(self.data / "journal")
        return [record for payload in payloads for record in entry.decode_records(payload)]

    def all_settled(self) -> list[Booked]:
        return [Booked.of(record) for record in self.records() if isinstance(record, Settled)]

    def admitted_ids(self) -> set[str]:
        return {record.id for record in self.records() if isinstance(record, Admitted)}

    def admitted(self, request_id: str) -> Admitted:
        found = until(lambda: self._of(request_id, Admitted))
        assert found is not None
        return found

    def settled(self, request_id: str, seconds: float = 30.0) -> Booked:
        found = until(lambda: self._of(request_id, Settled), seconds)
        assert found is not None
        return Booked.of(found)

    def by_client_id(self, client_id: str, seconds: float = 30.0) -> Booked:
        """Return the end of the request that came with this x-request-id."""

        def find() -> Settled | None:
            ids = [r.id for r in self.records() if isinstance(r, Admitted) and r.client_id == client_id]
            return self._of(ids[0], Settled) if ids else None

        found = until(find, seconds)
        assert found is not None
        return Booked.of(found)

    def check_books(self) -> None:
        """Fail unless each admitted request has exactly one end (I1)."""

        def balanced() -> bool:
            records = self.records()
            admitted = sorted(r.id for r in records if isinstance(r, Admitted))
            assert len(set(admitted)) == len(admitted), "a request was admitted twice"
            return admitted == sorted(r.id for r in records if isinstance(r, Settled))

        until(balanced)

    def _of(self, request_id: str, kind: type[T]) -> T | None:
        found = [r for r in self.records() if isinstance(r, kind) and r.id == request_id]  # type: ignore[attr-defined]
        assert len(found) < 2, "two records of one kind for one request"
        return found[0] if found else None

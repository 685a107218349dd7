"""The world of a campaign: mock providers and a router as processes of their own, clients, and the three logs compared."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from campaign_clients import Clients, Told
from serving import Serving, environment, until

WORKER, CONTROL = "pointsman.gateway.worker", "pointsman.control.main"
BOOKED_S = 30.0  # for the ledger to have all
# Answers of about half a second, so that a hundred clients have a hundred requests under way.
PACED = {"ttft_ms": {"p50": 150, "p95": 300}, "tokens_per_s": 30, "output_tokens": {"p50": 10, "p95": 14}}
NOT_ADMITTED = ("ledger_unavailable", "overloaded")
MOST_ATTEMPTS = 3


class Mock:
    """Play providers in a process of their own; its log file is the second of three logs."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "mock.jsonl"
        ports, config = folder / "mock-ports.json", folder / "mock.yaml"
        config.write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "pointsman.cli", "mock", str(config), "--port-file", str(ports)]
        self.process = subprocess.Popen(
            [*command, "--log", str(self._log)], env=environment(), stdout=subprocess.DEVNULL, cwd=folder
        )
        until(ports.exists, 20)
        self.ports: dict[str, int] = json.loads(ports.read_text())
        self._read = 0

    def post(self, path: str, value: dict[str, Any]) -> None:
        """Tell it something, e.g. `down` {"provider": "a"}."""
        self._ask("POST", path, json.dumps(value))

    def active(self) -> int:
        """Return how many requests it is answering."""
        return sum(provider["active"] for provider in self._ask("GET", "state")["providers"].values())

    def served(self) -> list[dict[str, Any]]:
        """Return what was booked since the last call; whole lines only."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _ask(self, method: str, path: str, body: str = "") -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["_admin"], timeout=10)
        try:
            connection.request(method, f"/_mock/{path}", body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def mock_values(speed: dict[str, Any] = PACED, rules: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the config of two providers of different wires with one model each."""
    wires = {"a": "openai", "b": "anthropic"}
    providers = [{"name": name, "dialect": wire, "models": {"m": speed}} for name, wire in wires.items()]
    return {"providers": providers, "seed": 7, "script": rules or []}


def router_values(mock: Mock, **more: Any) -> dict[str, Any]:
    """Return the config of a router over both providers: `main` prefers the first."""
    url = {name: f"http://127.0.0.1:{port}/v1" for name, port in mock.ports.items()}
    price = {"price": {"input": 1, "output": 10}, "context": 100_000}
    return {
        "providers": {
            "a": {"dialect": "openai", "base_url": url["a"], "api_key": "sk-campaign-a-0123456789"},
            "b": {"dialect": "anthropic", "base_url": url["b"], "api_key": "sk-campaign-b-0123456789"},
        },
        "deployments": {name: {"provider": name, "model": "m"} | price for name in ("a", "b")},
        "routes": {"main": {"candidates": ["a", "b"]}, "alone": {"candidates": ["a"]}},
    } | more


@dataclass
class Books:
    """Compare the three logs as they grow, and sum up."""

    told: dict[str, Told] = field(default_factory=dict)  # by name
    served: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))  # by the router's id
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the router's id
    names: Counter[str] = field(default_factory=Counter)  # of rows
    seq: int = 0

    def missing(self) -> list[str]:
        """Return what somebody saw and the ledger does not have yet."""
        seen = [t.id for t in self.told.values() if t.id and t.code not in NOT_ADMITTED]
        return [id for id in (*seen, *self.served) if id not in self.rows]

    def problems(self) -> list[str]:
        """Return what does not fit between the three logs. Empty: each admitted request has one row, and it is true."""
        found = [f"{name} has {count} rows" for name, count in self.names.items() if count > 1]
        found += [f"{id}: seen, and not in the ledger" for id in self.missing()]
        for id, row in self.rows.items():
            told, served = self.told.get(row["client_id"]), self.served.get(id, [])
            if told is None:
                found.append(f"{id}: a row that nobody asked for")
            else:
                found += [f"{id}: {problem}" for problem in _compare(told, served, row)]
        return found


def _compare(told: Told, served: list[dict[str, Any]], row: dict[str, Any]) -> Iterator[str]:
    outcome, recovered = row["outcome"], row["recovered"]
    if told.end == "never":
        yield "its client waited for a minute"
    if told.id and told.id != row["id"]:
        yield f"another id than its client was told: {told.id}"
    if told.end == "complete" and outcome != "ok":
        yield f"complete at the client, {outcome} in the ledger"
    if told.end == "error" and told.code not in NOT_ADMITTED and (outcome == "ok" or recovered):
        yield f"{told.code} at the client, {outcome} in the ledger"
    if told.code in NOT_ADMITTED:
        yield f"refused with {told.code}, and booked as {outcome}"
    if len(served) > (MOST_ATTEMPTS if recovered else row["attempts"]):
        yield f"sent {len(served)} times, {row['attempts']} attempts booked"
    whole = [one for one in served if one["outcome"] == "complete" and one["status"] == 200]
    if outcome == "ok" and not whole:
        yield "ok in the ledger, and no provider has answered it"
    if outcome == "ok" and row["output_tokens"] != whole[-1]["completion_tokens"]:
        yield f"{row['output_tokens']} tokens booked, the provider made {whole[-1]['completion_tokens']}"
    if row["recovered"] and row["charge_nano"] != row["hold_nano"]:
        yield "recovered, and not charged with its hold"


class Campaign:
    """Run a router under load before mock providers, and break it. Use as a context."""

    def __init__(self, folder: Path, *, clients: int = 120, workers: int = 2, values: dict[str, Any] | None = None,
                 data: Path | None = None, **config: Any) -> None:  # fmt: skip
        self.folder, self.workers = folder, workers
        self.mock = Mock(folder, values or mock_values())
        self.config = folder / "router.yaml"
        self.config.write_text(yaml.safe_dump(router_values(self.mock, **config)))
        self.started: list[Serving] = []
        self.starts = 0
        self.data = data or folder / "data"
        self.router = self.start()
        self.clients = Clients(lambda: (self.router.host, self.router.port), clients)
        self.books = Books()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.clients.close()
        for router in self.started:
            with contextlib.suppress(ProcessLookupError):
                router.kill()
        self.mock.close()

    def start(self) -> Serving:
        """Start a router on the data folder; the clients go to the newest."""
        self.starts += 1
        folder = self.folder / f"run{self.starts}"
        folder.mkdir()
        self.data.mkdir(exist_ok=True)
        (folder / "data").symlink_to(self.data)  # all of them work on one data folder, each has a log of its own
        self.router = Serving(folder, str(self.config), "--workers", str(self.workers))
        self.started.append(self.router)
        return self.router

    def under_way(self, count: int, within_s: float = 20.0) -> None:
        """Let the clients go, and wait until so many requests are under way."""
        self.clients.go()
        until(lambda: self.clients.pending >= count, within_s)

    def check(self) -> None:
        """Let all come to rest and compare the three logs."""
        self.clients.rest()
        books, until_s = self.books, time.monotonic() + BOOKED_S
        books.told = {told.name: told for told in self.clients.told}
        while True:
            for entry in self.mock.served():
                if entry["request_id"]:
                    books.served[entry["request_id"]].append(entry)
            self._read_rows()
            if not books.missing() and not self.mock.active():
                break
            assert time.monotonic() < until_s, (
                f"not booked after {BOOKED_S:.0f} s: {books.missing()[:5]}\n{self.said()}"
            )
            time.sleep(0.05)
        problems = books.problems()
        assert not problems, "\n".join(problems[:20]) + self.said()

    def end(self) -> None:
        """Stop in order; nothing is left in the journal, and the three logs agree."""
        self.clients.rest()
        assert self.router.stop(within_s=90) == 0
        self.check()
        assert not list((self.data / "journal").iterdir())
        assert "Traceback" not in self.said(), self.said()

    def said(self) -> str:
        return "".join(f"\n--- {router.log}\n{router.said[-2000:]}" for router in self.started[-2:])

    def figures(self) -> str:
        """Return what was seen, in one line."""
        ends = Counter(told.end for told in self.books.told.values())
        booked = Counter(row["outcome"] for row in self.books.rows.values())
        sent = sum(len(entries) for entries in self.books.served.values())
        return (
            f"{len(self.books.told)} requests at clients {dict(ends)}, {sent} at providers, "
            f"{len(self.books.rows)} rows {dict(booked)}; lost 0, doubled 0"
        )

    def _read_rows(self) -> None:
        db = sqlite3.connect(f"file:{self.data}/ledger.sqlite?mode=ro", uri=True, timeout=10)
        db.row_factory = sqlite3.Row
        with contextlib.closing(db):
            columns = "seq, id, client_id, outcome, recovered, attempts, output_tokens, charge_nano, hold_nano"
            for found in db.execute(f"SELECT {columns} FROM requests WHERE seq > ? ORDER BY seq", (self.books.seq,)):
                row = dict(found)
                self.books.rows[row["id"]] = row
                self.books.names[row["client_id"]] += 1
                self.books.seq = row["seq"]


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes, those that are gone left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

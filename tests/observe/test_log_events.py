"""Every documented event: played at a real router, or at the piece that says it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from observed_world import CONTROL, WORKER, dead_port
from serving import Serving, Upstream, environment, until

from pointsman.config.load import load_text
from pointsman.control.admin import Admin
from pointsman.control.issuers import Issuers
from pointsman.control.keeper import Keeper
from pointsman.control.price_watch import FIRST_S, PriceWatch
from pointsman.control.pump import Counts, Pump
from pointsman.control.replay import OWED, Policies
from pointsman.control.retention import Keeping
from pointsman.control.second import Second
from pointsman.control.stored import StoredBodies
from pointsman.core.entry import Feedback, encode_records
from pointsman.core.log import LogSettings
from pointsman.core.policy import Policy
from pointsman.gateway.books import Books
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.observe.log import EVENTS, LOG, Handler
from pointsman.observe.metrics import Metrics
from pointsman.stores.bodies import Bodies, Body
from pointsman.stores.choose import Stores, stores_of
from pointsman.stores.journal import Journal, JournalError
from pointsman.stores.ledger import LedgerError
from pointsman.strategies.guard import GUARDS, STRIKES, Failed

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
BASE = (
    "providers: {p: {dialect: openai, base_url: 'http://127.0.0.1:1/v1'}}\ndeployments: {a: {provider: p, model: m}}\n"
)
CANARY = "sk-canary-0123456789"


def policy(more: str = "") -> Policy:
    return load_text(BASE + more, "t.yaml", {}).policy


# --- at the piece that says it
def plugin_disabled(folder: Path) -> None:
    COMPLAINTS.adopt(policy("server: {log: {format: json}}"), 1)
    enforced, GUARDS.enforced = GUARDS.enforced, True
    try:
        for _ in range(STRIKES):
            with pytest.raises(Failed):
                GUARDS.call("of-this-test", lambda: 1 // 0, lambda _: "")
    finally:
        GUARDS.enforced = enforced


def exception(folder: Path) -> None:
    COMPLAINTS.on_exception(cast(asyncio.AbstractEventLoop, None), {"message": f"a fault {CANARY}"})


def library(folder: Path) -> None:
    Handler(LOG).emit(logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid %s", ("request",), None))


class Full:
    """A journal that takes nothing."""

    full = False

    def append(self, payload: bytes) -> None:
        raise JournalError("no space left")

    def put_off(self, payload: bytes) -> None:
        pass


def records_lost(folder: Path) -> None:
    async def lose() -> int:
        books = Books(cast(Journal, Full()), Metrics())
        who = ("k", "", "", "")
        given = Feedback("fbk_1", 0, who, "req_1", "", 1.0, "", "", "", "", "user")
        books.admit(given, cast(Any, SimpleNamespace(booked=lambda: None, unbooked=lambda error: None)))
        books.turn()
        return books.metrics.journal_errors

    assert asyncio.run(lose()) == 1


def ledger_behind(folder: Path) -> None:
    def away() -> None:
        raise LedgerError("it is away")

    (folder / "journal").mkdir()
    pump = Pump(
        folder / "journal", cast(Any, SimpleNamespace(marks=away)), cast(Any, SimpleNamespace(settle=lambda: None))
    )
    assert not pump.step() and pump.counts.errors == 1 and not pump.counts.up  # ledger_errors


def journal_damaged(folder: Path) -> None:
    journal = Journal(folder / "journal", "000000000001-1-1", 1 << 20, 1 << 30)
    given = Feedback("fbk_1", 0, ("k", "", "", ""), "req_1", "", 1.0, "", "", "", "", "user")
    for _ in range(3):
        journal.append(encode_records([given]))
    journal.close()
    (path,) = (path for path in (folder / "journal").iterdir() if path.stat().st_size)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"????" + data[len(data) // 2 + 4 :])
    writer = stores_of(folder, policy().listener).writer()
    pump = Pump(folder / "journal", writer, Policies(writer, folder / OWED))
    while pump.step():
        assert pump.counts.lag_bytes >= 0  # ledger_lag_bytes
    writer.close()
    assert pump.counts.damaged_bytes > 0  # ledger_damaged_bytes


def _second(folder: Path) -> Second:
    """Return a second process that runs, of a pump with nothing to book."""
    (folder / "journal").mkdir()
    writer = stores_of(folder, policy().listener).writer()
    made = Second(Pump(folder / "journal", writer, Policies(writer)), str(folder), LogSettings, lambda: True)
    made._start(frozenset({"i1"}))
    return made


def second_pump_started(folder: Path) -> None:
    made = _second(folder)
    assert made.pid and made._pump.counts.processes == 2  # ledger_processes
    made.stop()


def second_pump_ended(folder: Path) -> None:
    made = _second(folder)
    until(lambda: made.look() or not made.pid, 60)
    assert made._pump.counts.processes == 1


def second_pump_lost(folder: Path) -> None:
    made = _second(folder)
    os.kill(made.pid, signal.SIGKILL)
    until(lambda: made.look() or not made.pid, 60)


def _broken_store(folder: Path) -> None:
    for name in ("callers.sqlite", "callers.sqlite-wal"):
        (folder / name).write_bytes(b"no database at all" * 100)


def key_store_failed(folder: Path) -> None:
    _broken_store(folder)
    Keeper(stores_of(folder, policy().listener), lambda: None).step()


def audit_failed(folder: Path) -> None:
    _broken_store(folder)
    admin = Admin(folder, policy(), cast(Any, None))
    admin._note_reload(cast(Any, SimpleNamespace(name="me")), {"ok": True, "version": "v1"})


def issuer_failed(folder: Path) -> None:
    oidc = f"[{{issuer: 'http://127.0.0.1:{dead_port()}', audience: [a], claims: {{user: sub}}}}]"
    Issuers(folder, lambda: policy(f"server: {{oidc: {oidc}}}\n"), lambda: None).step()


def retention_failed(folder: Path) -> None:
    def away() -> None:
        raise LedgerError("it is away")

    held = policy("server: {retention: {requests_days: 1}}\n")
    Keeping(cast(Any, SimpleNamespace(writer=away)), lambda: held).step(0)


def price_refresh_failed(folder: Path) -> None:
    held = policy("prices: {from: nothing-there.json, refresh: 1h}\n")
    now_s = iter((0.0, FIRST_S))
    assert PriceWatch(Stores(folder), lambda: held, lambda notice: None, lambda: next(now_s)).step()


def not_kept(folder: Path) -> None:
    held = policy("routes: {r: {candidates: [a], store_bodies: {ttl: 1h}}}\nserver: {bodies: {max_bytes: 1048576}}\n")
    kept = Bodies(folder)
    for n in range(2):
        kept.add([Body(f"req_{n}", 0, 10**12 + n, ("k", "", "", ""), "r", "ok", "x" * 600_000, "")])
    counts = Counts()
    StoredBodies(Stores(folder), lambda: held, counts).step(0)
    assert counts.bodies_dropped == 1 and len(kept.files()) == 1  # bodies_dropped


PIECES: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        plugin_disabled,
        exception,
        library,
        records_lost,
        ledger_behind,
        journal_damaged,
        second_pump_started,
        second_pump_ended,
        second_pump_lost,
        key_store_failed,
        audit_failed,
        issuer_failed,
        retention_failed,
        price_refresh_failed,
        not_kept,
    )
}


@pytest.mark.parametrize("event", sorted(PIECES))
def test_a_piece_says_it(event: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LOG.configure("test", "json", "info")
    try:
        PIECES[event](tmp_path)
    finally:
        LOG.configure("test", "text", "info")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert event in {line["event"] for line in lines} and "canary" not in str(lines)


# --- at a real router
class Speaking:
    """A router whose log is JSON, to which everything happens that it has an event for."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder, self.upstream = folder, upstream
        self.path = folder / "router.yaml"
        self.log = folder / "serve.log"
        self.data = folder / "data"

    def write(self, **more: Any) -> None:
        made = yaml.safe_load(self.upstream.config())
        nowhere = f"http://127.0.0.1:{dead_port()}"
        made["providers"]["up"]["api_key"] = CANARY
        made["quotas"] = [{"name": "q", "requests": "5/h", "over": "notify"}]
        made["limits"] = {"connections": 100_000}
        made["notify"] = [{"name": "hook", "url": nowhere + "/canary-path", "quiet": "1s"}]
        made["server"] = {
            "port": 0,
            "admin_port": 0,
            "log": {"format": "json", "requests": "all"},
            "tracing": {"endpoint": nowhere, "sample": 1.0},
        } | more
        made["deployments"]["old"] = {"provider": "up", "model": "old", "retires": "2020-01-01"}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(made))
        fresh.replace(self.path)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines that are there; each is one JSON object, whoever wrote it."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def heard(self, *names: str, within_s: float = 20.0) -> None:
        for name in names:
            until(lambda n=name: bool(self.events(n)), within_s)  # type: ignore[misc]


class Quick(Serving):
    """Read from the JSON line where the listeners are."""

    def _places(self) -> list[tuple[str, int]]:
        def ready() -> Any:
            lines = [json.loads(line) for line in self.said.splitlines() if '"ready"' in line]
            return next((line["fields"] for line in lines if line["event"] == "ready"), None)

        until(lambda: self.process.poll() is not None or ready() is not None, 60)
        found = ready()
        assert found, self.said
        places = [re.search(r"http://([\d.]+):(\d+)", found[name]) for name in ("endpoint", "status")]
        return [(one[1], int(one[2])) for one in places if one]


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaking]:
    folder, upstream = tmp_path_factory.mktemp("speaking"), Upstream()
    world = Speaking(folder, upstream)
    world.write()
    (world.data / "run").mkdir(parents=True)
    lock = os.open(world.data / "pump.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    router = Quick(folder, str(world.path))
    try:
        world.heard("waiting_for_lock")
        os.close(lock)
        for _ in range(6):
            assert router.chat("main")[0] == 200
        assert router.chat("broken")[0] == 503
        router.chat("nothing")
        world.heard("request", "alert", "notify_failed", "tracing_failed")
        world.path.write_text("deployments: 7")
        world.heard("config_refused")
        world.write(counters="memory:")
        world.heard("config_reloaded", "restart_needed")
        until(lambda: not (router.data / "run" / ".reload.json.new").exists(), 5)
        (router.data / "run" / ".reload.json.new").mkdir()  # where the next one is written
        router.process.send_signal(signal.SIGHUP)
        world.heard("not_noted")
        control = router.children(CONTROL)[0]
        os.kill(control, signal.SIGSTOP)  # it would mend it at once
        published = router.data / "run" / "callers"
        published.write_bytes(b"nothing of the kind")
        world.heard("keys_not_taken")
        os.kill(control, signal.SIGCONT)
        os.kill(router.children(WORKER)[0], signal.SIGKILL)
        world.heard("process_died")
        router.stop()
        yield world
    finally:
        router.kill()
        upstream.shutdown()
        upstream.server_close()


@pytest.mark.parametrize("event", sorted(EVENTS.keys() - PIECES.keys() - {"failed"}))
def test_a_router_says_it(speaking: Speaking, event: str) -> None:
    assert speaking.events(event)
    assert "canary" not in speaking.log.read_text()


def test_a_router_that_cannot_start_says_why(tmp_path: Path, speaking: Speaking) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        speaking.write(port=taken.getsockname()[1])
        command = [sys.executable, "-m", "pointsman.cli", "serve", str(speaking.path), "--data", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 1 and {"failed"} <= {json.loads(line)["event"] for line in done.stderr.splitlines()}


def test_requests_have_a_line_with_the_fields_of_the_page(speaking: Speaking) -> None:
    table = PAGE.split("### Requests")[1].split("\n## ")[0]
    documented = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    lines = speaking.events("request")
    assert len({line["fields"]["id"] for line in lines}) == len(lines) >= 7
    assert {name for line in lines for name in line["fields"]} == documented - {"trace"}
    ok = next(line["fields"] for line in lines if line["fields"]["ok"])
    assert (ok["route"], ok["deployment"], ok["status"], ok["input_tokens"]) == ("main", "fast", 200, 100)


def test_every_event_is_documented_and_no_other() -> None:
    table = PAGE.split("### Events")[1].split("\n### ")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(EVENTS)

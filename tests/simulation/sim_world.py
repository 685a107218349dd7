"""The world of one run: a worker on virtual time between clients and providers, its journal, the pump, and what breaks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from sim_clients import Client
from sim_loop import OWNER, Crash, Ordered, VirtualClock, VirtualLoop
from sim_network import Link, Network
from sim_providers import Providers, virtual_wall
from sim_scenario import FAULTS, Scenario, policy_of, reloaded

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import Record, decode_records
from pointsman.core.policy import Policy
from pointsman.gateway import worker as gateway_worker
from pointsman.gateway.books import Books
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.live import Live
from pointsman.gateway.worker import Worker
from pointsman.gateway.world import World
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal, JournalError, scan
from pointsman.stores.sqlite import SqliteWriter

MOST_S = 400.0  # of virtual time: beyond, the run never comes to rest


@dataclass
class Written:
    """Hold one write to the journal."""

    owner: int
    time_s: float
    frames: bytes

    @property
    def records(self) -> list[Record]:
        found = scan(self.frames, 1, ended=True).frames
        return [record for _, _, payload in found for record in decode_records(payload)]


@dataclass
class Send:
    """Hold one request as the gateway wrote it to a provider's connection; `tick` is its place in the order of all."""

    tick: int
    time_s: float
    id: str
    link: Link


class SimJournal(Journal):
    """Write real files; fail and be killed as the world says."""

    world: SimWorld

    def _write(self, frames: bytes) -> None:
        world = self.world
        world.appends += 1
        crash = next((c for c in world.scenario.crashes if c.get("append") == world.appends), None)
        where = crash["where"] if crash is not None else ""
        if where == "before" or where == "inside":
            half = frames[: len(frames) // 2] if where == "inside" else b""  # whole frames may be in it
            os.write(self._fd, half)
            world.written.append(Written(world.owner, world.loop.time(), half))
            world.crash(crash)  # type: ignore[arg-type]
            raise Crash
        if world.disk_is_full():
            world.hit["f82-disk-full"] += 1
            kept, self._fd = self._fd, world.full
            try:
                super()._write(frames)
            finally:
                self._fd = kept
        else:
            super()._write(frames)
            world.written.append(Written(world.owner, world.loop.time(), frames))
        if where:
            world.crash(crash)  # type: ignore[arg-type]
            raise Crash


@dataclass
class SimWorld:
    """Run one scenario; what happened is left in the fields, for the checks."""

    scenario: Scenario
    folder: Path
    check_step: Callable[[SimWorld], None]
    owner: int = 0
    appends: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    written: list[Written] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    crashed: dict[int, float] = field(default_factory=dict)  # owner -> when
    policies: dict[str, Policy] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    states: tuple[Any, list[Any]] = (None, [])  # after the last step
    looked_at: set[Any] = field(default_factory=set)  # attempts whose start was checked
    reloaded_ms: list[float] = field(default_factory=list)
    worker: Worker | None = None
    exited_s: float | None = None
    unwritten: bool = False  # the disk was full to the end
    before_stop: Callable[[SimWorld], None] = lambda world: None

    def __post_init__(self) -> None:
        seed = str(self.scenario.seed)
        self.loop = VirtualLoop(seed)
        self.network = self.loop.network = Network(self.loop, seed)
        self.clock = VirtualClock(self.loop)
        self.providers = Providers(self.scenario, self.network, self.loop)
        self.network.on_send = self._sent
        self.full = os.open("/dev/full", os.O_WRONLY)
        self.ledger = SqliteWriter(self.folder / "ledger.sqlite")
        self.replay = Policies(self.ledger)
        self.pump = Pump(self.folder / "journal", self.ledger, self.replay)
        self._disk = [f for f in self.scenario.faults if "disk" in FAULTS[f["name"]]]
        self.config = self.scenario.config
        self.policy = self._keep(self.config)
        self.loop.after_step = self._after_step
        self.errors = io.StringIO()

    def _complaints(self) -> contextlib.AbstractContextManager[Any]:
        return mock.patch.object(COMPLAINTS, "say", lambda text, *_, **__: print(text, file=self.errors))

    def play(self) -> None:
        """Run to rest."""
        (self.folder / "run").mkdir()
        (self.folder / "journal").mkdir()
        try:
            with virtual_wall(self.loop), contextlib.redirect_stderr(self.errors), self._complaints():
                asyncio.set_event_loop(self.loop)
                self.loop.run_until_complete(self._main())
        finally:
            asyncio.set_event_loop(None)
            self.hit += self.providers.hit
            for task in asyncio.all_tasks(self.loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.loop.close()
            os.close(self.full)

    async def _main(self) -> None:
        scenario, loop = self.scenario, self.loop
        self.start()
        for plan in scenario.clients:
            client = Client(plan, self.network, loop)
            self.clients.append(client)
            loop.call_at(plan["at_s"], client.start, context=self.network.context)
        for reload in scenario.reloads:
            loop.call_at(reload["at_s"], self.reload, reload, context=self.network.context)
        for crash in scenario.crashes:
            if "at_s" in crash:
                loop.call_at(crash["at_s"], self.crash, crash, context=self.network.context)
        for fault in scenario.faults:
            if "jump_s" in FAULTS[fault["name"]]:
                loop.call_at(fault["start_s"], self._jump, fault["name"], context=self.network.context)
        self._pump_on()
        await asyncio.sleep(scenario.drain_s)
        await self._stop()

    # --- the worker's life
    def start(self) -> None:
        """Start a worker on the data folder."""
        self.owner += 1
        self.context = contextvars.Context()
        self.context.run(OWNER.set, self.owner)
        self.context.copy().run(self._start)

    def _start(self) -> None:
        rng = random.Random(f"{self.scenario.seed}:worker{self.owner}")
        live = Live(World(self.policy, self.clock.now_ms), self.clock, rng.getrandbits(128), rng.randbytes)
        live.spending.open(self.folder / "run", 0)
        limits = self.policy.limits
        name = f"{self.clock.wall_ms():012x}-0-{self.owner}"
        SimJournal.world = self
        journal = SimJournal(self.folder / "journal", name, limits.journal_segment_bytes, limits.journal_bytes)
        worker = self.worker = Worker(live, Books(journal, Metrics()), 0, self.folder)
        worker.active, worker.edges = Ordered(), Ordered()  # type: ignore[assignment]
        self.loop.create_task(self._listen(worker))

    async def _listen(self, worker: Worker) -> None:
        await worker.live.quotas.open(self.folder, 0, f"sim{self.owner}", worker.books.metrics)
        await worker.listen()

    def crash(self, crash: dict[str, Any]) -> None:
        """Kill the worker: nothing of it runs any more, its files stay as they are."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        self.hit[f"crash-{crash.get('where', 'any time')}"] += 1
        self.hit["crash with requests under way"] += bool(worker.active)
        self.crashed[self.owner] = self.loop.time()
        self.loop.forget(self.owner)
        self.network.kill(self.owner)
        journal = worker.books.journal
        os.close(journal._fd)
        os.close(journal._lock)
        self.loop.call_later(crash["down_s"], self.start, context=self.network.context)

    def reload(self, reload: dict[str, Any]) -> None:
        config = reloaded(self.config, reload)
        policy = self._keep(config)
        self.config, self.policy = config, policy
        if self.worker is not None and not self.worker.draining:
            self.hit["reload"] += 1
            self.reloaded_ms.append(self.clock.now_ms())
            self.hit["reload with requests under way"] += bool(self.worker.active)
            self.context.copy().run(self.worker.adopt, policy)

    def _keep(self, config: dict[str, Any]) -> Policy:
        policy = policy_of(config)
        self.policies[policy.version] = policy
        self.replay.keep(policy)
        return policy

    async def _stop(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            worker = self.worker
            if worker is None:
                continue
            if not worker.draining:
                self.hit["drain with requests under way"] += bool(worker.active)
            self.context.copy().run(worker.drain)
            if worker.drained.is_set():
                break
        self.network.over = True
        context = self.context.copy()
        await self.loop.create_task(gateway_worker._flush(worker), context=context)
        await asyncio.sleep(1.3)  # longer than the framing of an answer may take (upstream.END_WAIT_S)
        self.before_stop(self)
        self.loop.forget(self.owner)
        self.exited_s = self.loop.time()
        self.network.kill(self.owner)
        worker.live.spending.exchange(self.clock.wall_ms())
        try:
            worker.books.journal.close()
        except JournalError:
            self.unwritten = True  # what was put off is recovered
        except Crash:
            pass
        await asyncio.sleep(2.0)
        while self.pump.step() or self.pump.behind:
            pass

    # --- around it
    def _pump_on(self) -> None:
        self.pump.step()
        self.loop.call_later(0.7, self._pump_on, context=self.network.context)

    def _jump(self, name: str) -> None:
        self.hit[name] += 1
        self.clock.jump_s += FAULTS[name]["jump_s"]

    def disk_is_full(self) -> bool:
        return any(f["start_s"] <= self.loop.time() < min(f["end_s"], f["start_s"] + 10.0) for f in self._disk)

    def _sent(self, link: Link, data: bytes) -> None:
        at = data.find(b"x-request-id: ")
        if at >= 0:
            id = data[at + 14 : data.index(b"\r\n", at)].decode()
            self.sends.append(Send(self.network.tick(), self.loop.time(), id, link))

    def _after_step(self) -> None:
        if self.loop.time() > MOST_S:
            raise AssertionError("the run does not come to rest")
        self.check_step(self)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return a table of the ledger."""
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.sqlite")) as db:
            return db.execute(f"SELECT * FROM {table}").fetchall()


def temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for one run, in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    # A thread of the gateway may still write an answer to a file.
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True)

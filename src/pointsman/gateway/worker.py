"""Worker: one data-plane process: listens, dispatches, sweeps the limits, drains.

Started by the supervisor as `python -m pointsman.gateway.worker`. On standard input it reads one line of JSON (Start), then
the encoded policy; then, whenever the config has changed, a frame with the new one (`config/transport.py:Frames`). End of
file means that the supervisor is gone, and the worker drains. On standard output it writes `ready` once it listens, and
`adopted VERSION` or `refused REASON` for each new policy.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
import sys
from collections.abc import MutableSet
from functools import partial
from pathlib import Path

import msgspec

from pointsman.config import transport
from pointsman.core.policy import Policy
from pointsman.core.standing import Standings
from pointsman.gateway import descriptors, overdue
from pointsman.gateway.answers import Refused, refusal
from pointsman.gateway.bodies import Bodies
from pointsman.gateway.books import Books
from pointsman.gateway.cache import Cache
from pointsman.gateway.callers import Callers
from pointsman.gateway.clock import Clock
from pointsman.gateway.complaints import COMPLAINTS
from pointsman.gateway.edge import Edge, Incoming, Work, edge_of
from pointsman.gateway.endpoints import CHAT_TARGETS, OPEN, chat, find, path_of, refuse
from pointsman.gateway.exchange import Exchange
from pointsman.gateway.footprints import Footprints
from pointsman.gateway.gate import Gate
from pointsman.gateway.live import Live
from pointsman.gateway.local import is_local
from pointsman.gateway.strangers import Strangers
from pointsman.gateway.world import LOCAL, World
from pointsman.observe.log import LOG
from pointsman.observe.metrics import BREAKER_VALUES, Metrics, merge
from pointsman.observe.render import render
from pointsman.stores.claims import Claims
from pointsman.stores.journal import Journal, waiting_bytes
from pointsman.strategies.guard import GUARDS
from pointsman.strategies.plugins import PluginError

SWEEP_S = 0.05  # how exact the limits of exchanges are
FLOW_SWEEPS = 5  # a stream that flows is looked at in one sweep of so many: its stall is found that much later
EDGE_SWEEP_S = 0.5  # how exact the limits of client connections are
PUBLISH_S = 1.0  # how old the counters of other workers are in a scrape
SHUTDOWN_GRACE_S = 2.0  # for the last bytes to leave
PIPE_BYTES = 1 << 20  # read from the supervisor at a time
PIPE_LINE_CHARACTERS = 500  # told to it in one line


class Start(msgspec.Struct):
    """Hold what the supervisor tells a worker."""

    number: int
    data: str
    policy_bytes: int


class Worker:
    """Serve one World on one event loop. Implements the edge's Dispatcher and the exchange's Shell."""

    def __init__(self, live: Live, books: Books, number: int, data: Path) -> None:
        self.live = live
        self.books, books.first = books, live.quotas.flush
        self.limits = live.world.limits
        self.draining = False
        self.generation: object = live.world
        self.wanted = live.world.wanted
        self.active: MutableSet[Exchange] = set()
        self.edges: MutableSet[Edge] = set()
        self.claims = Claims(data / "once")
        self.bodies = Bodies(data, number, books.metrics)
        self.footprints = Footprints(data)
        self.cache = Cache(data, live.clock, books.metrics, live.world.policy.listener.cache.reveal())
        self.now_ms = live.clock.now_ms
        self.gate = Gate(live.world.policy, live.random)
        self._sweep_due_ms, self._sweeps = 0.0, 0  # 0.0: not begun
        self.drained: asyncio.Event = asyncio.Event()
        self._number = number
        self._data = data
        self.files = 0  # descriptors that this process may have; 0: no limit
        self._servers: list[asyncio.Server] = []
        self._published = b""
        self.callers = Callers(self, data, number)
        self.strangers = Strangers(self.callers, live.clock)

    # --- what the edge asks
    def opened(self, edge: Edge) -> bool:
        if len(self.edges) >= descriptors.connections(self.limits.connections, self.files):
            return False
        self.edges.add(edge)
        return True

    def closed(self, edge: Edge) -> None:
        self.edges.discard(edge)

    def admit(self, incoming: Incoming, edge: Edge | None = None, *, close: bool = False) -> bytes | None:
        """Tell who calls, from the headers alone; return the refusal when nobody may (S2: before the body)."""
        headers = incoming.headers
        if headers.get("content-encoding", b"identity") != b"identity":
            message = "send the body without content-encoding"
            return self.refusal(415, message, "content_encoding_not_supported", incoming=incoming, close=close)
        key = headers.get("authorization")
        if key is not None:
            key = key[7:].strip() if key[:7].lower() == b"bearer " else None
        else:
            key = headers.get("x-api-key") or headers.get("api-key")
        world = self.live.world
        if key:
            caller = self.callers.find(key)
            if caller is not None:
                incoming.caller, incoming.generation = caller, self.generation
                return None
        if self.callers.open:
            if world.local_only and not is_local(headers):
                message = "without keys the router serves this machine's own programs only, not what a web page sends"
                return self.refusal(403, message, "not_local", incoming=incoming, close=close)
            incoming.caller, incoming.generation = LOCAL, self.generation
            return None
        if incoming.target not in CHAT_TARGETS and path_of(incoming) in OPEN:
            return None
        return self._refused(self.strangers.refused(key, edge), incoming, close=close)

    def pressed(self) -> bool:
        """Tell whether a request may have to be refused before its body is read."""
        return len(self.active) >= self.gate.free or self.gate.pressure.short

    def refuse_body(self, incoming: Incoming, *, close: bool) -> bytes | None:
        """Return the refusal of a request that there is no room for, before its large body is read; None when it is read."""
        why = self.gate.stops_body(incoming, len(self.active), chat=incoming.target in CHAT_TARGETS)
        return None if why is None else self._refused(why, incoming, close=close)

    def dispatch(self, edge: Edge, incoming: Incoming) -> Work | None:
        if self.draining:
            incoming.close = True
        if incoming.target in CHAT_TARGETS and incoming.method == b"POST":
            return chat(self, edge, incoming)
        handler = find(incoming)
        if isinstance(handler, Refused):
            refuse(self, edge, handler)
            return None
        return handler(self, edge, incoming)

    def refusal(
        self, status: int, message: str, code: str, *, incoming: Incoming | None = None, close: bool = False
    ) -> bytes:
        """Return the answer to a request that is not admitted; counted, not booked."""
        return self._refused(Refused(status, message, code), incoming, close=close)

    def _refused(self, why: Refused, incoming: Incoming | None, *, close: bool) -> bytes:
        self.books.metrics.refuse(why.code)
        given = None if incoming is None else incoming.headers.get("x-request-id")
        return refusal(why, request_id=self.live.new_id(), client_id=given, close=close)

    # --- life
    def adopt(self, policy: Policy) -> None:
        """Serve another config version from the next request on: build its World whole, then swap. What is under way
        keeps the World it began with. Raise OSError when a CA file cannot be used."""
        live, before = self.live, self.live.world
        world = World(policy, live.clock.now_ms, before)
        self.callers.adopt(policy)
        COMPLAINTS.adopt(policy, self._number)
        live.adopt(world)
        self.limits, self.generation = world.limits, world
        self.wanted = world.wanted
        self.books.journal.set_bounds(world.limits.journal_segment_bytes, world.limits.journal_bytes)
        for place, origin in before.origins.items():
            if world.origins.get(place) is not origin:
                origin.retire()

    async def listen(self) -> None:
        """Open the listener: SO_REUSEPORT, so that each worker has its own queue."""
        listener = self.live.world.policy.listener
        loop = asyncio.get_running_loop()
        context = None
        if listener.tls_cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(listener.tls_cert, listener.tls_key or None)
            context.set_alpn_protocols(["http/1.1"])
        made = loop.create_server(
            partial(edge_of, self), listener.host, listener.port, ssl=context, reuse_port=True, backlog=4096
        )
        self._servers.append(await made)
        for listening in self._servers[0].sockets:
            descriptors.keep_alive(listening.fileno())
        loop.call_later(SWEEP_S, self._sweep)
        loop.call_later(EDGE_SWEEP_S, self._sweep_edges)
        loop.call_later(PUBLISH_S, self._publish)

    def drain(self) -> None:
        """Stop taking connections, let what runs finish, then set `drained`."""
        if self.draining:
            return
        self.draining = True
        for server in self._servers:
            server.close()
        for exchange in self.active:
            exchange.incoming.close = True  # so that the client learns from the answer that the connection ends with it
        loop = asyncio.get_running_loop()
        loop.call_later(self.limits.drain_ms / 1000, self._end_drain)
        self._sweep_edges()
        self._check_drained()

    def scrape(self) -> bytes:
        """Return the metrics of all workers: ours as they are, the others' as last published."""
        folder = self._data / "run"
        parts = [self._own_metrics()]
        for path in folder.glob("metrics-*.msgpack"):
            if path.name == f"metrics-{self._number}.msgpack":
                continue
            try:
                parts.append(msgspec.msgpack.decode(path.read_bytes(), type=Metrics))
            except (OSError, msgspec.MsgspecError):
                continue  # just being replaced, or of another version
        total, workers = merge(parts)
        return render(total, workers, waiting_bytes(self._data / "journal"))

    # --- sweeps
    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(SWEEP_S, self._sweep)
        began_ms, due_ms = self.now_ms(), self._sweep_due_ms
        self.gate.sweep(max(0.0, began_ms - due_ms) if due_ms else 0.0, len(self.active))
        self._sweep_due_ms = began_ms + SWEEP_S * 1000.0
        if len(self.books.metrics.noted) > 256:
            self.books.metrics.count()
        if not self.active:
            return
        self.live.look()
        now_ms = self.now_ms()
        self._sweeps += 1
        flowing = not self._sweeps % FLOW_SWEEPS
        for exchange in [one for one in self.active if overdue.is_due(one, now_ms, flowing=flowing)]:
            overdue.act(exchange, now_ms)

    def _sweep_edges(self) -> None:
        if not self.draining:
            asyncio.get_running_loop().call_later(EDGE_SWEEP_S, self._sweep_edges)
        now_ms = self.now_ms()
        for edge in list(self.edges):
            if self.draining and edge.idle():
                edge.close()
            else:
                edge.overdue(now_ms)

    def _check_drained(self) -> None:
        self.live.quotas.lines.close()
        if not (self.active or self.live.quotas.lines.count):
            self.drained.set()
        else:
            asyncio.get_running_loop().call_later(SWEEP_S, self._check_drained)
            self._sweep_edges()

    def _end_drain(self) -> None:
        for exchange in list(self.active):
            exchange.shut_down()

    def _own_metrics(self) -> Metrics:
        metrics = self.books.metrics
        metrics.count()
        self.cache.count()
        metrics.config, metrics.plugin_failures = {self.live.world.version: 1}, dict(GUARDS.failures)
        metrics.active, metrics.connections = len(self.active), len(self.edges)
        metrics.complaints_lost, metrics.alerts = COMPLAINTS.lost, dict(self.live.alerts.counts)
        metrics.shed, metrics.pressure = dict(self.gate.shed), self.load()["pressure"]
        metrics.callers_errors = self.callers.errors
        metrics.breakers = {name: BREAKER_VALUES[state] for name, state in self.live.health().items()}
        return metrics

    def _publish(self) -> None:
        """Write our counters for the other workers and the control process."""
        asyncio.get_running_loop().call_later(PUBLISH_S, self._publish)
        self.live.refresh()
        self.callers.look()
        COMPLAINTS.look()
        self._replace(f"standing-{self._number}.msgpack", msgspec.msgpack.encode(self.standings()))
        data = msgspec.msgpack.encode(self._own_metrics())
        if data == self._published:
            return
        if self._replace(f"metrics-{self._number}.msgpack", data):
            self._published = data

    def standings(self) -> Standings:
        """Return how every deployment stands in the eyes of this worker."""
        live = self.live
        return Standings(live.clock.wall_ms(), self._number, live.world.version, live.standings(), self.load())

    def load(self) -> dict[str, float]:
        """Return how much this worker has to do (see Gate.told)."""
        return self.gate.told(len(self.active))

    def _replace(self, name: str, data: bytes) -> bool:
        """Put a file in place of its predecessor; on False what others read is a little older, and no request is affected."""
        path = self._data / "run" / name
        try:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.replace(path)
        except OSError:
            return False
        return True


async def serve(worker: Worker) -> None:
    """Listen, say `ready`, and serve until drained."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    await worker.listen()
    loop.add_reader(0, _hear_supervisor, worker, transport.Frames())
    os.write(1, b"ready\n")
    gc.collect()
    gc.freeze()  # what lives from here to the end is not walked again
    gc.set_threshold(50_000, 20, 50)
    await worker.drained.wait()
    await _flush(worker)
    worker.bodies.close()
    await worker.live.quotas.close()
    worker.live.spending.exchange(worker.live.clock.wall_ms())
    worker.books.journal.close()


async def _flush(worker: Worker) -> None:
    """Give the last bytes a moment to leave."""
    for edge in list(worker.edges):
        edge.close()
    for _ in range(int(SHUTDOWN_GRACE_S / SWEEP_S)):
        if not worker.edges:
            return
        await asyncio.sleep(SWEEP_S)


def _hear_supervisor(worker: Worker, frames: transport.Frames) -> None:
    """Take what the supervisor's pipe has now, and adopt the newest policy that is whole."""
    data = os.read(0, PIPE_BYTES)
    if not data:
        asyncio.get_running_loop().remove_reader(0)
        worker.drain()
        return
    for encoded in frames.feed(data):
        try:
            worker.adopt(transport.decode(encoded))
            said = f"adopted {worker.live.world.version}"
        except Exception as error:  # noqa: BLE001  whatever is wrong with this one, the World before goes on
            said = f"refused {' '.join(str(error).split()) or type(error).__name__}"
        os.write(1, said[:PIPE_LINE_CHARACTERS].encode() + b"\n")


def main() -> None:
    """Run one worker process."""
    import uvloop

    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's affair, also when sent to all of us
    start = msgspec.json.decode(descriptors.read_line(0), type=Start)
    policy = transport.decode(descriptors.read_exactly(0, start.policy_bytes))
    COMPLAINTS.adopt(policy, start.number)
    LOG.hook()
    data = Path(start.data)
    (data / "run").mkdir(parents=True, exist_ok=True)
    clock = Clock()
    live = Live(World(policy, clock.now_ms), clock, int.from_bytes(os.urandom(16)))
    live.spending.open(data / "run", start.number)
    limits = policy.limits
    incarnation = f"{clock.wall_ms():012x}-{start.number}-{os.getpid()}"
    journal = Journal(data / "journal", incarnation, limits.journal_segment_bytes, limits.journal_bytes)

    async def run() -> None:
        worker = Worker(live, Books(journal, Metrics()), start.number, data)
        worker.gate.share(data / "run", start.number, worker.callers.policy)
        await live.quotas.open(data, start.number, incarnation, worker.books.metrics)
        worker.files = descriptors.raise_limit()
        most = descriptors.connections(limits.connections, worker.files)
        if most < limits.connections:
            COMPLAINTS.say(
                f"{worker.files} open files are allowed, so a worker takes {most} client connections, not "
                f"limits.connections = {limits.connections}; raise the limit (ulimit -n, LimitNOFILE=)",
                "few_files",
            )
        asyncio.get_running_loop().set_exception_handler(COMPLAINTS.on_exception)
        await serve(worker)

    uvloop.run(run())


if __name__ == "__main__":
    try:
        main()
    except (OSError, PluginError) as error:
        sys.exit(LOG.last_word("worker", error))

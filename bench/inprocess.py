"""Measure the Python path of one request without sockets: the edge parses, the gateway decides, books, encodes, relays.

    python bench/inprocess.py [--profile]

Prints microseconds per request and per stream event, the best of many short batches: noise only ever adds. For a quick
look before and after a change; what a client sees is measured by run.py.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import payloads

from pointsman.config.load import load_text
from pointsman.gateway.books import Books
from pointsman.gateway.clock import Clock
from pointsman.gateway.edge import Edge
from pointsman.gateway.live import Live
from pointsman.gateway.upstream import Connection
from pointsman.gateway.worker import Worker
from pointsman.gateway.world import World
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal

CONFIG = Path(__file__).parent / "conf" / "pointsman.yaml"
PORTS = {"bench": 9, "pace-10": 10}  # of providers that nobody connects to
BATCHES, TURNS, AT_ONCE = 150, 25, 8
PROFILED_TURNS = 500


class FakeTransport(asyncio.Transport):
    """Send nothing; keep what was last written, and hand it to `seen`."""

    def __init__(self, seen: Callable[[], None]) -> None:
        super().__init__()
        self.last = b""
        self._seen = seen

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = bytes(data)
        self._seen()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered here."""

    def is_closing(self) -> bool:
        return False


class Lanes:
    """One route's way through the gateway, several requests at a time: clients before it, pooled connections behind."""

    def __init__(self, worker: Worker, model: str, answer: list[bytes]) -> None:
        self.request = payloads.http(80, payloads.request(model, stream=model != "bench"), payloads.CLIENT_KEY)
        self.answer = answer
        self.asked: list[Connection] = []
        self.clients: list[FakeTransport] = []
        self.edges: list[Edge] = []
        port = PORTS[model]
        origin = next(origin for origin in worker.live.world.origins.values() if origin.port == port)
        for _ in range(AT_ONCE):
            self.edges.append(Edge(worker))
            self.clients.append(FakeTransport(lambda: None))
            self.edges[-1].connection_made(self.clients[-1])
            connection = Connection(origin)
            connection.connection_made(FakeTransport(partial(self.asked.append, connection)))
            origin.open += 1
            origin.give_back(connection)

        worker.live.look()  # as the worker's sweep does: nothing is wrong with any provider

    async def turn(self) -> None:
        """Carry one request of each client: their bytes in, a turn of the loop, the providers' bytes in, a turn."""
        for edge in self.edges:
            edge.data_received(self.request)
        await asyncio.sleep(0)
        while self.asked:
            receive = self.asked.pop().data_received
            for part in self.answer:
                receive(part)
        await asyncio.sleep(0)


def lanes(folder: Path) -> tuple[Lanes, Lanes]:
    """Return the lanes of a plain request and of a stream, of one worker with its journal in `folder`."""
    text = (
        CONFIG.read_text().replace("@json_port@", f"{PORTS['bench']}").replace("@stream_port@", f"{PORTS['pace-10']}")
    )
    env = {"BENCH_UPSTREAM_KEY": payloads.UPSTREAM_KEY, "BENCH_CLIENT_KEY": payloads.CLIENT_KEY}
    policy = load_text(text, CONFIG.name, env).policy
    clock, limits = Clock(), policy.limits
    live = Live(World(policy, clock.now_ms), clock, 1)
    journal = Journal(folder / "journal", "bench", limits.journal_segment_bytes, limits.journal_bytes)
    worker = Worker(live, Books(journal, Metrics()), 0, folder)
    body = payloads.reply()
    head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    reply = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return Lanes(worker, "bench", [reply]), Lanes(worker, "pace-10", payloads.stream_parts())


async def many(lanes: Lanes, turns: int) -> float:
    """Return the seconds that many turns took."""
    began = time.perf_counter()
    for _ in range(turns):
        await lanes.turn()
    return time.perf_counter() - began


async def best_us(lanes: Lanes, turns: int) -> float:
    """Return microseconds per request: the best of many batches. Raise SystemExit when the gateway does not answer."""
    await lanes.turn()
    last = lanes.clients[0].last
    if not last.startswith(b"HTTP/1.1 200") and not last.endswith(b"0\r\n\r\n"):
        raise SystemExit(f"inprocess: the gateway did not answer: {last[:300]!r}")
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does
    return min([await many(lanes, turns) for _ in range(BATCHES)]) / (turns * AT_ONCE) * 1e6


async def measure(profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, stream = lanes(Path(folder))
        print(f"{await best_us(plain, TURNS):8.1f} µs per request", flush=True)
        per_stream = await best_us(stream, 1)
        print(f"{per_stream / payloads.EVENTS:8.2f} µs per event of a stream of {payloads.EVENTS}", flush=True)
        if not profile:
            return
        with cProfile.Profile() as taken:
            await many(plain, PROFILED_TURNS)
        print(f"\nwhere the time of {PROFILED_TURNS * AT_ONCE} requests goes (the profiler's own cost included):")
        pstats.Stats(taken).strip_dirs().sort_stats("tottime").print_stats(25)
        print("With sockets, in the running worker: perf record -g -p PID, or py-spy record --native --pid PID")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Microseconds of Python per request, without sockets.")
    parser.add_argument("--profile", action="store_true", help="also print a profile of the request path")
    asyncio.run(measure(parser.parse_args().profile))

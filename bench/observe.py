"""Measure what observing costs a request: its metrics, with tracing off and on (bound: 5 µs without tracing).

    python bench/observe.py

Requests go through the gateway without sockets, as in inprocess.py, with the observers and without: batches of each take turns
in one run, so that what the machine does meanwhile falls on all. Prints microseconds of CPU of the data plane per request, the
best of many batches, the difference to a worker that observes nothing, and their ratio. The calls alone are measured too.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import inprocess
import payloads

from pointsman.config.load import load_text
from pointsman.core.entry import Settled, decode_records
from pointsman.gateway.books import Books
from pointsman.gateway.clock import Clock
from pointsman.gateway.live import Live
from pointsman.gateway.worker import Worker
from pointsman.gateway.world import World
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal, read_all

ROUNDS, TURNS, CALLS = 120, 25, 20_000
BOUND_US = 5.0
TRACING = "server: {tracing: {endpoint: 'http://127.0.0.1:9/v1/traces'}}\n"
VARIANTS = {"no observer": (False, ""), "metrics": (True, ""), "metrics and tracing": (True, TRACING)}
TRACEPARENT = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"


class Lanes(inprocess.Lanes):
    """Lanes of a worker whose requests may say that they belong to a trace."""

    def __init__(self, worker: Worker, answer: list[bytes], *, counts: bool, traced: bool) -> None:
        super().__init__(worker, "bench", answer)
        self.metrics, self.counts = worker.books.metrics, counts
        if traced:
            self.request = self.request.replace(b"\r\n", b"\r\n" + TRACEPARENT, 1)


def prepared(folder: Path, *, counts: bool, more: str) -> Lanes:
    """Return the lanes of a worker with a variant of the benchmark's config."""
    text = inprocess.CONFIG.read_text().replace("@json_port@", "9").replace("@stream_port@", "10") + more
    env = {"BENCH_UPSTREAM_KEY": payloads.UPSTREAM_KEY, "BENCH_CLIENT_KEY": payloads.CLIENT_KEY}
    policy = load_text(text, "pointsman.yaml", env).policy
    clock, limits = Clock(), policy.limits
    live = Live(World(policy, clock.now_ms), clock, 1)
    journal = Journal(folder / "journal", "bench", limits.journal_segment_bytes, limits.journal_bytes)
    worker = Worker(live, Books(journal, Metrics()), 0, folder)
    body = payloads.reply()
    head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    answer = [head + b"Content-Length: %d\r\n\r\n" % len(body) + body]
    return Lanes(worker, answer, counts=counts, traced=bool(more))


async def batch(lanes: Lanes) -> float:
    began_s = time.thread_time()
    for _ in range(TURNS):
        await lanes.turn()
    if lanes.counts:  # the running worker does it with each scrape, or once 256 requests are noted
        lanes.metrics.count()
    lanes.metrics.noted.clear()
    return (time.thread_time() - began_s) / (TURNS * inprocess.AT_ONCE) * 1e6


def alone(folder: Path) -> float:
    """Return what counting one of the booked requests takes, in microseconds: the best of several tries."""
    records = [one for payload in read_all(folder / "journal") for one in decode_records(payload)]
    ended = [one for one in records if isinstance(one, Settled)][:CALLS]
    best_us = 1e9
    for _ in range(20):
        metrics = Metrics()
        began_s = time.thread_time()
        for at in range(0, len(ended), 256):
            metrics.noted = ended[at : at + 256]
            metrics.count()
        best_us = min(best_us, (time.thread_time() - began_s) / len(ended) * 1e6)
    return best_us


async def figures(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the best time of a request by variant, and of its observers' calls alone, in microseconds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = {
            name: prepared(Path(folder, str(n)), counts=counts, more=more)
            for n, (name, (counts, more)) in enumerate(VARIANTS.items())
        }
        for lanes in made.values():
            await lanes.turn()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        best_us = dict.fromkeys(made, 1e9)
        for _ in range(rounds):
            for name, lanes in made.items():
                best_us[name] = min(best_us[name], await batch(lanes))
        return {"requests": best_us, "calls": alone(Path(folder, "1"))}


def main() -> None:
    found = asyncio.run(figures())
    best_us = found["requests"]
    none_us = best_us["no observer"]
    for name, us in best_us.items():
        print(f"{us:8.1f} µs  {name:20} {us - none_us:+6.1f} µs, {us / none_us:5.3f} times")
    print(f"{found['calls']:8.1f} µs  the metrics of a request, alone (at most {BOUND_US:g})")


if __name__ == "__main__":
    main()

"""Measure what auth, a limit, a budget and the exact cache's look-up cost a request, each alone and all together.

    python bench/tenancy.py

Requests go through the gateway without sockets, as in inprocess.py, and every one of them is another question, so that the
cache looks all of them up and finds none; the last line counts as well what it does later, to keep the answers. Quotas
are counted where they are by default, in a file. Prints microseconds of CPU of the data plane per request: the best of many
batches.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from pathlib import Path

import inprocess
import payloads

from pointsman.config.load import load_text
from pointsman.dialects.relay_request import read_head
from pointsman.gateway.books import Books
from pointsman.gateway.clock import Clock
from pointsman.gateway.known import Incoming
from pointsman.gateway.live import Live
from pointsman.gateway.worker import Worker
from pointsman.gateway.world import World
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal

ROUNDS, TURNS = 120, 25
QUOTAS = """
quotas:
  - {key: default, requests: 1M/s}
  - {key: default, usd: 900000/month}
"""
CACHE = "  bench: {cache: 1h, candidates"
VARIANTS = {
    "nothing": (False, False),
    "a limit and a budget": (True, False),
    "the exact cache": (False, True),
    "all": (True, True),
}


class Varied(inprocess.Lanes):
    """Lanes whose requests all ask something else."""

    asked_for = 0

    def __init__(self, worker: Worker, answer: list[bytes]) -> None:
        super().__init__(worker, "bench", answer)
        at = self.request.index(b"09:42")
        self._before, self._after = self.request[:at], self.request[at + 5 :]

    async def turn(self) -> None:
        Varied.asked_for += 1
        for edge in self.edges:
            Varied.asked_for += 1
            edge.data_received(b"%b%05d%b" % (self._before, Varied.asked_for % 100_000, self._after))
        await asyncio.sleep(0)
        while self.asked:
            receive = self.asked.pop().data_received
            for part in self.answer:
                receive(part)
        await asyncio.sleep(0)


async def prepared(folder: Path, *, quotas: bool, cache: bool) -> tuple[Worker, Varied]:
    """Return a worker with a variant of the benchmark's config, and its lanes."""
    text = inprocess.CONFIG.read_text().replace("@json_port@", "9").replace("@stream_port@", "10")
    text = text.replace("  bench: {candidates", CACHE) if cache else text
    text += QUOTAS if quotas else ""
    env = {"BENCH_UPSTREAM_KEY": payloads.UPSTREAM_KEY, "BENCH_CLIENT_KEY": payloads.CLIENT_KEY}
    policy = load_text(text, "pointsman.yaml", env).policy
    clock = Clock()
    live = Live(World(policy, clock.now_ms), clock, 1)
    journal = Journal(folder / "journal", "bench", policy.limits.journal_segment_bytes, policy.limits.journal_bytes)
    worker = Worker(live, Books(journal, Metrics()), 0, folder)
    await live.quotas.open(folder, 0, "bench", worker.books.metrics)
    body = payloads.reply()
    head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    return worker, Varied(worker, [head + b"Content-Length: %d\r\n\r\n" % len(body) + body])


async def batch(lanes: Varied) -> float:
    began_s = time.thread_time()
    for _ in range(TURNS):
        await lanes.turn()
    return (time.thread_time() - began_s) / (TURNS * inprocess.AT_ONCE) * 1e6


def parts(worker: Worker) -> dict[str, float]:
    """Return what the look-ups alone cost: who calls, and whether there is an answer."""
    header = f"Bearer {payloads.CLIENT_KEY}".encode()
    options = worker.live.world.named["bench"]
    bodies = [payloads.request("bench", stream=False).replace(b"09:42", b"%05d" % n) for n in range(2_000)]
    heads = [read_head(body) for body in bodies]
    incoming = Incoming(b"POST", b"/v1/chat/completions", {"authorization": header})
    took_us: dict[str, float] = {"auth": 1e9, "the cache's look-up": 1e9}
    for _ in range(12):
        began_s = time.thread_time()
        for _ in bodies:
            worker.admit(incoming)
        took_us["auth"] = min(took_us["auth"], (time.thread_time() - began_s) / len(bodies) * 1e6)
        began_s = time.thread_time()
        for head, body in zip(heads, bodies, strict=True):
            incoming.body = body
            worker.cache.look(options, head, incoming)
        took_us["the cache's look-up"] = min(
            took_us["the cache's look-up"], (time.thread_time() - began_s) / len(bodies) * 1e6
        )
    return took_us


async def measure() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        idle, _ = await prepared(Path(folder, "idle"), quotas=False, cache=True)  # nothing of it is written
        found = parts(idle)
        made = {
            name: await prepared(Path(folder, str(n)), quotas=quotas, cache=cache)
            for n, (name, (quotas, cache)) in enumerate(VARIANTS.items())
        }
        for _, lanes in made.values():
            await lanes.turn()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        best_us = dict.fromkeys(made, 1e9)
        for name, (_, lanes) in made.items():
            for _ in range(ROUNDS):
                best_us[name] = min(best_us[name], await batch(lanes))
        plain_us = best_us["nothing"]
        limits_us = best_us["a limit and a budget"] - plain_us
        print(f"{plain_us:8.1f} µs  a request with nothing of it")
        print(f"{found['auth']:8.1f} µs  auth, where the connection does not remember it")
        print(f"{limits_us:8.1f} µs  a limit and a budget: reserve, tell, settle")
        look_us = found["the cache's look-up"]
        print(f"{look_us:8.1f} µs  the exact cache's look-up")
        print(f"{found['auth'] + limits_us + look_us:8.1f} µs  together (at most 25)")
        print(
            f"{best_us['all'] - plain_us:8.1f} µs  all of it in a request, keeping the answer in memory and in a file included"
        )


if __name__ == "__main__":
    asyncio.run(measure())

"""The measurements: what is run against a system, and what is taken of it meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import payloads
import procs
from systems import HERE, RUN, BenchError, System, Upstreams

NOISE = 0.10  # cores that others may use during a sample before it is taken again
REST_S, REST_SHARE, REST_MOST_S = 0.5, 0.05, 60.0  # rest: less than this share of a core for so long
Sample = dict[str, float]
Run = Callable[["Bench", System], Sample]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Hold how long each load runs, in seconds, and how many streams are held open."""

    throughput: float
    latency: float
    streams: float
    held: int = 2000
    takes: int = 3  # how often a noisy sample is taken


FULL = Lengths(throughput=6, latency=10, streams=6)
QUICK = Lengths(throughput=2, latency=3, streams=3, takes=1)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Hold what every measurement needs."""

    upstreams: Upstreams
    cores: tuple[int, int]
    lengths: Lengths
    seed: int

    def script(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Run one of our load scripts on the load's core and return its JSON. Raise BenchError."""
        return self.finish(self.begin(name, spec))

    def begin(self, name: str, spec: dict[str, Any]) -> subprocess.Popen[str]:
        process = self._popen([sys.executable, str(HERE / name)])
        assert process.stdin is not None
        process.stdin.write(json.dumps(spec))
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate()
        try:
            result: dict[str, Any] = json.loads(out[out.index("{") :])
        except ValueError:
            raise BenchError(f"the load failed: {out[-300:]} {err[-300:]}") from None
        if result.get("failed"):
            raise BenchError(f"{result['failed']} requests failed under load: {result.get('note', '')!r}")
        return result

    def wrk(self, system: System, seconds: float) -> dict[str, Any]:
        """Run wrk with 64 connections."""
        file = RUN / "request.http"
        port = system.port("bench")
        file.write_bytes(payloads.http(port, payloads.request("bench", stream=False), system.key))
        options = ["-t1", "-c64", f"-d{seconds:.0f}s", "-s", str(HERE / "post.lua")]
        return self.finish(self._popen(["wrk", *options, f"http://127.0.0.1:{port}", "--", str(file)]))

    def _popen(self, command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["taskset", "-c", str(self.cores[1]), *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )


class Meter:
    """Account for CPU between two moments: the gateway's, the load's, and what is left of the busy time: others'."""

    def __init__(self, bench: Bench, system: System) -> None:
        self._bench, self._system = bench, system
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        times = os.times()
        mine = times.user + times.system + times.children_user + times.children_system
        load = mine + procs.cpu_s(self._bench.upstreams.pids())
        return time.monotonic(), procs.cpu_s(self._system.pids()), load, procs.busy_s(self._bench.cores)

    def read(self) -> Sample:
        """Return `cpu_s` of the gateway's process tree, `busy` (its share of a core) and `foreign` (cores)."""
        wall, gateway, load, busy = (b - a for a, b in zip(self._before, self._now(), strict=True))
        foreign = max(0.0, busy - gateway - load) / wall
        return {"cpu_s": gateway, "busy": gateway / wall, "foreign": foreign}


def throughput(bench: Bench, system: System) -> Sample:
    """Closed loop, 64 connections, 1 KB each way: requests per second and CPU per request.

    `cpu_us` is what the load's time took; `settled_us` also counts what is done later, until the system rests again: the
    journal's records become rows of the ledger.
    """
    whole = Meter(bench, system)
    warm = bench.wrk(system, 1)
    meter = Meter(bench, system)
    load = bench.wrk(system, bench.lengths.throughput)
    used, memory = meter.read(), _memory(system)
    rest(system)
    return used | {
        "per_s": load["requests"] / load["seconds"],
        "cpu_us": used["cpu_s"] * 1e6 / load["requests"],
        "settled_us": whole.read()["cpu_s"] * 1e6 / (warm["requests"] + load["requests"]),
        "p99_ms": load["p99_ms"],
        **memory,
    }


def rest(system: System) -> None:
    """Wait, for a while, until the system does nothing, so that no measurement pays for the one before it."""
    until = time.monotonic() + REST_MOST_S
    while time.monotonic() < until:
        before = procs.cpu_s(system.pids())
        time.sleep(REST_S)
        if procs.cpu_s(system.pids()) - before < REST_S * REST_SHARE:
            return


def latency(bench: Bench, system: System) -> Sample:
    """Open loop, 100 requests per second: how long one takes."""
    meter = Meter(bench, system)
    spec = _spec(system, "bench") | {"per_s": 100, "seconds": bench.lengths.latency, "seed": bench.seed}
    load = bench.script("openload.py", spec)
    return meter.read() | {"p50_ms": load["ms"]["p50"], "p99_ms": load["ms"]["p99"]}


def first(bench: Bench, system: System) -> Sample:
    """Eight streams: time to the first event."""
    meter = Meter(bench, system)
    load = bench.script("streamload.py", _streams(system, "pace-10", 8, bench.lengths.streams))
    return meter.read() | {"p50_ms": load["first_ms"]["p50"], "p99_ms": load["first_ms"]["p99"]}


def events(bench: Bench, system: System) -> Sample:
    """One hundred streams of an event every 10 ms: CPU per event, events per second."""
    meter = Meter(bench, system)
    load = bench.script("streamload.py", _streams(system, "pace-10", 100, bench.lengths.streams))
    used = meter.read()
    return used | {
        "per_s": load["events_per_s"],
        "cpu_us": used["cpu_s"] * 1e6 / load["events"],
        "gap_p99_ms": load["gap_ms"]["p99"],
    }


def held(bench: Bench, system: System) -> Sample:
    """Two thousand streams open at once, an event every 100 ms: are all complete and on time, in how much memory."""
    meter = Meter(bench, system)
    process = bench.begin("streamload.py", _streams(system, "pace-100", bench.lengths.held, 4) | {"once": True})
    most: Sample = {"rss_tree": 0.0, "rss_worker": 0.0}
    while process.poll() is None:
        time.sleep(0.5)
        most = max(most, _memory(system), key=lambda memory: memory["rss_tree"])
    load = bench.finish(process)
    return meter.read() | {
        "complete": load["streams"],
        "most_open": load["most_open"],
        "gap_p99_ms": load["gap_ms"]["p99"],
        **most,
    }


def idle(bench: Bench, system: System) -> Sample:
    """Start twice: the better time from exec to the first good answer, then memory at rest."""
    meter = Meter(bench, system)
    took = system.start(bench.cores[0])
    system.stop()
    took = min(took, system.start(bench.cores[0]))
    used = meter.read()
    time.sleep(1.0)
    # What the first process tree used is not in the second's account, so noise cannot be told here.
    return {"seconds": took, "busy": used["busy"], "foreign": 0.0, **_memory(system)}


TESTS: dict[str, Run] = {
    "idle": idle,
    "latency": latency,
    "throughput": throughput,
    "first": first,
    "events": events,
    "held": held,
}
DIRECT = ("latency", "first")  # what is measured without a gateway, to subtract


def take(test: str, bench: Bench, system: System) -> Sample:
    """Return one sample; taken again while others used the cores, the cleanest is kept."""
    best: Sample = {}
    for _ in range(bench.lengths.takes):
        rest(system)
        sample = TESTS[test](bench, system)
        if not best or sample["foreign"] < best["foreign"]:
            best = sample
        if best["foreign"] <= NOISE:
            break
    return best


def _memory(system: System) -> Sample:
    """Return MiB of the whole process tree and of its largest worker (of a proxy: its largest process)."""
    by_pid = procs.rss_mib(system.pids())
    workers = [size for pid, size in by_pid.items() if procs.is_worker(pid)] or list(by_pid.values())
    return {"rss_tree": sum(by_pid.values()), "rss_worker": max(workers, default=0.0)}


def _spec(system: System, model: str) -> dict[str, Any]:
    return {"port": system.port(model), "model": model, "key": system.key}


def _streams(system: System, model: str, connections: int, seconds: float) -> dict[str, Any]:
    ramp_s = 4 if connections > 1000 else 1
    more = {"connections": connections, "seconds": seconds, "ramp_s": ramp_s, "once": False}
    return _spec(system, model) | more

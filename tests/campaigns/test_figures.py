"""Figures that the router has to show, over real sockets; docs/faults.md has them. LONG=1 for the sizes stated there."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gateway_faults import FAULTS, Fault
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, ask, chat_body, post
from gateway_router import Router, until

StartRouter = Callable[..., Router]
LONG = os.environ.get("LONG") == "1"
FAILOVERS = 200 if LONG else 25  # of each shape and wire
DISCONNECTS = 500 if LONG else 100  # half of them before the head, half mid-stream
FAULTY = 10_000 if LONG else 1_500
SIDE_BY_SIDE = 20
TTFT_MS = 250
# Broken before the first content: 33 of an answer in one piece, the others of a stream.
SHAPES = [fault for fault in FAULTS if fault.number in (33, 41, 42, 43, 45, 46)]
# So that each request really meets its fault: nothing is ejected.
NO_BREAKER = {"breaker_failures": 1_000_000, "breaker_success": 0.0}


def faulty_config(lab: Lab, faults: list[Fault] | tuple[Fault, ...], **limits: Any) -> dict[str, Any]:
    """Return a config with a route per fault, wire and mode: first who plays it, then who answers."""
    deployments = {"good": deployment("openai", "m"), "slow": deployment("openai", "slow"),
                   "paced": deployment("openai", "paced")}  # fmt: skip
    routes: dict[str, Any] = {}
    for fault in faults:
        for dialect in fault.dialects:
            for stream in fault.streams:
                name = f"{dialect}-{fault.model(stream)}"
                deployments[name] = deployment(dialect, fault.model(stream), ttft_ms=TTFT_MS, whole_ms=TTFT_MS)
                routes[f"r-{name}"] = {"candidates": [name, "good"]}
    return small_config(lab, deployments, routes, limits=limits)


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_f33_f41_f42_f43_f46_what_breaks_before_content_always_fails_over(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(faulty_config(lab, SHAPES, **NO_BREAKER))
    shapes = [(f"{dialect}-{fault.model(stream)}", stream)
              for fault in SHAPES for dialect in fault.dialects for stream in fault.streams]  # fmt: skip
    whole, added_ms = Counter[str](), dict.fromkeys((name for name, _ in shapes), 0.0)

    def one(shape: tuple[str, bool]) -> None:
        name, stream = shape
        began_s = time.monotonic()
        answer = ask(router, f"r-{name}", stream=stream, text=f"tell me about {name}")
        took_ms = (time.monotonic() - began_s) * 1000
        good = answer.status == 200 and answer.headers["x-pointsman-deployment"] == "good" and len(answer.text) >= 70
        if good and (not stream or (answer.done and answer.finishes == ["stop"])):
            whole[name] += 1
        added_ms[name] = max(added_ms[name], took_ms)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(one, [shape for shape in shapes for _ in range(FAILOVERS)]))
    assert {name: whole[name] for name, _ in shapes} == dict.fromkeys((name for name, _ in shapes), FAILOVERS)
    for name, _ in shapes:
        seen = len(lab.served(model=name.partition("-")[2]))
        assert seen >= FAILOVERS, f"{name} was met {seen} times only"
    print(
        f"\n{len(shapes)} shapes x {FAILOVERS}: {sum(whole.values())} of {len(shapes) * FAILOVERS} failed over whole; "
        f"slowest {max(added_ms.values()):.0f} ms with a limit of {TTFT_MS} ms to the first content"
    )
    router.check_books()


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_f62_f63_i22_a_provider_is_let_go_soon_after_the_client_left(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(faulty_config(lab, []))
    left_s: dict[str, float] = {}
    while len(left_s) < DISCONNECTS:
        stream = (len(left_s) // SIDE_BY_SIDE) % 2 == 1
        wires = [Wire(router.port) for _ in range(SIDE_BY_SIDE)]
        for wire in wires:
            name = f"gone-{len(left_s)}"
            left_s[name] = 0.0
            wire.send(post(chat_body("paced" if stream else "slow", stream=stream), f"x-request-id: {name}"))
        until(lambda: lab.active("openai") == SIDE_BY_SIDE)
        for wire in wires if stream else ():
            wire.head()
            wire.chunk()
        for wire, name in zip(wires, list(left_s)[-SIDE_BY_SIDE:], strict=True):
            left_s[name] = time.time()
            wire.close(reset=bool(hash(name) % 2))
        until(lambda: lab.active("openai") == 0, 5)
    ids = {record.id: record.client_id for record in router.records() if hasattr(record, "client_id")}
    ends = {ids[e.request_id]: e.time_s + e.duration_ms / 1000 for e in lab.served() if e.request_id in ids}
    late_ms = sorted((ends[name] - at_s) * 1000 for name, at_s in left_s.items())
    p50, p99 = late_ms[len(late_ms) // 2], late_ms[len(late_ms) * 99 // 100]
    print(f"\n{len(late_ms)} clients left: the provider's side was closed after {p50:.1f} ms (p50), {p99:.1f} ms (p99), "
          f"{late_ms[-1]:.1f} ms at most")  # fmt: skip
    assert len(late_ms) >= DISCONNECTS and p99 <= 250
    router.check_books()
    assert {row.outcome for row in router.all_settled()} == {"client_gone"}


@pytest.mark.serial
@pytest.mark.timeout(900)
def test_i35_thousands_of_faulty_requests_leave_nothing_behind(lab: Lab, start_router: StartRouter) -> None:
    config = faulty_config(lab, FAULTS, **NO_BREAKER, upstream_idle_per_host=4)
    router = start_router(config)
    routes = [(name, name.endswith("stream")) for name in config["routes"]]
    rng = random.Random(1)

    def one(n: int) -> None:
        name, stream = rng.choice(routes)
        if n % 10:
            ask(router, name, stream=stream)
            return
        with Wire(router.port) as wire:  # every tenth leaves without its answer
            wire.send(post(chat_body(rng.choice(("slow", "paced")), stream=True)))
            lab.active("openai")  # as long as a look takes

    def some(count: int) -> tuple[int, float]:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(one, range(count)))
        until(lambda: all(lab.active(wire) == 0 for wire in ("openai", "anthropic", "gemini")), 10)
        until(lambda: not _active(router), 10)
        return router.descriptors(), router.rss_bytes() / 2**20

    before = some(300)  # pools and caches are full then
    after = some(FAULTY)
    open_now = dict(zip(("openai", "anthropic", "gemini"), _open(lab), strict=True))
    print(f"\n{FAULTY} faulty requests: descriptors {before[0]} -> {after[0]}, RSS {before[1]:.1f} -> {after[1]:.1f} MiB, "
          f"connections at the providers {open_now}, under way 0")  # fmt: skip
    assert after[0] <= before[0] + 4
    assert after[1] <= before[1] + 6 + FAULTY / 2500  # latencies, sessions and the like fill their bounded tables
    assert all(count <= 4 for count in open_now.values())
    router.check_books()


def _active(router: Router) -> int:
    """Return how many requests the worker says are under way."""
    with Wire(router.port) as wire:
        wire.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        text = wire.response().body.decode()
    [line] = [line for line in text.splitlines() if line.startswith("pointsman_active_requests")]
    return int(float(line.split()[-1]))


def _open(lab: Lab) -> list[int]:
    async def look() -> list[int]:
        return [len(listener._open) for listener in lab.server._listeners]

    return lab.run(look())

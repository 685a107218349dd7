"""Floods and shortages: random keys and names, clients that leave by the hundred, memory, and readers that have stopped."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_capture import Capture, whole
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_load import Seen, ask_again_and_again, chat
from gateway_raw import Wire, ask, chat_body, elapsed_ms, fetch, get, post
from gateway_router import KEY, Router, until
from hypothesis import given
from hypothesis import strategies as st

from pointsman.gateway.complaints import Complaints
from pointsman.gateway.pressure import LAG_MS, LEAST_ROOM, SWEEPS, Pressure, memory_bytes
from pointsman.gateway.quota import BURST
from pointsman.observe.log import MOST_BYTES, Log

StartRouter = Callable[..., Router]
MIB = 1024 * 1024
PACED = FAST | {"context": 10_000_000, "tokens_per_s": 40, "output_tokens": {"p50": 4000, "p95": 4000}}


@pytest.fixture(scope="module")
def steady() -> Iterator[Lab]:
    models = {"m": FAST, "paced": PACED}
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": models}
    with Lab({"providers": [provider], "seed": 7}) as running:
        yield running


def config(lab: Lab, **limits: int) -> dict[str, Any]:
    deployments = {"m": deployment("openai", "m"), "paced": deployment("openai", "paced", context=10_000_000)}
    return small_config(lab, deployments, {}, limits={"key_concurrency": 100_000} | limits)


def slowest_ms(router: Router, path: str, until_s: float) -> float:
    """Ask again and again on one connection; return the longest it took."""
    times = [0.0]
    with Wire(router.port) as wire:
        while time.monotonic() < until_s:
            start = time.monotonic()
            wire.send(get(path, auth=""))
            assert wire.response().status == 200
            times.append(elapsed_ms(start))
            time.sleep(0.005)
    return max(times)


@pytest.mark.serial
def test_f64_clients_with_large_requests_that_leave_do_not_hold_up_the_others(
    steady: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(steady))
    wires = [Wire(router.port) for _ in range(30)]
    body = chat_body("paced", "word " * MIB, stream=True)  # 5 MiB
    for wire in wires:
        wire.send(post(body))
        wire.head()
        assert wire.chunk()
    worst: list[float] = []
    probing = threading.Thread(target=lambda: worst.append(slowest_ms(router, "/readyz", time.monotonic() + 1.0)))
    probing.start()
    for wire in wires:
        wire.close(reset=True)
    probing.join()
    assert worst[0] <= 100.0
    until(lambda: fetch(router, "/health").json["load"]["active"] == 0)
    router.check_books()


def test_f65_a_thousand_clients_that_leave_at_once_leave_nothing_behind(steady: Lab, start_router: StartRouter) -> None:
    router = start_router(config(steady))
    for _ in range(2):
        before = router.descriptors()
        wires = [Wire(router.port) for _ in range(1000)]
        request = post(chat_body("paced", stream=True))
        for wire in wires:
            wire.send(request)
        until(lambda: fetch(router, "/health").json["load"]["active"] == 1000)
        for wire in wires:
            wire.close(reset=True)
        until(lambda: fetch(router, "/health").json["load"]["active"] == 0)
        until(lambda: steady.active("openai") == 0)
    until(lambda: router.descriptors() <= before + 5)
    assert ask(router, "m").status == 200
    router.check_books()


def test_f71_retries_of_an_sdk_are_counted_among_our_own(steady: Lab, start_router: StartRouter) -> None:
    refused = b'{"error":{"message":"overloaded","type":"server_error","code":null}}'

    def sent(*lines: str) -> int:
        with Capture(b"x") as failing:
            failing.play = Capture._always(whole(refused, status="500 Internal Server Error"))
            provider = {"dialect": "openai", "base_url": failing.url, "api_key": "sk-account"}
            bad = {"provider": "account", "model": "m", "price": {"input": 1, "output": 2}}
            limits = {"breaker_failures": 1_000_000, "breaker_success": 0.0, "attempts": 2}
            router = start_router({"providers": {"account": provider}, "deployments": {"bad": bad}, "limits": limits})
            for _ in range(30):
                ask(router, "bad", *lines)
            return len(failing.requests)

    alone, retried = sent("x-stainless-retry-count: 0"), sent("x-stainless-retry-count: 1")
    assert alone >= 30 + BURST - 2
    assert retried <= 30 + BURST / 2 + 3  # each took one of the tries that ours could have had


def test_f75_random_keys_cost_the_same_few_microseconds_and_no_memory(steady: Lab, start_router: StartRouter) -> None:
    router = start_router(config(steady))
    with Wire(router.port) as wire:

        def flood(count: int) -> None:
            for _ in range(count // 100):
                keys = [secrets.token_urlsafe(32) for _ in range(10)]
                for key in keys:
                    wire.send(get("/v1/models", auth=f"authorization: Bearer {key}"))
                for _ in keys:
                    assert wire.response().status in (401, 429)

        flood(20_000)
        memory, cpu_s = router.rss_bytes(), router.cpu_s()
        flood(50_000)
        assert router.rss_bytes() - memory < 2 * MIB
        assert (router.cpu_s() - cpu_s) / 5_000 < 0.001  # I27: a millisecond each at most
    assert ask(router, "m").status == 200
    assert not router.admitted_ids() - {one.id for one in router.all_settled()}


def test_f75_how_much_of_a_key_is_right_does_not_tell(router: Router) -> None:
    """A key is found by its digest, so the time does not depend on how many of its characters are right."""
    wrong = [KEY[:-1] + "x", "sk-nothing-like-it-0000000000000000000000", KEY[: len(KEY) // 2] + "y" * 20]

    def median_ms(key: str) -> float:
        times = []
        with Wire(router.port) as wire:
            for _ in range(200):
                start = time.monotonic()
                wire.send(get("/v1/models", auth=f"authorization: Bearer {key}"))
                assert wire.response().status == 401
                times.append(elapsed_ms(start))
        return statistics.median(times)

    found = [median_ms(key) for key in wrong]
    assert max(found) < 3 * min(found) + 0.5


def test_f99_without_memory_large_bodies_and_then_all_are_refused_and_streams_go_on(
    steady: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(steady, memory_bytes=MIB))  # a worker takes more from the start
    assert fetch(router, "/health").json["load"]["memory"] > 1.0
    with Wire(router.port) as wire:
        wire.send(post(b"").replace(b"content-length: 0", b"content-length: 200000"))
        answer = wire.response()
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
    streams: list[Wire] = []
    for _ in range(LEAST_ROOM):
        streams.append(Wire(router.port))
        streams[-1].send(post(chat_body("paced", stream=True)))
        if streams[-1].head().status != 200:
            break
    assert len(streams) > LEAST_ROOM / 2  # a few are always taken on, so that it cannot lock itself out
    assert ask(router, "m").status == 503
    for wire in streams[:-1]:
        for _ in range(5):
            assert wire.chunk()  # what is under way goes on
    for wire in streams:
        wire.close()
    until(lambda: fetch(router, "/health").json["load"]["active"] == 0)
    assert ask(router, "m").status == 200
    router.check_books()


def test_f99_large_bodies_are_refused_before_all_is() -> None:
    pressure = Pressure(1000)
    told = []
    for memory in (0.80, 0.86, 0.96):
        pressure.note(0.0, memory, 0)
        told.append((pressure.short, pressure.requests()))
    assert told == [(False, 1000), (True, 1000), (True, LEAST_ROOM)]


def test_f99_the_limit_of_the_control_group_is_shared_by_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("pointsman.gateway.pressure.CONTROL_GROUP", (tmp_path / "none", limit))
    assert memory_bytes(0, 2) == 0
    for text, bytes_ in (("max", 0), (str(1 << 62), 0), (f"{1000 * MIB}", 400 * MIB)):
        limit.write_text(text + "\n")
        assert memory_bytes(0, 2) == bytes_
    assert memory_bytes(123, 2) == 123


def sweeps(pressure: Pressure, lags_ms: list[float], active: int) -> None:
    for lag_ms in lags_ms:
        pressure.note(lag_ms, 0.0, active)


def test_a_loop_that_is_always_late_has_less_room_and_gets_it_back() -> None:
    pressure = Pressure(1000)
    sweeps(pressure, [500.0] + [0.0] * (SWEEPS - 1), 600)
    assert pressure.room == 1000  # one long callback is no overload
    sweeps(pressure, [LAG_MS * 2] * SWEEPS, 600)
    assert pressure.room == 480
    sweeps(pressure, [LAG_MS * 2] * SWEEPS * 50, 600)
    assert pressure.room == LEAST_ROOM
    sweeps(pressure, [0.0] * SWEEPS * 10, 10)
    assert pressure.room == 1000


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 2), st.integers(0, 5000)), max_size=200), st.integers(1, 5000)
)
def test_the_room_is_never_more_than_is_allowed_nor_nothing(steps: list[tuple[float, float, int]], most: int) -> None:
    pressure = Pressure(most)
    for lag_ms, memory, active in steps:
        pressure.note(lag_ms, memory, active)
        assert min(most, LEAST_ROOM) <= pressure.requests() <= most


def full_pipe() -> tuple[int, int]:
    """Return a pipe that nobody reads and that takes no more: its reading end and its writing one."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, b"x" * 4096)
    os.set_blocking(writes, True)
    return reads, writes


def test_f100_a_reader_that_has_stopped_costs_lines_and_no_time() -> None:
    reads, writes = full_pipe()
    complaints = Complaints(Log(writes))
    start = time.monotonic()
    for number in range(100):
        complaints.say(f"the disk is full: {number}", "records_lost")
    assert elapsed_ms(start) < 100 and complaints.lost == 100
    os.read(reads, 1 << 20)
    complaints.say("y" * 10_000, "records_lost")
    assert complaints.lost == 100
    assert len(os.read(reads, 1 << 20)) == MOST_BYTES
    os.close(reads)
    complaints.say("nobody reads any more", "records_lost")
    assert complaints.lost == 101
    os.close(writes)


def test_f100_a_full_pipe_behind_standard_error_does_not_stop_the_worker(
    steady: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, writes = full_pipe()
    fcntl.fcntl(writes, fcntl.F_SETFD, 0)
    router = Router(config(steady, journal_segment_bytes=4096, journal_bytes=4096), tmp_path)
    fifo = tmp_path / "stderr.txt"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(keeper, b"x" * 4096)
    try:
        router.start()
        statuses = {ask(router, "m").status for _ in range(30)}
        assert 503 in statuses  # the journal is full, which is complained about
        start = time.monotonic()
        assert fetch(router, "/readyz").status == 200 and elapsed_ms(start) < 1000
    finally:
        router.stop()
        for descriptor in (keeper, reads, writes):
            os.close(descriptor)
        fifo.unlink()


def test_f101_names_that_clients_make_up_are_no_labels(steady: Lab, start_router: StartRouter) -> None:
    router = start_router(config(steady))

    def series() -> int:
        return sum(not line.startswith(b"#") for line in fetch(router, "/metrics").body.splitlines())

    assert ask(router, "m").status == 200 and ask(router, "none").status == 404
    assert ask(router, "m", "x-pointsman-priority: none").status == 400
    before = series()
    with Wire(router.port) as wire:
        for n in range(500):
            wire.send(post(chat_body(f"model-{n}", user=f"user-{n}", metadata={f"k{n}": "v"}), f"x-request-id: {n}"))
            assert wire.response().status == 404
            wire.send(post(chat_body("m"), f"x-pointsman-priority: class-{n}"))
            assert wire.response().status == 400
            wire.send(get(f"/v1/path-{n}"))
            assert wire.response().status == 404
    assert series() - before <= 2 and series() < 2000  # the code of a path that there is not


@pytest.mark.serial
def test_f103_the_health_endpoints_answer_at_once_while_there_is_too_much_to_do(
    steady: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(steady, concurrent_requests=20))
    seen, end_s = Seen(), time.monotonic() + 3.0
    worst: dict[str, float] = {}

    async def crowd() -> None:
        asks = (ask_again_and_again(router.port, chat("m"), seen, lambda: time.monotonic() < end_s, 0.01)
                for _ in range(60))  # fmt: skip
        await asyncio.gather(*asks)

    flood = threading.Thread(target=lambda: asyncio.run(crowd()))
    flood.start()
    for path in ("/livez", "/readyz", "/health"):
        worst[path] = slowest_ms(router, path, time.monotonic() + 0.9)
    flood.join()
    assert seen.count(200) > 500
    assert max(worst.values()) <= 100.0, worst

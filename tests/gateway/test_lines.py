"""Waiting for room in a quota: in order, within its time, with nothing lost when somebody leaves or the router ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_redis import RedisServer
from gateway_router import KEY, Router, until

from pointsman.config.transport import encode
from pointsman.core.entry import Settled

StartRouter = Callable[..., Router]
KEYS = [{"name": "dev", "key": KEY}]
SLOW = FAST | {"ttft_ms": {"p50": 400, "p95": 400}}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": {"m": FAST, "slow": SLOW}}
    with Lab({"providers": [provider], "seed": 7}) as running:
        yield running


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


def config(lab: Lab, *quotas: dict[str, Any], **more: Any) -> dict[str, Any]:
    deployments = {name: deployment("openai", name) for name in ("m", "slow")}
    routes = {"cheap": {"candidates": ["slow"]}}
    return small_config(lab, deployments, routes, keys=KEYS, quotas=list(quotas), **more)


def metric(router: Router, event: str) -> int:
    text = fetch(router, "/metrics", auth="").body.decode()
    lines = [line for line in text.splitlines() if "quota_events" in line and f'event="{event}"' in line]
    return int(float(lines[0].split(" ")[-1])) if lines else 0


def together(router: Router, count: int, model: str = "m") -> list[tuple[float, Response]]:
    """Send requests one after the other, each before the one before is answered; return when each was answered, in seconds."""
    wires = [Wire(router.port) for _ in range(count)]
    began = time.monotonic()
    for wire in wires:
        wire.send(post(chat_body(model)))
        time.sleep(0.01)

    def answered(wire: Wire) -> tuple[float, Response]:
        with wire:
            response = wire.response()
            return time.monotonic() - began, response

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(answered, wires))


STORES = ["memory:", "file:", "redis"]


@pytest.mark.parametrize("store", STORES)
def test_who_waits_comes_in_in_order_as_fast_as_the_rate_allows(
    store: str, lab: Lab, redis: RedisServer, start_router: StartRouter
) -> None:
    url = redis.url if store == "redis" else store
    quota = {"key": "dev", "requests": "4/s", "wait_ms": 5_000}
    router = start_router(config(lab, quota, server={"counters": url}))
    found = together(router, 10)
    assert [one.status for _, one in found] == [200] * 10
    times = [at for at, _ in found]
    late = times[4:]  # who came in at once is in no order
    assert late == sorted(late)
    assert times[3] < 1.0 and 1.2 < times[-1] < 3.0  # four at once, then one each quarter of a second
    assert metric(router, "waited") >= 1 and metric(router, "refused") == 0
    waited = sorted(one.queue_ms for one in router.records() if isinstance(one, Settled))
    assert waited[0] < 200 and waited[-1] > 1_000
    router.check_books()


def test_who_cannot_come_in_in_time_is_refused_at_once_or_when_the_time_is_over(
    lab: Lab, start_router: StartRouter
) -> None:
    quota = {"key": "dev", "requests": "2/s", "wait_ms": 900}
    router = start_router(config(lab, quota, server={"counters": "memory:"}))
    found = together(router, 8)
    statuses = [one.status for _, one in found]
    assert statuses.count(200) in (3, 4) and statuses.count(429) == 8 - statuses.count(200)
    assert statuses[:3] == [200] * 3
    assert all(at < 2.0 for at, _ in found)
    refused = next(one for _, one in found if one.status == 429)
    assert refused.error["code"] == "rate_limit_exceeded" and int(refused.headers["retry-after"]) >= 1
    once = start_router(config(lab, {"key": "dev", "requests": "2/h", "wait_ms": 900}))
    assert [ask(once, "m").status for _ in range(2)] == [200, 200]
    began = time.monotonic()
    assert ask(once, "m").status == 429 and time.monotonic() - began < 0.5  # half an hour is not worth a wait


def test_who_leaves_takes_nobodys_place(lab: Lab, start_router: StartRouter) -> None:
    quota = {"key": "dev", "requests": "1/s", "wait_ms": 10_000}
    router = start_router(config(lab, quota, server={"counters": "memory:"}))
    assert ask(router, "m").status == 200
    gone = [Wire(router.port) for _ in range(3)]
    for wire in gone:
        wire.send(post(chat_body("m")))
    until(lambda: metric(router, "waited") >= 1)
    began = time.monotonic()
    with Wire(router.port) as last:
        last.send(post(chat_body("m")))
        time.sleep(0.1)
        for wire in gone:
            wire.close()
        assert last.response().status == 200
    assert time.monotonic() - began < 2.0  # and not the four seconds of the three before it
    assert len(router.all_settled()) == 2
    router.check_books()


def test_what_is_given_back_lets_the_next_in(lab: Lab, start_router: StartRouter) -> None:
    quota = {"key": "dev", "output_tokens": "1000/d", "wait_ms": 10_000}
    router = start_router(config(lab, quota, server={"counters": "memory:"}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, router, "slow", max_tokens=900)
        time.sleep(0.1)
        began = time.monotonic()
        refused = ask(router, "m", max_tokens=900)  # a day is longer than it may wait
        assert refused.status == 429 and time.monotonic() - began < 0.3
        assert first.result().status == 200
    flowing = {"key": "dev", "output_tokens": "1000/m", "wait_ms": 55_000}
    router = start_router(config(lab, flowing, server={"counters": "memory:"}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, router, "slow", max_tokens=900)
        time.sleep(0.1)
        began = time.monotonic()
        second = ask(router, "m", max_tokens=900)
        assert second.status == 200 and time.monotonic() - began < 5.0  # not the 48 s until 900 tokens have flowed off
        assert first.result().status == 200


def test_the_line_has_an_end_and_a_quota_may_send_on_after_the_wait(lab: Lab, start_router: StartRouter) -> None:
    quota = {"key": "dev", "requests": "1/s", "wait_ms": 3_000}
    router = start_router(config(lab, quota, limits={"waiting_requests": 2}, server={"counters": "memory:"}))
    statuses = [one.status for _, one in together(router, 5)]
    assert statuses == [200, 200, 200, 429, 429]
    degrading = {"route": "m", "requests": "1/m", "wait_ms": 300, "degrade": "cheap"}
    router = start_router(config(lab, degrading, server={"counters": "memory:"}))
    assert ask(router, "m").headers["x-pointsman-deployment"] == "m"
    assert ask(router, "m").headers["x-pointsman-deployment"] == "slow"


def test_a_drain_refuses_who_still_waits(lab: Lab, tmp_path: Path) -> None:
    quota = {"key": "dev", "requests": "2/m", "wait_ms": 40_000}
    with Router(config(lab, quota, server={"counters": "memory:"}), tmp_path) as router:
        assert [ask(router, "m").status for _ in range(2)] == [200, 200]
        found: list[Response] = []
        asking = threading.Thread(target=lambda: found.append(ask(router, "m")))
        asking.start()
        until(lambda: metric(router, "waited") == 1)
        began = time.monotonic()
        router.term()
        asking.join(10)
        assert [one.status for one in found] == [429] and time.monotonic() - began < 8.0


def test_a_reload_lets_those_who_wait_go_on(lab: Lab, start_router: StartRouter) -> None:
    quota = {"key": "dev", "requests": "1/s", "wait_ms": 8_000}
    router = start_router(config(lab, quota, server={"counters": "memory:"}))
    assert ask(router, "m").status == 200
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, router, "m") for _ in range(4)]
        until(lambda: metric(router, "waited") >= 1)
        more = Router(config(lab, quota | {"requests": "100/s"}, server={"counters": "memory:"}), router.data)
        policy, process = encode(more.policy), router._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"policy_bytes": len(policy)}).encode() + b"\n" + policy)
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"adopted")
        assert [one.result().status for one in waiting] == [200] * 4

"""Answers that routers on several machines share in a Redis: one call for all, and what a Redis that is away or odd costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_alike import Gate, play, result, under_way
from gateway_capture import Capture, capture_config, whole
from gateway_raw import Wire, ask, chat_body, fetch, post
from gateway_redis import RedisServer
from gateway_router import Router, until

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def capture() -> Iterator[Capture]:
    with Capture(play) as running:
        yield running


def config(capture: Capture, redis: RedisServer, **route: Any) -> dict[str, Any]:
    routes = {"r": {"candidates": ["cap"], "cache": "1h"} | route}
    return capture_config(capture) | {"routes": routes, "server": {"cache": redis.url}}


def errors(router: Router) -> int:
    lines = fetch(router, "/metrics").body.decode().splitlines()
    return next(int(line.split()[-1]) for line in lines if line.startswith("pointsman_cache_errors_total"))


@BOTH
def test_what_one_router_has_kept_another_gives(
    redis: RedisServer, capture: Capture, tmp_path: Path, stream: bool
) -> None:
    made = config(capture, redis)
    with Router(made, tmp_path / "a") as here, Router(made, tmp_path / "b") as there:
        assert ask(there, "r", "cache-control: only-if-cached", stream=stream).status == 504
        first = ask(here, "r", stream=stream)
        again = ask(there, "r", "cache-control: only-if-cached", stream=stream)
        assert (result(first), result(again)) == ("miss", "hit") and first.text == again.text and first.text
        assert result(ask(there, "r", stream=not stream)) == "hit" and len(capture.requests) == 1
        assert not (tmp_path / "b" / "answers").exists()
        [refused, hit, _] = until(lambda: len(found := there.all_settled()) == 3 and found)
        assert (refused.outcome, hit.outcome, hit.attempts) == ("unmet", "ok", ())
        here.check_books(), there.check_books()


@BOTH
def test_f109_alike_in_several_routers_are_one_call_too(redis: RedisServer, tmp_path: Path, stream: bool) -> None:
    gate = Gate()
    with Capture(gate) as one:
        made = config(one, redis)
        with Router(made, tmp_path / "a") as here, Router(made, tmp_path / "b") as there, ThreadPoolExecutor(8) as pool:
            first = pool.submit(ask, here, "r", stream=stream)
            until(lambda: len(one.requests) == 1)
            asked = [pool.submit(ask, router, "r", stream=stream) for router in (here, there, there)]
            until(lambda: under_way(here) == 2 and under_way(there) == 2)
            gate.open.set()
            assert [result(each.result(5)) for each in (first, *asked)] == ["miss", "hit", "hit", "hit"]
        assert len(one.requests) == 1 and redis.ask("KEYS", "pointsman:1:flight:*") == b"*0"


def test_f109_the_error_of_one_router_is_its_own_and_the_other_asks(redis: RedisServer, tmp_path: Path) -> None:
    gate = Gate([whole(b'{"error":{"message":"no"}}', status="400 Bad Request")])
    with Capture(gate) as one:
        made = config(one, redis, attempts=1)
        with Router(made, tmp_path / "a") as here, Router(made, tmp_path / "b") as there, ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, here, "r")
            until(lambda: len(one.requests) == 1)
            second = pool.submit(ask, there, "r")
            until(lambda: under_way(there) == 1)
            gate.open.set()
            assert (first.result(5).status, result(second.result(5))) == (400, "miss")
        assert len(one.requests) == 2 and redis.ask("KEYS", "pointsman:1:flight:*") == b"*0"


def test_f109_a_router_that_is_killed_holds_no_other_up_for_long(redis: RedisServer, tmp_path: Path) -> None:
    gate = Gate()
    with Capture(gate) as one:
        made = config(one, redis)
        with Router(made, tmp_path / "a") as here, Router(made, tmp_path / "b") as there, ThreadPoolExecutor(2) as pool:
            leader = Wire(here.port)
            leader.send(post(chat_body("r")))
            until(lambda: len(one.requests) == 1)
            other = pool.submit(ask, there, "r")
            until(lambda: under_way(there) == 1)
            os.kill(here.pid, signal.SIGKILL)
            until(lambda: len(one.requests) == 2, 6)
            gate.open.set()
            assert result(other.result(5)) == "miss"
            leader.close()


@pytest.mark.serial
def test_f84_a_frozen_redis_costs_a_handful_of_look_ups_50_ms_and_comes_back(
    redis: RedisServer, capture: Capture, tmp_path: Path
) -> None:
    with Router(config(capture, redis), tmp_path / "a") as router:
        assert result(ask(router, "r", text="before")) == "miss"
        redis.freeze()
        took_ms = []
        for number in range(100):
            began_s = time.monotonic()
            assert result(ask(router, "r", text=f"frozen {number}")) == "miss"
            took_ms.append((time.monotonic() - began_s) * 1000)
        assert result(ask(router, "r", text="frozen 0")) == "hit"  # which this worker has kept itself
        assert sum(one > 45 for one in took_ms) <= 7 and max(took_ms) < 150
        assert errors(router) >= 5
        redis.thaw()
        until(lambda: kept_again(redis, router), 5)
        router.check_books()


def kept_again(redis: RedisServer, router: Router) -> bool:
    before = redis.ask("DBSIZE")
    assert result(ask(router, "r", text=f"after {time.monotonic()}")) == "miss"
    return redis.ask("DBSIZE") != before


def test_what_in_redis_is_no_answer_is_a_miss_and_counted(redis: RedisServer, capture: Capture, tmp_path: Path) -> None:
    made = config(capture, redis)
    with Router(made, tmp_path / "a") as here, Router(made, tmp_path / "b") as there:
        odd = (("SET", "nonsense"), ("RPUSH", "nonsense"), ("SET", ""))
        for number, (command, value) in enumerate(odd):
            assert result(ask(here, "r", text=f"{number}")) == "miss"
            [key] = until(lambda: [one for one in redis.ask("KEYS", "*:answer:*").split() if b":answer:" in one])
            redis.ask("DEL", key.decode())
            redis.ask(command, key.decode(), f'"{value}"')
            assert result(ask(there, "r", text=f"{number}")) == "miss", command
            redis.ask("DEL", key.decode())
        assert errors(there) == 2  # an empty one is none
        assert len(capture.requests) == 2 * len(odd)


def test_a_router_without_its_redis_serves(redis: RedisServer, capture: Capture, tmp_path: Path) -> None:
    redis.stop()
    with Router(config(capture, redis), tmp_path / "a") as router:
        assert [result(ask(router, "r")) for _ in range(2)] == ["miss", "hit"]
        redis.start()
        until(lambda: kept_again(redis, router), 5)

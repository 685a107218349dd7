"""Deployments that take only so many attempts at a time: the others answer, and what is full is not ill."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_load import Seen, ask_again_and_again, chat
from gateway_raw import Wire, ask, chat_body, fetch, post
from gateway_router import Router, until

from pointsman.core.entry import decision_of
from pointsman.gateway.loads import Load

StartRouter = Callable[..., Router]
HANGS = FAST | {"ttft_ms": {"p50": 20_000, "p95": 20_000}}
BRISK = FAST | {"ttft_ms": {"p50": 50, "p95": 50}}


@pytest.fixture(scope="module")
def uneven() -> Iterator[Lab]:
    models = {"m": FAST, "hangs": HANGS, "brisk": BRISK}
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": models}
    with Lab({"providers": [provider], "seed": 7}) as running:
        yield running


def config(lab: Lab, concurrency: int | str, **more: Any) -> dict[str, Any]:
    few, many = deployment("openai", "hangs", concurrency=concurrency), deployment("openai", "m")
    routes = {"pair": {"candidates": ["few", "many"]}, "alone": {"candidates": ["few"]}}
    return small_config(lab, {"few": few, "many": many}, routes, **more)


def fill(router: Router, count: int) -> list[Wire]:
    wires = [Wire(router.port) for _ in range(count)]
    for n, wire in enumerate(wires, 1):
        wire.send(post(chat_body("alone")))
        until(lambda n=n: fetch(router, "/health").json["load"]["active"] == n)
    return wires


def test_when_it_is_full_another_candidate_takes_the_request_and_its_health_is_untouched(
    uneven: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(uneven, 2))
    wires = fill(router, 2)
    answer = ask(router, "pair")
    assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "many"
    assert answer.headers["x-pointsman-attempts"] == "1"  # it was not even tried
    (few, _) = fetch(router, "/v1/health/deployments").json["deployments"]
    assert (few["breaker"], few["failures"]) == ("closed", 0)
    wires.pop().close()
    until(lambda: fetch(router, "/health").json["load"]["active"] == 1)
    wires.append(Wire(router.port))
    wires[-1].send(post(chat_body("pair"), "x-request-id: taken"))
    until(lambda: any(e.model == "hangs" for e in uneven.served()) or uneven.active("openai") == 2)
    for wire in wires:
        wire.close()
    assert router.by_client_id("taken").attempts[0].deployment == "few"  # what has ended makes room
    router.check_books()


def test_when_all_are_full_the_client_is_told_when_to_come_back_and_the_decision_can_be_made_again(
    uneven: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(uneven, 1))
    wires = fill(router, 1)
    answers = [ask(router, "alone") for _ in range(6)]
    for answer in answers:
        assert (answer.status, answer.error["code"], answer.error["origin"]) == (503, "overloaded", "router")
        assert 2 <= int(answer.headers["retry-after"]) <= 4 and answer.headers["x-should-retry"] == "false"
        assert "full" in answer.error["message"]
    for wire in wires:
        wire.close()
    booked = router.settled(answers[0].id)
    assert (booked.outcome, booked.attempts) == ("full", ())
    admitted = router.admitted(answers[0].id)
    assert admitted.snapshot.states[0].full
    router.check_books()


def test_what_has_no_such_setting_is_not_counted(uneven: Lab, start_router: StartRouter) -> None:
    router = start_router(config(uneven, 5))
    assert all(ask(router, "many").status == 200 for _ in range(20))
    admitted = router.admitted(ask(router, "many").id)
    assert not admitted.snapshot.states[0].full


def test_attempts_that_fail_or_whose_client_leaves_make_room_again(uneven: Lab, start_router: StartRouter) -> None:
    router = start_router(config(uneven, 1))
    for _ in range(5):
        (wire,) = fill(router, 1)
        wire.close()
        until(lambda: fetch(router, "/health").json["load"]["active"] == 0)
    (wire,) = fill(router, 1)
    assert ask(router, "alone").status == 503
    wire.close()


def test_workers_share_what_is_written_and_each_takes_one_at_least() -> None:
    def limit(concurrency: int, workers: int) -> int:
        load = Load()
        load.allow(concurrency, workers)
        return load.limit

    assert [limit(8, 1), limit(8, 4), limit(9, 4), limit(2, 4)] == [8, 2, 2, 1]


@pytest.mark.serial
def test_auto_lets_as_many_through_as_are_answered_quickly(uneven: Lab, start_router: StartRouter) -> None:
    few = deployment("openai", "brisk", concurrency="auto")
    router = start_router(small_config(uneven, {"few": few}, {}, limits={"key_concurrency": 1000}))
    seen, end_s = Seen(), time.monotonic() + 6.0

    async def crowd() -> None:
        asks = (ask_again_and_again(router.port, chat("few"), seen, lambda: time.monotonic() < end_s, 0.02)
                for _ in range(24))  # fmt: skip
        await asyncio.gather(*asks)

    asyncio.run(crowd())
    begun_s = end_s - 6.0
    assert seen.count(503, until_s=begun_s + 0.5) > 0  # it begins with few
    last = seen.count(200, since_s=end_s - 2.0), seen.count(503, since_s=end_s - 2.0)
    assert last[0] > 300 and last[1] < 0.1 * last[0], f"it does not grow: {last}"


def test_the_ledger_and_the_explanation_say_full(uneven: Lab, start_router: StartRouter) -> None:
    router = start_router(config(uneven, 1))
    (wire,) = fill(router, 1)
    with Wire(router.port) as other:
        other.send(post(chat_body("pair"), path="/v1/route"))
        told = json.loads(other.response().body)
    wire.close()
    assert {one["deployment"]: one.get("reason") for one in told["candidates"]}["few"] == "full"
    assert decision_of is not None

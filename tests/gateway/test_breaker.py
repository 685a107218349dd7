"""The breaker, the attempts and the deadline: failing providers are left alone, and no wait is unbounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import REPLY, Capture, whole
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, ask, elapsed_ms, fetch
from gateway_router import Router, until

StartRouter = Callable[..., Router]
ERROR = whole(b'{"error":{"message":"boom","type":"server_error","code":null}}', status="500 Internal Server Error")
LIMITS = {"breaker_failures": 5, "breaker_open_ms": 1_000}


@pytest.fixture
def failing() -> Iterator[Capture]:
    with Capture(ERROR) as running:
        yield running


def setup(lab: Lab, capture: Capture, **limits: Any) -> dict[str, Any]:
    bad = {"provider": "bad", "model": "m", "price": {"input": 1, "output": 2}}
    return small_config(
        lab,
        {"bad": bad, "good": deployment("openai", "m"), "slow": deployment("openai", "slow")},
        {
            "r": {"candidates": ["bad", "good"]},
            "slow-r": {"candidates": ["slow", "good"], "timeouts": {"ttft_ms": 200, "whole_ms": 200}},
        },
        providers={"bad": {"dialect": "openai", "base_url": capture.url, "api_key": "sk-bad-0001"}},
        limits=LIMITS | limits,
    )


def test_f18_after_five_failures_nothing_is_sent_until_one_probe(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    router = start_router(setup(lab, failing))
    for _ in range(12):
        assert ask(router, "r").status == 200
    assert len(failing.requests) == 5
    assert fetch(router, "/health").json["status"] == "degraded"
    assert fetch(router, "/health").json["deployments"]["bad"] == "open"
    until(lambda: fetch(router, "/health").json["deployments"]["bad"] == "half_open", 3)
    for _ in range(4):
        assert ask(router, "r").status == 200
    assert len(failing.requests) == 6  # one probe; it failed, so the breaker opened again, for longer
    failing.play = Capture._always(whole(REPLY))
    until(lambda: fetch(router, "/health").json["deployments"]["bad"] == "half_open", 5)
    assert ask(router, "r").headers["x-pointsman-deployment"] == "bad"
    assert fetch(router, "/health").json["deployments"]["bad"] == "closed"


def test_i16_a_half_open_breaker_lets_one_probe_through_at_a_time(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    router = start_router(setup(lab, failing, breaker_failures=1, breaker_open_ms=300))
    assert ask(router, "r").status == 200
    until(lambda: fetch(router, "/health").json["deployments"]["bad"] == "half_open", 3)
    release = threading.Event()

    def late(sock: Any, _: bytes) -> None:
        release.wait(5)
        sock.sendall(whole(REPLY))

    failing.play = late
    answers: list[Response] = []
    asking = [threading.Thread(target=lambda: answers.append(ask(router, "r"))) for _ in range(8)]
    for thread in asking:
        thread.start()
    until(lambda: len(answers) == 7, 5)
    assert {a.headers["x-pointsman-deployment"] for a in answers} == {"good"}
    release.set()
    for thread in asking:
        thread.join(5)
    assert answers[-1].headers["x-pointsman-deployment"] == "bad"
    assert len(failing.requests) == 2


def test_f38_everything_down_is_a_503_in_fifty_milliseconds(
    failing: Capture, lab: Lab, start_router: StartRouter
) -> None:
    config = setup(lab, failing)
    config["routes"]["r"] = {"candidates": ["bad"], "attempts": 1}
    router = start_router(config)
    for _ in range(5):
        answer = ask(router, "r")
        assert answer.status == 503 and answer.error["code"] == "provider_error"
    took: list[float] = []
    for _ in range(5):
        start = time.monotonic()
        answer = ask(router, "r")
        took.append(elapsed_ms(start))
        assert answer.status == 503
        assert answer.error["code"] == "provider_overloaded" and answer.error["origin"] in ("provider", "router")
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert answer.headers.get("x-should-retry") == "false"
        assert router.settled(answer.id).attempts == ()
    assert min(took) <= 50
    assert len(failing.requests) == 5
    router.check_books()


def test_a_single_deployment_is_tried_again_after_a_pause(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    config = setup(lab, failing)
    config["routes"]["r"] = {"candidates": ["bad"], "attempts": 3}
    router = start_router(config)
    served: list[float] = []

    def second_time_lucky(sock: Any, _: bytes) -> None:
        served.append(time.monotonic())
        sock.sendall(ERROR if len(served) < 3 else whole(REPLY))

    failing.play = second_time_lucky
    answer = ask(router, "r")
    assert answer.status == 200 and answer.headers["x-pointsman-attempts"] == "3"
    assert [a.outcome for a in router.settled(answer.id).attempts] == ["server_error", "server_error", "ok"]
    assert served[2] - served[0] < 1.2  # full jitter below 250 and 500 ms


def test_attempts_are_one_budget_for_retry_and_failover(failing: Capture, lab: Lab, start_router: StartRouter) -> None:
    config = setup(lab, failing)
    config["deployments"] |= {f"bad{i}": config["deployments"]["bad"] for i in range(6)}
    config["routes"]["many"] = {"candidates": [f"bad{i}" for i in range(6)], "attempts": 4}
    router = start_router(config)
    answer = ask(router, "many")
    assert answer.status == 503 and answer.headers["x-should-retry"] == "false"
    assert len(router.settled(answer.id).attempts) == 4 == len(failing.requests)
    answer = ask(router, "many", pointsman={"attempts": 2})
    assert len(router.settled(answer.id).attempts) == 2
    answer = ask(router, "many", pointsman={"attempts": 99})
    assert len(router.settled(answer.id).attempts) <= 4  # the client may only lower it


@pytest.mark.parametrize("stream", [False, True])
def test_i10_the_clients_deadline_ends_the_wait(router: Router, stream: bool) -> None:
    start = time.monotonic()
    answer = ask(router, "openai-slow", stream=stream, pointsman={"timeout_ms": 300})
    assert 280 <= elapsed_ms(start) < 900
    assert answer.status == 503
    assert answer.error["code"] == "deadline_exceeded" and answer.headers["x-should-retry"] == "false"
    booked = router.settled(answer.id)
    assert booked.outcome == "deadline" and booked.total_ms < 700
    assert len(booked.attempts) == 1


def test_f73_the_sdks_read_timeout_is_the_deadline_of_a_unary_call(router: Router) -> None:
    start = time.monotonic()
    answer = ask(router, "openai-slow", "x-stainless-read-timeout: 0.3")
    assert answer.status == 503 and elapsed_ms(start) < 900
    assert ask(router, "openai-m", "x-stainless-read-timeout: NOT_GIVEN").status == 200
    assert ask(router, "openai-m", "x-stainless-read-timeout: -1").status == 200
    assert ask(router, "openai-m", "x-stainless-read-timeout: nan").status == 200
    assert ask(router, "openai-m", "x-stainless-read-timeout: 1e999").status == 200


def test_i10_no_attempt_starts_that_cannot_finish(lab: Lab, failing: Capture, start_router: StartRouter) -> None:
    router = start_router(setup(lab, failing))
    answer = ask(router, "slow-r", pointsman={"timeout_ms": 220})
    assert answer.status == 503
    assert [a.deployment for a in router.settled(answer.id).attempts] == ["slow"]


def test_f34_silence_goes_to_the_next_after_the_routes_time(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    router = start_router(setup(lab, failing))
    start = time.monotonic()
    answer = ask(router, "slow-r")
    assert answer.status == 200 and 190 <= elapsed_ms(start) < 800


def test_i12_client_faults_leave_health_alone(lab: Lab, failing: Capture, start_router: StartRouter) -> None:
    refused = whole(
        b'{"error":{"message":"bad parameter","type":"invalid_request_error","code":null}}', status="400 Bad Request"
    )
    failing.play = Capture._always(refused)
    router = start_router(setup(lab, failing, breaker_failures=1))
    for _ in range(4):
        answer = ask(router, "r")
        assert answer.status == 400 and answer.error["message"] == "bad parameter"
        assert len(router.settled(answer.id).attempts) == 1  # I13
    assert fetch(router, "/health").json["deployments"]["bad"] == "closed"


def test_f03_a_refused_connection_goes_to_the_next_at_once(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    config = setup(lab, failing)
    config["providers"]["bad"]["base_url"] = "http://127.0.0.1:9/v1"
    router = start_router(config)
    ask(router, "good")
    start = time.monotonic()
    answer = ask(router, "r")
    assert answer.status == 200 and elapsed_ms(start) < 250
    assert router.settled(answer.id).attempts[0].outcome == "unreachable"


def test_f04_a_connection_that_never_opens_is_bounded(lab: Lab, failing: Capture, start_router: StartRouter) -> None:
    import socket

    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # fill the backlog: the next SYN is dropped
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    config = setup(lab, failing, connect_ms=300)
    config["providers"]["bad"]["base_url"] = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
    router = start_router(config)
    start = time.monotonic()
    answer = ask(router, "r")
    assert answer.status == 200 and 250 < elapsed_ms(start) < 1500
    assert router.settled(answer.id).attempts[0].outcome == "unreachable"
    for sock in (full, *fillers):
        sock.close()


def test_f32_a_reply_beyond_the_limit_is_cut_and_the_next_answers(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    failing.play = Capture._always(whole(REPLY + b" " * 3_000_000))
    router = start_router(setup(lab, failing, reply_bytes=1_000_000))
    answer = ask(router, "r")
    assert answer.status == 200
    assert [a.outcome for a in router.settled(answer.id).attempts] == ["broken", "ok"]


def test_f57_one_event_of_twenty_mebibytes_is_cut(lab: Lab, start_router: StartRouter) -> None:
    from gateway_lab import mock_values

    rules = [{"do": "big_event", "at": "event:0", "match": {"model": "small"}}]
    with Lab(mock_values() | {"script": rules}) as own:
        deployments = {"big": deployment("anthropic", "small"), "good": deployment("openai", "m")}
        router = start_router(small_config(own, deployments, {"r": {"candidates": ["big", "good"]}}))
        before = router.rss_bytes()
        answer = ask(router, "r", stream=True)
        assert answer.done
        assert [a.outcome for a in router.settled(answer.id).attempts] == ["broken", "ok"]
        assert router.rss_bytes() - before < 80 * 1024 * 1024

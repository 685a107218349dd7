"""Waits: a provider that rests is waited for when nobody else is left; one that is slower than ever is not waited for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway_capture import REPLY, Capture, whole
from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask, fetch
from gateway_router import Router, until

StartRouter = Callable[..., Router]


def limited(times: int, seconds: float) -> tuple[list[int], Callable[..., None]]:
    """Return what answers 429 a few times, then well."""
    seen: list[int] = []

    def play(sock: Any, _: bytes) -> None:
        seen.append(1)
        if len(seen) <= times:
            error = b'{"error":{"message":"slow down","type":"rate_limit_error"}}'
            sock.sendall(whole(error, f"retry-after: {seconds}", status="429 Too Many Requests"))
        else:
            sock.sendall(whole(REPLY))

    return seen, play


def config(capture: Capture, **limits: Any) -> dict[str, Any]:
    provider = {"dialect": "openai", "base_url": capture.url, "api_key": "sk-canary-capture"}
    return {
        "providers": {"up": provider},
        "deployments": {"cap": {"provider": "up", "model": "up-1", "price": {"input": 1, "output": 2}}},
        "limits": limits,
    }


def test_f14_a_resting_provider_is_waited_for_when_nobody_else_is_left(start_router: StartRouter) -> None:
    seen, play = limited(1, 1)
    with Capture(play) as capture:
        router = start_router(config(capture))
        answer = ask(router, "cap")
        assert answer.status == 200 and len(seen) == 2
        first, second = router.settled(answer.id).attempts
        assert (first.outcome, second.outcome) == ("rate_limited", "ok")
        assert 1_000 <= second.started_ms - first.ended_ms < 1_600


def test_f14_a_wait_longer_than_the_bound_is_the_clients(start_router: StartRouter) -> None:
    seen, play = limited(9, 2)
    with Capture(play) as capture:
        router = start_router(config(capture, retry_wait_ms=1_000))
        answer = ask(router, "cap")
        assert answer.status == 429 and answer.headers["retry-after"] == "2" and len(seen) == 1


def test_f73_a_wait_that_the_deadline_does_not_allow_is_the_clients(start_router: StartRouter) -> None:
    seen, play = limited(9, 2)
    with Capture(play) as capture:
        router = start_router(config(capture))
        answer = ask(router, "cap", pointsman={"timeout_ms": 1_500})
        assert answer.status == 429 and len(seen) == 1
        assert router.settled(answer.id).total_ms < 1_000


def test_adaptive_waits_follow_what_was_measured_while_others_are_left(own_lab: Lab, start_router: StartRouter) -> None:
    deployments = {"first": deployment("openai", "m"), "second": deployment("anthropic", "m")}
    routes = {"r": {"candidates": ["first", "second"], "timeouts": {"adaptive": True, "ttft_ms": 20_000}}}
    router = start_router(small_config(own_lab, deployments, routes))
    for _ in range(25):
        assert ask(router, "r", stream=True).headers["x-pointsman-deployment"] == "first"

    def sampled() -> bool:
        rows = {row["deployment"]: row for row in fetch(router, "/v1/health/deployments").json["deployments"]}
        return bool(rows["first"]["sampled"] >= 25)

    until(sampled)
    own_lab.script([{"match": {"provider": "openai"}, "at": "headers", "do": "delay", "ms": 5_000}])
    answer = ask(router, "r", stream=True)  # four times some milliseconds is less than the least, two seconds
    assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "second"
    first, _ = router.settled(answer.id).attempts
    assert first.outcome == "timeout" and 1_900 <= first.ended_ms - first.started_ms < 2_400


def test_an_answer_in_one_piece_may_take_as_long_as_it_is(own_lab: Lab, start_router: StartRouter) -> None:
    """A provider sends nothing of it before its last token is there: the wait for the first content is not its measure."""
    deployments = {"first": deployment("openai", "m", ttft_ms=200), "second": deployment("anthropic", "m")}
    router = start_router(small_config(own_lab, deployments, {"r": {"candidates": ["first", "second"]}}))
    own_lab.script([{"match": {"provider": "openai"}, "at": "headers", "do": "delay", "ms": 600}])
    assert ask(router, "r").headers["x-pointsman-deployment"] == "first"
    assert ask(router, "r", stream=True).headers["x-pointsman-deployment"] == "second"


def test_f34_a_silent_provider_is_given_up_after_the_time_for_a_whole_answer(
    own_lab: Lab, start_router: StartRouter
) -> None:
    deployments = {"first": deployment("openai", "m", whole_ms=300), "second": deployment("anthropic", "m")}
    router = start_router(small_config(own_lab, deployments, {"r": {"candidates": ["first", "second"]}}))
    own_lab.script([{"match": {"provider": "openai"}, "at": "headers", "do": "stall"}])
    answer = ask(router, "r")
    assert answer.headers["x-pointsman-deployment"] == "second"
    first, _ = router.settled(answer.id).attempts
    assert first.outcome == "timeout" and 290 <= first.ended_ms - first.started_ms < 600

"""A provider that says how little is left of our quota is not asked until there is more, and nobody was refused to learn it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, chunk, text_event, whole
from gateway_raw import ask, fetch
from gateway_router import KEY, Router, until

StartRouter = Callable[..., Router]
EMPTY = ("x-ratelimit-limit-requests: 60", "X-RateLimit-Remaining-Requests: 0", "x-ratelimit-reset-requests: 60s")


@pytest.fixture
def tight() -> Iterator[Capture]:
    with Capture(b"") as running:
        yield running


@pytest.fixture
def ample() -> Iterator[Capture]:
    with Capture(b"") as running:
        yield running


def config(first: Capture, second: Capture, **provider: Any) -> dict[str, Any]:
    given = {"dialect": "openai", "api_key": "sk-canary-capture"}
    return {
        "providers": {
            "first": given | {"base_url": first.url} | provider,
            "second": given | {"base_url": second.url},
        },
        "deployments": {"a": {"provider": "first", "model": "m"}, "b": {"provider": "second", "model": "m"}},
        "routes": {"both": {"candidates": ["a", "b"]}},
        "keys": [{"name": "dev", "key": KEY}],
    }


def standing(router: Router, name: str) -> dict[str, Any]:
    return next(one for one in fetch(router, "/v1/health/deployments").json["deployments"] if one["deployment"] == name)


def test_the_last_request_of_a_quota_is_not_followed_by_a_429(
    tight: Capture, ample: Capture, start_router: StartRouter
) -> None:
    tight.play = lambda sock, _: sock.sendall(whole(REPLY, *EMPTY))
    router = start_router(config(tight, ample))
    assert ask(router, "both").headers["x-pointsman-deployment"] == "a"
    began = time.monotonic()
    stands = standing(router, "a")
    assert stands["breaker"] == "cooling" and 500 < stands["again_ms"] <= 1_000
    assert stands["allowed"]["requests"][:2] == [60, 0]
    answer = ask(router, "both")
    assert answer.headers["x-pointsman-deployment"] == "b" and answer.headers["x-pointsman-attempts"] == "1"
    until(lambda: ask(router, "both").headers["x-pointsman-deployment"] == "a", 3.0)
    assert 0.8 < time.monotonic() - began < 2.5  # a sixtieth of the minute
    router.check_books()


def test_streams_tell_it_too_and_tokens_count(tight: Capture, ample: Capture, start_router: StartRouter) -> None:
    lines = (
        "anthropic-ratelimit-output-tokens-limit: 10000",
        "anthropic-ratelimit-output-tokens-remaining: 100",
        "anthropic-ratelimit-output-tokens-reset: 2999-01-01T00:00:00Z",
    )
    head = "\r\n".join(("HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *lines))
    body = b"".join(chunk(part) for part in (text_event("hi"), FINISH, DONE)) + b"0\r\n\r\n"
    tight.play = lambda sock, _: sock.sendall(head.encode() + b"\r\n\r\n" + body)
    router = start_router(config(tight, ample))
    assert ask(router, "both", stream=True, max_tokens=50).headers["x-pointsman-deployment"] == "a"
    assert standing(router, "a")["breaker"] == "closed"  # 50 fit in what is left
    assert ask(router, "both", stream=True, max_tokens=200).headers["x-pointsman-deployment"] == "a"
    assert standing(router, "a")["breaker"] == "cooling"
    assert ask(router, "both").headers["x-pointsman-deployment"] == "b"


def test_it_can_be_switched_off_and_nonsense_changes_nothing(
    tight: Capture, ample: Capture, start_router: StartRouter
) -> None:
    tight.play = lambda sock, _: sock.sendall(whole(REPLY, *EMPTY))
    router = start_router(config(tight, ample, rate_limit_headers=False))
    assert [ask(router, "both").headers["x-pointsman-deployment"] for _ in range(3)] == ["a"] * 3
    tight.play = lambda sock, _: sock.sendall(
        whole(REPLY, "x-ratelimit-remaining-requests: -1", "x-ratelimit-reset-requests: soon", "ratelimit: 0;0;0")
    )
    router = start_router(config(tight, ample))
    assert [ask(router, "both").headers["x-pointsman-deployment"] for _ in range(3)] == ["a"] * 3


def test_a_provider_that_begins_to_tell_is_noticed(tight: Capture, ample: Capture, start_router: StartRouter) -> None:
    tight.play = lambda sock, _: sock.sendall(whole(REPLY))
    router = start_router(config(tight, ample))
    assert [ask(router, "both").headers["x-pointsman-deployment"] for _ in range(3)] == ["a"] * 3
    tight.play = lambda sock, _: sock.sendall(whole(REPLY, *EMPTY))
    until(lambda: ask(router, "both").headers["x-pointsman-deployment"] == "b", 10.0)

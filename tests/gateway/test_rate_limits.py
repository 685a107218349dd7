"""429s: the quota group rests until its time, others answer at once, and the client is told when all of them rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import Capture, whole
from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask, elapsed_ms, fetch
from gateway_router import Router

StartRouter = Callable[..., Router]
LIMITED = b'{"error":{"message":"Rate limit reached.","type":"requests","param":null,"code":"rate_limit_exceeded"}}'


@pytest.fixture
def limited() -> Iterator[Capture]:
    """An upstream that answers 429; each test says how long."""
    with Capture(b"x") as running:
        yield running


def refuse(capture: Capture, *lines: str) -> None:
    capture.play = Capture._always(whole(LIMITED, *lines, status="429 Too Many Requests"))


def setup(lab: Lab, capture: Capture, **more: Any) -> dict[str, Any]:
    """Two deployments of one account that is limited, and one of another that is not."""
    account = {"dialect": "openai", "base_url": capture.url, "api_key": "sk-account"} | more
    limited = {"provider": "account", "model": "m", "price": {"input": 1, "output": 2}}
    return small_config(
        lab,
        {"a": limited, "b": limited, "c": deployment("openai", "m")},
        {"r": {"candidates": ["a", "b", "c"]}, "ab": {"candidates": ["a", "b"]}},
        providers={"account": account},
    )


def test_f14_f16_one_429_rests_the_whole_account_and_another_answers_at_once(
    lab: Lab, limited: Capture, start_router: StartRouter
) -> None:
    refuse(limited, "retry-after: 30")
    router = start_router(setup(lab, limited))
    start = time.monotonic()
    answer = ask(router, "r")
    assert answer.status == 200 and elapsed_ms(start) < 1000
    booked = router.settled(answer.id)
    assert [(a.deployment, a.outcome) for a in booked.attempts] == [("a", "rate_limited"), ("c", "ok")]
    for _ in range(5):
        again = ask(router, "r")
        assert again.headers["x-pointsman-deployment"] == "c" and again.headers["x-pointsman-attempts"] == "1"
    assert len(limited.requests) == 1  # I11: not one more
    states = fetch(router, "/health").json["deployments"]
    assert (states["a"], states["b"], states["c"]) == ("cooling", "cooling", "closed")


def test_f14_when_all_rest_the_client_gets_429_and_the_time(
    lab: Lab, limited: Capture, start_router: StartRouter
) -> None:
    refuse(limited, "retry-after: 30")
    router = start_router(setup(lab, limited))
    for _ in range(3):
        answer = ask(router, "ab")
        assert answer.status == 429
        assert answer.error["code"] == "provider_rate_limited" and answer.error["origin"] == "provider"
        assert 28 <= int(answer.headers["retry-after"]) <= 30
    assert len(limited.requests) == 1
    router.check_books()


@pytest.mark.parametrize(
    ("line", "least_s", "most_s"),
    [
        ("retry-after: 12", 11, 12),
        ("retry-after: 1.5", 1, 2),
        ("retry-after-ms: 2400", 2, 3),
        ("retry-after: -5", 1, 1),
        ("retry-after: NaN", 4, 5),
        ("retry-after: soon", 4, 5),
        ("retry-after: 86400", 86_000, 86_400),
        ("retry-after: 1e999", 86_000, 86_400),
        ("x-nothing: 1", 4, 5),
    ],
)
def test_f15_every_form_of_retry_after_is_read_and_bounded(
    lab: Lab, limited: Capture, start_router: StartRouter, line: str, least_s: int, most_s: int
) -> None:
    refuse(limited, line)
    router = start_router(setup(lab, limited))
    answer = ask(router, "a", pointsman={"attempts": 1})
    assert answer.status == 429
    second = ask(router, "a", pointsman={"attempts": 1})
    told = int(second.headers["retry-after"])
    if "-5" in line:  # no wait at all was asked for
        assert len(limited.requests) == 2
    else:
        assert least_s <= told <= most_s
        assert len(limited.requests) == 1
    assert router.alive


def test_f14_after_the_time_it_is_asked_again(lab: Lab, limited: Capture, start_router: StartRouter) -> None:
    refuse(limited, "retry-after-ms: 300")
    router = start_router(setup(lab, limited))
    assert ask(router, "r").headers["x-pointsman-deployment"] == "c"
    limited.play = Capture(b"").play
    assert ask(router, "r").headers["x-pointsman-deployment"] == "c"
    time.sleep(0.35)
    assert ask(router, "r").headers["x-pointsman-deployment"] == "a"


def test_providers_in_one_quota_group_rest_together(lab: Lab, limited: Capture, start_router: StartRouter) -> None:
    refuse(limited, "retry-after: 30")
    config = setup(lab, limited, quota_group="shared")
    config["providers"]["openai"]["quota_group"] = "shared"
    router = start_router(config)
    answer = ask(router, "r")
    assert answer.status == 429
    assert [a.deployment for a in router.settled(answer.id).attempts] == ["a"]


def test_i12_a_429_is_no_sign_of_bad_health(lab: Lab, limited: Capture, start_router: StartRouter) -> None:
    refuse(limited, "retry-after-ms: 1")
    router = start_router(setup(lab, limited) | {"limits": {"breaker_failures": 2}})
    for _ in range(6):
        ask(router, "a", pointsman={"attempts": 1})
        time.sleep(0.01)
    assert fetch(router, "/health").json["deployments"]["a"] != "open"
    limited.play = Capture(b"").play
    time.sleep(0.02)
    assert ask(router, "a").status == 200

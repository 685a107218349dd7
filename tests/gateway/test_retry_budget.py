"""I9: what the router adds to the load of a provider that fails is bounded, and failover to a healthy one is free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import Capture, whole
from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask
from gateway_router import Router
from hypothesis import given
from hypothesis import strategies as st

from pointsman.gateway.quota import BURST, PER_S, QuotaGroup

StartRouter = Callable[..., Router]
REFUSED = b'{"error":{"message":"overloaded","type":"server_error","code":null}}'
ASKED = 120


@pytest.fixture
def failing() -> Iterator[Capture]:
    with Capture(b"x") as running:
        running.play = Capture._always(whole(REFUSED, status="500 Internal Server Error"))
        yield running


def config(lab: Lab, failing: Capture) -> dict[str, Any]:
    provider = {"dialect": "openai", "base_url": failing.url, "api_key": "sk-account"}
    broken = {"provider": "account", "model": "m", "price": {"input": 1, "output": 2}}
    return small_config(
        lab,
        {"bad": broken, "good": deployment("openai", "m")},
        {"alone": {"candidates": ["bad"]}, "pair": {"candidates": ["bad", "good"]}},
        providers={"account": provider},
        limits={"breaker_failures": 1_000_000, "breaker_success": 0.0},  # nothing is ejected: the budget stands alone
    )


def test_i09_a_provider_that_always_fails_is_not_sent_more_than_the_budget(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    router = start_router(config(lab, failing))
    begun_s = time.monotonic()
    statuses = [ask(router, "alone").status for _ in range(ASKED)]
    took_s = time.monotonic() - begun_s
    assert set(statuses) == {503}
    sent = len(failing.requests)
    assert ASKED <= sent <= ASKED * 1.15 + BURST + PER_S * took_s
    assert sent >= ASKED + BURST - 1  # the burst is there to be used


def test_i09_failover_to_a_healthy_deployment_is_never_refused(
    lab: Lab, failing: Capture, start_router: StartRouter
) -> None:
    router = start_router(config(lab, failing))
    assert [ask(router, "pair").status for _ in range(ASKED)] == [200] * ASKED


@given(st.lists(st.tuples(st.floats(0, 5_000), st.booleans()), max_size=400))
def test_i09_tries_never_pass_the_bound_whatever_the_times(steps: list[tuple[float, bool]]) -> None:
    group, now_ms, retries = QuotaGroup([], 0.0), 0.0, 0
    for n, (gap_ms, wants) in enumerate(steps, 1):
        now_ms += gap_ms
        group.sent()
        if wants and group.may_retry(now_ms):
            group.retried()
            group.sent()
            retries += 1
        assert retries <= BURST + 0.15 * n + PER_S * now_ms / 1000.0 + 1e-6

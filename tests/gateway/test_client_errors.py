"""Errors reach the official client as its own exceptions, with everything needed to find them in the ledger (I33)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from gateway_lab import Lab, deployment, mock_values, small_config
from gateway_router import KEY, Router
from openai import AsyncOpenAI

HELLO: Any = [{"role": "user", "content": "hello"}]
StartRouter = Callable[..., Router]


def client_of(router: Router, *, key: str = KEY, retries: int = 0, timeout: float = 10) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{router.url}/v1", api_key=key, max_retries=retries, timeout=timeout)


def check_shape(error: openai.APIStatusError, status: int, code: str, origin: str) -> dict[str, Any]:
    assert error.status_code == status
    body = error.body
    assert isinstance(body, dict)
    assert body["code"] == code and body["origin"] == origin
    assert body["message"] and body["type"]
    assert body["request_id"] == error.response.headers["x-request-id"] == error.request_id
    return body


async def test_a_bad_key_is_an_authentication_error(router: Router) -> None:
    async with client_of(router, key="sk-wrong-0123456789abcdef") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model="openai-m", messages=HELLO)
        check_shape(caught.value, 401, "invalid_api_key", "client")
        assert "sk-wrong" not in str(caught.value)
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_an_unknown_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="no-such-model", messages=HELLO)
    body = check_shape(caught.value, 404, "model_not_found", "client")
    assert body["param"] == "model"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("no-such-model")


async def test_f22_what_the_provider_calls_invalid_is_a_bad_request_and_not_retried(
    client: AsyncOpenAI, router: Router, lab: Lab
) -> None:
    for dialect in ("openai", "anthropic", "gemini"):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=f"{dialect}/invalid-400", messages=HELLO)
        body = check_shape(caught.value, 400, "invalid_request", "client")
        assert "temperature must be at most 2" in body["message"]
        booked = router.settled(body["request_id"])
        assert (booked.outcome, booked.status, len(booked.attempts)) == ("invalid_request", 400, 1)
        assert booked.charge_nano == 0
        assert "retry-after" not in caught.value.response.headers


async def test_a_missing_member_is_a_bad_request(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="openai-m", messages=[])
    check_shape(caught.value, 400, "invalid_request", "client")


async def test_f14_a_rate_limit_of_all_is_a_rate_limit_error_with_its_wait(start_router: StartRouter) -> None:
    lab_rules = [{"do": "status", "status": 429, "retry_after": "7"}]
    with Lab(values_with(lab_rules)) as own:
        router = start_router(small_config(own, {"a": deployment("openai", "m")}, {}))
        async with client_of(router) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="a", messages=HELLO)
            check_shape(caught.value, 429, "provider_rate_limited", "provider")
            assert 6 <= int(caught.value.response.headers["retry-after"]) <= 7


async def test_f18_when_all_fail_it_is_a_503_and_the_client_does_not_retry(start_router: StartRouter) -> None:
    with Lab(values_with([{"do": "status", "status": 500}])) as own:
        deployments = {"a": deployment("openai", "m"), "b": deployment("anthropic", "m")}
        router = start_router(small_config(own, deployments, {"r": {"candidates": ["a", "b"], "attempts": 2}}))
        async with client_of(router, retries=2) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="r", messages=HELLO)
        check_shape(caught.value, 503, "provider_error", "provider")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert len(own.served()) == 2  # one request of two attempts: the client's own retries did not happen
        assert len(router.admitted_ids()) == 1


async def test_an_error_inside_a_stream_is_an_api_error(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="openai/cut-reset", messages=HELLO, stream=True)

    async def read() -> None:
        async for _ in stream:
            pass

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert caught.value.code == "stream_interrupted"


async def test_f73_a_clients_read_timeout_is_the_deadline(router: Router) -> None:
    async with client_of(router, timeout=0.4) as client:
        with pytest.raises((openai.InternalServerError, openai.APITimeoutError)):
            await client.chat.completions.create(
                model="openai-slow", messages=HELLO, extra_headers={"x-request-id": "slow-1"}
            )
    booked = router.by_client_id("slow-1")
    assert booked.outcome in ("deadline", "client_gone")
    assert booked.total_ms < 1_000


def values_with(rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the lab's values with these rules for everything."""
    return mock_values() | {"script": rules}

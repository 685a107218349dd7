"""What a model cannot do removes it before anything is sent; when none is left, the client is told what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, Wire, ask, chat_body, post
from gateway_router import Router

StartRouter = Callable[..., Router]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "properties": {}}}}
IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ],
    }
]
AUDIO = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]
CASES: dict[str, dict[str, Any]] = {
    "tools": {"tools": TOOLS},
    "json schema": {"response_format": SCHEMA},
    "images": {"messages": IMAGE},
    "long input": {"text": "word " * 2000},
    "long output": {"max_tokens": 300},
}


@pytest.fixture(scope="module")
def picky(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A router whose first candidate can do little, its second everything."""
    little = deployment(
        "openai", "m", tools=False, json_schema=False, modalities=["text"], context=1000, max_output=200
    )
    able = deployment("openai", "m", modalities=["text", "image", "audio"])
    config = small_config(
        lab,
        {"little": little, "able": able, "unpriced": {"provider": "openai", "model": "m"}},
        {
            "both": {"candidates": ["little", "able"]},
            "poor": {"candidates": ["little"]},
            "paid": {"candidates": ["unpriced"], "unpriced": "deny"},
        },
    )
    with Router(config, tmp_path_factory.mktemp("picky")) as running:
        yield running
        running.check_quiet()


def send(router: Router, model: str, what: dict[str, Any]) -> Response:
    more = dict(what)
    text = more.pop("text", "hello")
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, text, **more)))
        return wire.response()


@pytest.mark.parametrize("what", CASES.values(), ids=CASES.keys())
def test_what_the_first_cannot_do_goes_to_the_second(picky: Router, what: dict[str, Any]) -> None:
    answer = send(picky, "both", what)
    assert answer.status == 200
    assert answer.headers["x-pointsman-deployment"] == "able"
    assert answer.headers["x-pointsman-attempts"] == "1"  # it was not tried in vain


def test_what_anyone_can_do_goes_to_the_first(picky: Router) -> None:
    assert ask(picky, "both").headers["x-pointsman-deployment"] == "little"


MISSING = {
    "tools": ("unsupported_by_model", "tools"),
    "json schema": ("unsupported_by_model", "json_schema"),
    "images": ("unsupported_by_model", "images"),
    "long input": ("context_length_exceeded", "tokens"),
    "long output": ("unsupported_by_model", "300"),
}


@pytest.mark.parametrize("name", CASES)
def test_when_no_candidate_can_the_client_is_told_what_is_missing(picky: Router, lab: Lab, name: str) -> None:
    code, word = MISSING[name]
    answer = send(picky, "poor", CASES[name])
    assert answer.status == 400
    assert (answer.error["code"], answer.error["origin"]) == (code, "client")
    assert word in answer.error["message"]
    booked = picky.settled(answer.id)
    assert (booked.status, booked.attempts, booked.charge_nano) == (400, (), 0)
    assert lab.served(answer.id) == []


def test_audio_goes_to_who_hears(picky: Router) -> None:
    assert send(picky, "poor", {"messages": AUDIO}).status == 400


def test_a_route_may_forbid_unknown_prices(picky: Router) -> None:
    answer = ask(picky, "paid")
    assert answer.status == 400 and "price" in answer.error["message"]


def test_i05_an_unknown_price_is_a_state_and_not_zero(picky: Router) -> None:
    answer = ask(picky, "unpriced")
    assert answer.status == 200
    assert "x-pointsman-cost-usd" not in answer.headers
    booked = picky.settled(answer.id)
    assert (booked.charge_nano, booked.charge_state) == (-1, "unpriced")
    assert booked.attempts[0].usage.source == "measured"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_f21_a_context_error_goes_to_a_larger_window_and_leaves_health_alone(
    lab: Lab, start_router: StartRouter, dialect: str
) -> None:
    small = deployment(dialect, "small", context=5_000)  # the operator's figure is too high: the provider refuses
    twin = deployment(dialect, "small", context=5_000)
    large = deployment("openai", "m", context=100_000)
    config = small_config(
        lab,
        {"small": small, "twin": twin, "large": large},
        {"r": {"candidates": ["small", "twin", "large"]}, "s": {"candidates": ["small", "twin"]}},
        limits={"breaker_failures": 1},
    )
    router = start_router(config)
    answer = ask(router, "r", text="word " * 700)
    assert answer.status == 200
    booked = router.settled(answer.id)
    assert [(a.deployment, a.outcome) for a in booked.attempts] == [("small", "context_length"), ("large", "ok")]
    refused = ask(router, "s", text="word " * 700)
    assert refused.status == 400 and refused.error["code"] == "context_length_exceeded"
    assert len(router.settled(refused.id).attempts) == 1
    assert ask(router, "small").status == 200  # I12: the breaker of one failure did not open


def test_a_key_sees_and_uses_only_its_routes(lab: Lab, start_router: StartRouter) -> None:
    mine = "sk-mine-0123456789abcdef0123456789"
    config = small_config(lab, {"a": deployment("openai", "m"), "b": deployment("openai", "m")}, {})
    router = start_router(config | {"keys": [{"name": "one", "key": mine, "routes": ["a"]}]})
    auth = f"authorization: Bearer {mine}"
    with Wire(router.port) as wire:
        wire.send(post(chat_body("b"), auth=auth))
        assert wire.response().status == 404
        wire.send(post(chat_body("a"), auth=auth))
        assert wire.response().status == 200

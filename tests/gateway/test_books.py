"""The books agree: what headers say, what the journal holds, and what the providers say they served (I1, I2, I6, I7)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from gateway_lab import PRICES, Lab, deployment, mock_values, small_config
from gateway_raw import Wire, ask, chat_body, post
from gateway_router import Router

from pointsman.core.pricing import nano_of

StartRouter = Callable[..., Router]
OURS = ("route", "deployment", "model", "attempts", "cache", "degraded", "reason", "config", "overhead-ms")


def test_a_unary_answer_tells_what_was_decided_and_what_it_cost(router: Router) -> None:
    answer = ask(router, "auto")
    told = {name: answer.headers[f"x-pointsman-{name}"] for name in OURS}
    assert told["route"] == "auto"
    assert (told["deployment"], told["model"], told["attempts"]) == ("openai-m", "m", "1")
    assert told["config"] == router.policy.version
    assert told["reason"] == "priority:openai-m"
    assert (told["cache"], told["degraded"]) == ("off", "no")
    assert 0 <= float(told["overhead-ms"]) < 100
    booked = router.settled(answer.id)
    assert re.fullmatch(r"\d+\.\d{9}", answer.headers["x-pointsman-cost-usd"])
    assert int(answer.headers["x-pointsman-cost-usd"].replace(".", "")) == booked.charge_nano > 0
    assert abs(float(told["overhead-ms"]) - booked.overhead_ms) < 5


def test_a_stream_tells_what_is_known_when_it_begins(router: Router) -> None:
    answer = ask(router, "anthropic-m", stream=True)
    for name in OURS:
        assert f"x-pointsman-{name}" in answer.headers
    assert "x-pointsman-cost-usd" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert router.settled(answer.id).charge_nano > 0


def test_an_error_tells_how_far_it_got(router: Router) -> None:
    answer = ask(router, "openai/invalid-400")
    assert answer.headers["x-pointsman-route"] == "openai/invalid-400"
    assert answer.headers["x-pointsman-attempts"] == "1"


def test_the_admitted_record_says_who_asked_what(router: Router) -> None:
    answer = ask(router, "auto", "x-request-id: their-7", stream=True)
    record = router.admitted(answer.id)
    assert record.caller[0] == "dev" and "core" in record.caller
    assert (record.request.kind, record.request.route, record.request.features.stream) == ("chat", "auto", True)
    assert (record.asked_model, record.client_id) == ("auto", "their-7")
    assert record.config_version == router.policy.version
    assert answer.headers["x-request-id"] == "their-7"


def test_timings_add_up(router: Router) -> None:
    answer = ask(router, "openai/stall-content", stream=True)
    booked = router.settled(answer.id)
    (attempt,) = booked.attempts
    assert 0 <= booked.decided_ms <= attempt.started_ms <= attempt.answered_ms <= attempt.ended_ms
    assert attempt.ended_ms <= booked.total_ms + 0.001
    assert attempt.answered_ms <= booked.first_ms + 0.001 and booked.first_ms < booked.total_ms
    assert 0 <= booked.overhead_ms < 100


def test_i07_each_charge_can_be_reckoned_again(router: Router) -> None:
    for model in ("openai-m", "anthropic-m", "gemini-m"):
        answer = ask(router, model, text="x" * random.Random(model).randrange(10, 500))
        (attempt,) = router.settled(answer.id).attempts
        price = next(d.price for d in router.policy.deployments if d.name == model)
        assert price is not None and attempt.price_version == price.version
        assert attempt.charge_nano == nano_of(attempt.usage, price.rates)
        cost_in, cost_out = PRICES[model.partition("-")[0]]
        exact = attempt.usage.input_tokens * cost_in * 1000 + attempt.usage.output_tokens * cost_out * 1000
        assert abs(attempt.charge_nano - exact) <= 0.5


def _mixed(seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Return about 150 different calls: wires, streams, failovers, errors."""
    rng = random.Random(seed)
    models = ["openai-m", "anthropic-m", "gemini-m", "any", "shaky", "shaky", "nobody", "refused"]
    calls: list[tuple[str, dict[str, Any]]] = []
    for i in range(150):
        more: dict[str, Any] = {"text": f"{i}: " + "word " * rng.randrange(0, 200), "stream": rng.random() < 0.5}
        if more["stream"] and rng.random() < 0.3:
            more["stream_options"] = {"include_usage": True}
        if rng.random() < 0.2:
            more["max_tokens"] = rng.randrange(1, 30)
        calls.append((rng.choice(models), more))
    return calls


def test_i06_the_ledger_adds_up_to_what_the_providers_served(start_router: StartRouter) -> None:
    rules = [
        {"do": "status", "status": 500, "match": {"model": "small", "every": 2}},
        {"do": "status", "status": 400, "match": {"model": "slow"}},
    ]
    cached = mock_values()["providers"]
    for values in cached:
        values["cache"] = {"min_tokens": 64, "block_tokens": 16}
    with Lab(mock_values() | {"script": rules, "providers": cached}) as lab:
        deployments = {f"{d}-m": deployment(d, "m") for d in ("openai", "anthropic", "gemini")}
        deployments |= {
            "shaky-1": deployment("openai", "small", context=128_000),
            "refused": deployment("gemini", "slow"),
        }
        routes = {
            "any": {"candidates": ["openai-m", "anthropic-m", "gemini-m"], "strategy": "fastest"},
            "shaky": {"candidates": ["shaky-1", "anthropic-m"]},
        }
        router = start_router(small_config(lab, deployments, routes))
        statuses: dict[str, int] = {}
        with Wire(router.port) as wire:
            for model, more in _mixed(1):
                wire.send(post(chat_body(model, **more)))
                answer = wire.response()
                statuses[answer.id] = answer.status
        assert set(statuses.values()) == {200, 404, 400}
        router.check_books()
        settled = router.all_settled()
        admitted = router.admitted_ids()
        assert admitted == {request for request, status in statuses.items() if status != 404}
        prices = {d.name: d.price for d in router.policy.deployments}
        ledger = theirs = tokens = 0
        for row in settled:
            assert row.status == statuses[row.id]
            served = lab.served(row.id)
            assert len(served) == len(row.attempts)
            assert row.charge_nano == sum(a.charge_nano for a in row.attempts)
            for attempt, entry in zip(row.attempts, served, strict=True):
                if entry.status != 200:
                    assert attempt.charge_nano == 0
                    continue
                usage, price = attempt.usage, prices[attempt.deployment]
                assert (usage.input_tokens, usage.output_tokens) == (entry.prompt_tokens, entry.completion_tokens)
                assert usage.cache_read_tokens == entry.cached_tokens
                assert price is not None
                theirs += nano_of(usage, price.rates)
                tokens += entry.prompt_tokens + entry.completion_tokens
            ledger += row.charge_nano
        assert ledger == theirs > 0
        assert tokens > 10_000
        assert sum(len(r.attempts) for r in settled) > len(settled)  # failovers happened


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_the_provider_sees_our_request_id(router: Router, lab: Lab, dialect: str) -> None:
    answer = ask(router, f"{dialect}-m")
    assert [e.provider for e in lab.served(answer.id)] == [dialect]


def test_i24_no_secret_stands_in_the_journal_or_in_an_answer(router: Router) -> None:
    from gateway_lab import SECRET
    from gateway_router import KEY

    answer = ask(router, "openai/stall-content", stream=True, text="canary-prompt-text-9")
    refused = ask(router, "openai/invalid-400")
    journal = b"".join(path.read_bytes() for path in (router.data / "journal").glob("*.pmj"))
    for secret in (SECRET, KEY, "canary-prompt-text-9"):
        assert secret.encode() not in journal
        assert secret.encode() not in answer.raw_head + refused.raw_head + refused.body

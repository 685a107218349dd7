"""Similar questions by the vectors of a deployment: their cost, their failures, many alike at once (faults 92 and 109)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_alike import result
from gateway_lab import Lab, deployment, small_config
from gateway_policy import settled
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_redis import RedisServer
from gateway_router import Router, until

StartRouter = Callable[..., Router]
ASKED = "How do I reset my password?"
SIMILAR = "My password is lost: how can I recover it?"
DEAD = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}


def config(lab: Lab, **vectors: Any) -> dict[str, Any]:
    maker = {"provider": "openai", "model": "m", "kind": "embeddings", "price": {"input": 0.02, "output": 0}} | vectors
    semantic = {"embeddings": "vectors", "check": 0, "threshold": 0.6}
    routes = {"r": {"candidates": ["a"], "cache": {"ttl": "1h", "semantic": semantic}}}
    deployments = {"a": deployment("openai", "m"), "vectors": maker}
    return small_config(lab, deployments, routes, providers={"dead": DEAD})


def say(router: Router, text: str, **more: Any) -> Response:
    return ask(router, "r", text=text, **more)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_other_words_for_the_same_get_the_answer_and_the_bill_is_the_provider_s(
    lab: Lab, start_router: StartRouter, stream: bool
) -> None:
    router = start_router(config(lab))
    first = say(router, "How do I reset my password now?", stream=stream)
    other = say(router, SIMILAR, stream=not stream)
    assert (result(first), result(other)) == ("miss", "semantic") and first.text == other.text
    assert float(other.headers["x-pointsman-similarity"]) >= 0.6
    for answer in (first, other):
        row = settled(router, answer)
        assert row.attempts[0].deployment == "vectors" and row.attempts[0].outcome == "ok"
        vectors = [one for one in lab.served(answer.headers["x-request-id"]) if one.path.endswith("/embeddings")]
        assert len(vectors) == 1 and vectors[0].prompt_tokens == row.attempts[0].usage.input_tokens
        assert row.attempts[0].charge_nano == vectors[0].prompt_tokens * 20
    made, given = settled(router, first), settled(router, other)
    assert [one.deployment for one in made.attempts] == ["vectors", "a"] and len(given.attempts) == 1
    assert given.hit is not None and given.hit.deployment == "a"
    cost = float(other.headers["x-pointsman-cost-usd"])
    assert cost == pytest.approx(given.attempts[0].charge_nano / 1e9) and cost > 0
    assert other.headers["x-pointsman-attempts"] == "0" and first.headers["x-pointsman-attempts"] == "1"
    assert first.headers["x-pointsman-reason"] == "only:a"
    assert result(say(router, "How do I reset my password now?", stream=stream)) == "hit"
    router.check_books()


def test_f92_words_that_turn_the_meaning_are_not_left_to_the_vectors(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(config(lab))
    say(router, "How do I recover my lost password in 5 minutes?")
    for text in (
        "How do I recover my lost password in 6 minutes?",
        "How do I not recover my lost password in 5 minutes?",
        "Why do I recover my lost password in 5 minutes?",
        "How do I recover my lost key in 5 minutes?",
    ):
        assert result(say(router, text)) == "miss"


@pytest.mark.parametrize(
    "vectors",
    [{"model": "slow"}, {"provider": "dead"}, {"model": "no-such-model"}],
    ids=["too late", "unreachable", "refused"],
)
def test_without_a_vector_it_is_a_miss(lab: Lab, start_router: StartRouter, vectors: dict[str, Any]) -> None:
    router = start_router(config(lab, **vectors))
    answers = [say(router, f"{ASKED} {n}") for n in range(7)]
    assert {result(answer) for answer in answers} == {"miss"} and all(answer.text for answer in answers)
    rows = [settled(router, answer) for answer in answers]
    asked = [row for row in rows if row.attempts[0].deployment == "vectors"]
    if vectors == {"model": "slow"}:
        assert len(asked) == 5  # then nobody is kept waiting for a while
        assert asked[0].attempts[0].outcome == "timeout" and asked[0].attempts[0].usage.source == "estimated"
        assert asked[0].attempts[0].charge_nano > 0
    elif "provider" in vectors:
        assert asked == []  # nothing was sent
    else:
        assert asked[0].attempts[0].outcome == "not_found" and asked[0].attempts[0].charge_nano == 0
    assert all(row.attempts[-1].deployment == "a" for row in rows)
    router.check_books()


def test_a_client_that_leaves_meanwhile_is_billed_for_what_was_sent(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(config(lab, model="slow"))
    wire = Wire(router.port)
    wire.send(post(chat_body("r", ASKED)))
    until(lambda: router.admitted_ids())
    wire.close()
    [end] = until(router.all_settled)
    assert end.outcome in ("client_gone", "ok")
    router.check_books()


def test_f109_many_alike_at_once_are_one_vector_and_one_call(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(config(lab))
    text = "How do I reset the password that all of us have?"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: say(router, text), range(20)))
    assert sorted(map(result, answers)) == ["hit"] * 19 + ["miss"]
    rows = [settled(router, answer) for answer in answers]
    assert sum(len(row.attempts) for row in rows) == 2
    router.check_books()


def test_a_maker_of_vectors_is_no_model(lab: Lab, start_router: StartRouter) -> None:
    router = start_router(config(lab))
    assert ask(router, "vectors").status == 404
    assert b"vectors" not in fetch(router, "/v1/models").body


def test_with_a_redis_the_exact_answer_is_asked_for_before_the_vector(
    lab: Lab, start_router: StartRouter, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) as redis:
        here, there = (start_router(config(lab) | {"server": {"cache": redis.url}}) for _ in range(2))
        assert result(say(here, ASKED)) == "miss"
        exact = say(there, ASKED)
        assert result(exact) == "hit" and settled(there, exact).attempts == ()
        assert result(say(here, SIMILAR)) == "semantic"
        assert result(say(there, SIMILAR)) == "miss"  # questions are those of a machine
        here.check_books()

"""The ladder, rung by rung: what a client gets when nobody, or nobody good enough, can answer, and what is booked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from gateway_lab import Lab, deployment
from gateway_policy import models, routes, settled, went
from gateway_raw import Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router, until
from openai import OpenAI

Start = Callable[..., Router]
SORRY = "We cannot answer right now. A person will follow up: é✓."
LADDER = {
    "candidates": ["good"],
    "attempts": 3,
    "degrade": [{"candidates": ["cheap"]}, {"max_output": 7}, {"cached": {"max_age": "1h"}}, {"reply": SORRY}],
}
ALL = ("openai", "anthropic", "gemini")


def broken(*names: str) -> list[dict[str, Any]]:
    return [{"do": "status", "status": 500, "match": {"provider": name}} for name in names]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_the_ladder_is_gone_down_step_by_step(own_lab: Lab, start_router: Start, stream: bool) -> None:
    router = start_router(
        routes(own_lab, {"r": LADDER}) | {"limits": {"breaker_failures": 10_000, "breaker_min_requests": 10_000}}
    )
    whole = ask(router, "r", stream=stream)
    assert (went(whole), whole.headers["x-pointsman-degraded"]) == ("good", "no")
    assert settled(router, whole).degraded == ""

    own_lab.script(broken("anthropic"))
    other = ask(router, "r", stream=stream)
    assert (went(other), other.headers["x-pointsman-degraded"]) == ("cheap", "rung-1")
    booked = settled(router, other)
    assert (booked.degraded, booked.outcome, len(booked.attempts)) == ("rung-1", "ok", 2)

    own_lab.script([*broken("openai"), {"do": "status", "status": 500, "match": {"provider": "anthropic", "times": 1}}])
    smaller = ask(router, "r", stream=stream)
    assert (went(smaller), smaller.headers["x-pointsman-degraded"]) == ("good", "smaller")
    booked = settled(router, smaller)
    assert (booked.degraded, len(booked.attempts)) == ("smaller", 3)
    assert booked.attempts[-1].usage.output_tokens == 7  # of the twenty it would have

    own_lab.script(broken(*ALL))
    cached = ask(router, "r", stream=stream)
    assert cached.status == 200 and cached.headers["x-pointsman-degraded"] == "cached"
    assert cached.headers["x-pointsman-cache"] == "stale"
    assert cached.text in {whole.text, other.text, smaller.text}
    booked = settled(router, cached)
    assert (booked.degraded, booked.outcome, booked.status) == ("cached", "degraded", 200)
    assert len(booked.attempts) == 3 and {row.outcome for row in booked.attempts} == {"server_error"}

    said = ask(router, "r", stream=stream, text="something nobody has asked before")
    assert (said.status, said.text, said.headers["x-pointsman-degraded"]) == (200, SORRY, "reply")
    booked = settled(router, said)
    assert (booked.degraded, booked.outcome, booked.status) == ("reply", "degraded", 200)
    if stream:
        assert said.done and said.finishes == ["stop"]
    router.check_books()


def test_what_is_kept_is_the_whole_answer_and_not_the_smaller_one(own_lab: Lab, start_router: Start) -> None:
    router = start_router(
        routes(
            own_lab,
            {
                "r": {
                    "candidates": ["good"],
                    "degrade": [{"max_output": 3}, {"cached": {"max_age": "1h"}}],
                    "attempts": 2,
                }
            },
        )
    )
    whole = ask(router, "r")
    own_lab.script([{"do": "status", "match": {"provider": "anthropic", "times": 1}}])
    smaller = ask(router, "r")
    assert smaller.headers["x-pointsman-degraded"] == "smaller" and smaller.text != whole.text
    own_lab.script(broken("anthropic"))
    assert ask(router, "r").text == whole.text


def test_an_answer_is_kept_for_its_caller_and_request_alone_and_for_its_time(own_lab: Lab, start_router: Start) -> None:
    keys = [{"name": "dev", "key": KEY}, {"name": "else", "key": "sk-somebody-else-0123456789"}]
    ladder = {"candidates": ["good"], "degrade": [{"cached": {"max_age": 1}}, {"reply": SORRY}]}
    old = {"candidates": ["good"], "degrade": [{"cached": {"max_age": "1h"}}, {"reply": SORRY}]}
    router = start_router(routes(own_lab, {"r": old, "brief": ladder}, keys=keys))
    mine = ask(router, "r")
    ask(router, "brief")
    own_lab.script(broken("anthropic"))
    with Wire(router.port) as wire:
        wire.send(post(chat_body("r"), auth="authorization: Bearer sk-somebody-else-0123456789"))
        assert wire.response().text == SORRY
    assert ask(router, "r", temperature=0.5).text == SORRY
    assert ask(router, "r").text == mine.text
    until(lambda: ask(router, "brief").text == SORRY)  # it keeps for a second only


@pytest.fixture
def speechless(own_lab: Lab, start_router: Start) -> Router:
    own_lab.script(broken(*ALL))
    ladder = [{"reply": SORRY}]
    return start_router(routes(own_lab, {"r": {"candidates": ["good", "cheap"], "degrade": ladder}}))


def test_the_official_client_reads_a_reply_of_the_operator(speechless: Router) -> None:
    with OpenAI(base_url=f"{speechless.url}/v1", api_key=KEY, max_retries=0, timeout=10) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        answer = client.chat.completions.create(model="r", messages=messages)
        assert answer.choices[0].message.content == SORRY and answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None and answer.usage.total_tokens == 0 and answer.model == "r"
        stream = client.chat.completions.create(
            model="r", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SORRY
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 0


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_refusal_says_when_to_come_back_and_is_not_tried_again(
    own_lab: Lab, start_router: Start, stream: bool
) -> None:
    own_lab.script(broken(*ALL))
    ladder = [{"refuse": {"retry_after": "5m"}}]
    router = start_router(routes(own_lab, {"r": {"candidates": ["good"], "degrade": ladder}}))
    client = OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=2, timeout=10)
    with client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="r", messages=[{"role": "user", "content": "hello"}], stream=stream)
    headers = caught.value.response.headers
    assert caught.value.status_code == 503 and headers["retry-after"] == "300"
    assert headers["x-should-retry"] == "false" and headers["x-pointsman-degraded"] == "refuse"
    ends = router.all_settled()
    assert len(ends) == 1 and (ends[0].outcome, ends[0].status) == ("server_error", 503)


def test_what_the_caller_has_to_mend_is_told_and_not_degraded(own_lab: Lab, start_router: Start) -> None:
    ladder = [{"cached": {"max_age": "1h"}}, {"reply": SORRY}]
    small = models(small=deployment("openai", "m", context=500, price={"input": 1, "output": 1}))
    config = routes(
        own_lab, {"r": {"candidates": ["small"], "degrade": ladder}, "all": {"candidates": ["good"]}}, small
    )
    router = start_router(config)
    too_long = ask(router, "r", text="sea " * 4_000)
    assert (too_long.status, too_long.error["code"]) == (400, "context_length_exceeded")
    assert too_long.headers["x-pointsman-degraded"] == "no"


def test_demands_nobody_meets_lead_to_the_ladder(own_lab: Lab, start_router: Start) -> None:
    ladder = [{"reply": SORRY}]
    config = routes(
        own_lab,
        {
            "floor": {"candidates": ["cheap"], "quality_floor": 0.5, "degrade": ladder},
            "spent": {"candidates": ["good"], "limits": {"usd_per_day": 0.0}, "degrade": ladder},
            "dear": {"candidates": ["good"], "limits": {"usd_per_request": 0.000001}, "degrade": ladder},
        },
    )
    router = start_router(config)
    code = "```python\ndef f(x): return x\n```"  # at which `cheap` is not good enough
    for name in ("floor", "spent", "dear"):
        answer = ask(router, name, text=code)
        assert (answer.status, answer.headers["x-pointsman-degraded"]) == (200, "reply"), (name, answer.body)
        assert answer.text == SORRY


def test_everybody_down_is_seen_by_the_breaker_and_the_ladder_answers_at_once(
    own_lab: Lab, start_router: Start
) -> None:
    for name in ALL:
        own_lab.down(name)
    ladder = [{"candidates": ["cheap"]}, {"reply": SORRY}]
    router = start_router(
        routes(own_lab, {"r": {"candidates": ["good"], "degrade": ladder}}) | {"limits": {"breaker_failures": 2}}
    )
    answers = [ask(router, "r") for _ in range(6)]
    assert {answer.text for answer in answers} == {SORRY}
    assert answers[0].headers["x-pointsman-attempts"] != "0"
    assert answers[-1].headers["x-pointsman-attempts"] == "0"  # nobody was bothered any more
    assert settled(router, answers[-1]).attempts == ()
    for name in ALL:
        own_lab.up(name)


def test_a_rung_that_did_not_answer_is_not_said_to_have(own_lab: Lab, start_router: Start) -> None:
    own_lab.script(broken(*ALL))
    router = start_router(routes(own_lab, {"r": {"candidates": ["good"], "degrade": [{"candidates": ["cheap"]}]}}))
    answer = ask(router, "r")
    assert (answer.status, answer.headers["x-pointsman-degraded"]) == (503, "no")
    booked = settled(router, answer)
    assert booked.degraded == "" and [row.deployment for row in booked.attempts][:2] == ["good", "cheap"]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_reply_leaves_the_connection_as_any_answer_does(speechless: Router, stream: bool) -> None:
    body = chat_body("r", stream=stream)
    with Wire(speechless.port) as wire:
        wire.send(post(body) + post(body))  # two at once
        assert [wire.response().text for _ in range(2)] == [SORRY, SORRY]
        wire.send(post(body))
        assert wire.response().text == SORRY
    with Wire(speechless.port) as wire:
        wire.send(post(body).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.ended()
        head, _, said = wire.buffer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower() and "é✓".encode() in said
        assert (b"[DONE]" in said) is stream


def test_the_deadline_leaves_time_for_a_word(lab: Lab, start_router: Start) -> None:
    slow = models(slow=deployment("openai", "slow"))
    waits = {"timeouts": {"total_ms": 300}, "degrade": [{"candidates": ["cheap"]}, {"reply": SORRY}]}
    router = start_router(routes(lab, {"r": {"candidates": ["slow"]} | waits}, slow))
    answer = ask(router, "r")
    assert (answer.status, answer.text, answer.headers["x-pointsman-degraded"]) == (200, SORRY, "reply")


def test_a_client_that_allows_one_attempt_gets_one_and_the_last_word(own_lab: Lab, start_router: Start) -> None:
    own_lab.script(broken(*ALL))
    router = start_router(routes(own_lab, {"r": LADDER}))
    answer = ask(router, "r", pointsman={"attempts": 1})
    assert answer.text == SORRY and len(settled(router, answer).attempts) == 1


def test_a_stream_that_broke_after_its_first_words_is_not_patched_up(own_lab: Lab, start_router: Start) -> None:
    own_lab.script([{"do": "reset", "at": "content:3", "match": {"provider": "anthropic"}}])
    router = start_router(routes(own_lab, {"r": LADDER}))
    answer = ask(router, "r", stream=True)
    assert not answer.done and "error" in answer.events[-1] and SORRY not in answer.text
    assert answer.headers["x-pointsman-degraded"] == "no" and settled(router, answer).degraded == ""
    own_lab.script(broken(*ALL))
    assert ask(router, "r", stream=True).text == SORRY  # and was not kept as an answer


def test_the_arm_and_the_way_are_told_with_a_degraded_answer_too(own_lab: Lab, start_router: Start) -> None:
    own_lab.script(broken(*ALL))
    arms = {"one": {"weight": 1}, "two": {"weight": 1}}
    for ladder in ([{"reply": SORRY}], [{"refuse": {"retry_after": 1}}]):
        router = start_router(
            routes(own_lab, {"r": {"candidates": ["good"], "degrade": ladder, "split": {"arms": arms}}})
        )
        answer = ask(router, "r")
        assert answer.headers["x-pointsman-arm"] in ("r/one", "r/two")
        assert answer.headers["x-pointsman-reason"].startswith("r arm ")


def test_answers_of_rungs_are_counted_by_route_and_rung(own_lab: Lab, start_router: Start) -> None:
    own_lab.script(broken("anthropic"))
    ladder = [{"candidates": ["cheap"]}, {"reply": SORRY}]
    config = {"r": {"candidates": ["good"], "degrade": ladder}, "last": {"candidates": ["good"], "degrade": ladder[1:]}}
    router = start_router(routes(own_lab, config))
    for name in ("r", "r", "last"):
        assert ask(router, name).status == 200
    text = fetch(router, "/metrics").body.decode()
    assert 'pointsman_degraded_total{route="r",rung="rung-1"} 2\n' in text
    assert 'pointsman_degraded_total{route="last",rung="reply"} 1\n' in text

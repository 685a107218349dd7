"""Answers given to similar questions: which, to whom, how often they are wrong, and what follows (fault 92, I23)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_alike import result
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_policy import settled
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router, until

from pointsman.core.entry import Settled

StartRouter = Callable[..., Router]
RESET = ("How do I reset my password?", "How can I reset my password, please?")
HOURS = ("What are the opening hours in Berlin?", "In Berlin, what are the opening hours?")


class Told:
    """Answer every question with the text that is set now."""

    def __init__(self, text: str = "Open the settings and press Reset.") -> None:
        self.text = text

    def __call__(self, sock: Any, body: bytes) -> None:
        if json.loads(body).get("stream"):
            event = text_event(self.text) + FINISH + DONE
            sock.sendall(stream_head() + chunk(event) + b"0\r\n\r\n")
        else:
            sock.sendall(whole(REPLY.replace(b'"hi"', json.dumps(self.text).encode())))


def config(capture: Capture, **semantic: Any) -> dict[str, Any]:
    cache = {"ttl": "1h", "semantic": {"check": 0} | semantic}
    return capture_config(capture) | {"routes": {"r": {"candidates": ["cap"], "cache": cache}}}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def capture(told: Told) -> Iterator[Capture]:
    with Capture(told) as running:
        yield running


def say(router: Router, text: str, *lines: str, **more: Any) -> Response:
    return ask(router, "r", *lines, text=text, **more)


def thumb(router: Router, request_id: str, thumbs: str = "down", auth: str = "") -> None:
    body = json.dumps({"request_id": request_id, "thumbs": thumbs}).encode()
    with Wire(router.port) as wire:
        extra = {"auth": auth} if auth else {}
        wire.send(post(body, path="/v1/feedback", **extra))
        assert wire.response().status == 202


def metric(router: Router, start: str) -> float:
    lines = fetch(router, "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("first", [False, True], ids=["reply-first", "stream-first"])
def test_a_similar_question_gets_the_answer_of_the_other(
    start_router: StartRouter, capture: Capture, stream: bool, first: bool
) -> None:
    router = start_router(config(capture))
    one = say(router, RESET[0], stream=first)
    other = say(router, RESET[1], stream=stream, user="somebody")
    assert (result(one), result(other)) == ("miss", "semantic") and one.text == other.text and one.text
    assert len(capture.requests) == 1
    headers = other.headers
    assert 0.7 <= float(headers["x-pointsman-similarity"]) <= 1.0 and headers["age"] == "0"
    assert headers["x-pointsman-reason"] == "cache:semantic" and headers["x-pointsman-cost-usd"] == "0"
    assert result(say(router, RESET[0])) == "hit"  # the exact one goes before
    row = settled(router, other)
    assert (row.cache, row.outcome, row.attempts) == ("semantic", "ok", ())
    assert row.hit is not None and row.hit.request_id == one.id and row.hit.saved_nano > 0
    assert metric(router, 'pointsman_cache_requests_total{route="r",result="semantic"}') == 1
    router.check_books()


def test_f92_what_says_something_else_is_asked(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture, threshold=0.5))
    assert result(say(router, "How do I enable alerts for 5 users in Berlin?")) == "miss"
    for text in (
        "How do I disable alerts for 5 users in Berlin?",
        "How do I enable alerts for 6 users in Berlin?",
        "How do I enable alerts for 5 users in Bonn?",
        "How do I not enable alerts for 5 users in Berlin?",
        "Why do I enable alerts for 5 users in Berlin?",
        "How do I enable alerts for 5 groups in Berlin?",
    ):
        assert result(say(router, text)) == "miss", text
    assert result(say(router, "In Berlin, how can I enable alerts for 5 users?")) in ("semantic", "miss")


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.5},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"seed": 4},
        {"n": 2},
        {"logprobs": True},
        {"pointsman": {"cache": "off"}},
        {"pointsman": {"cache": "refresh"}},
    ],
    ids=str,
)
def test_all_but_the_question_must_be_the_same(
    start_router: StartRouter, capture: Capture, more: dict[str, Any]
) -> None:
    router = start_router(config(capture))
    say(router, RESET[0])
    assert result(say(router, RESET[1], **more)) in ("miss", "refresh", "off")
    assert len(capture.requests) == 2


def test_earlier_turns_and_the_system_prompt_must_be_the_same(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))

    def turn(system: str, text: Any) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        return result(ask(router, "r", messages=messages))

    assert turn("Be brief.", RESET[0]) == "miss"
    assert turn("Be brief. ", RESET[1]) == "miss"
    assert turn("Be brief.", RESET[1] + " Thanks") == "semantic"
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    for _ in range(2):
        assert turn("Be kind.", [{"type": "text", "text": f"{RESET[_]}"}, image]) == "miss"


def test_the_calls_of_tools_are_not_given_to_other_questions(start_router: StartRouter) -> None:
    call = b'"content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]'
    with Capture(whole(REPLY.replace(b'"content":"hi"', call))) as calling:
        router = start_router(config(calling))
        assert [result(say(router, text)) for text in RESET] == ["miss", "miss"]


def test_an_answer_is_given_for_its_time_and_by_the_client_s_leave(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    say(router, RESET[0])
    assert say(router, HOURS[0], "cache-control: only-if-cached").status == 504
    assert result(say(router, RESET[1], "cache-control: only-if-cached")) == "semantic"
    until(lambda: result(say(router, RESET[1], "cache-control: max-age=1")) == "miss")


def test_a_route_without_it_keeps_no_questions(start_router: StartRouter, capture: Capture) -> None:
    made = config(capture)
    del made["routes"]["r"]["cache"]["semantic"]
    router = start_router(made)
    assert [result(say(router, text)) for text in RESET] == ["miss", "miss"]
    assert not (router.data / "similar").exists()


# --- I23: tenants
TENANTS = [
    {"name": "a", "key": "sk-test-a-0123456789abcdef", "project": "one"},
    {"name": "b", "key": "sk-test-b-0123456789abcdef", "project": "two"},
    {"name": "c", "key": "sk-test-c-0123456789abcdef", "project": "one"},
]


def as_key(router: Router, name: str, text: str, *lines: str) -> Response:
    with Wire(router.port) as wire:
        auth = f"authorization: Bearer sk-test-{name}-0123456789abcdef"
        wire.send(post(chat_body("r", text), *lines, auth=auth))
        return wire.response()


def test_i23_a_similar_question_of_another_tenant_finds_nothing(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture) | {"keys": TENANTS})
    first = as_key(router, "a", RESET[0])
    assert result(first) == "miss"
    assert result(as_key(router, "b", RESET[1])) == "miss"
    served = as_key(router, "c", RESET[1])
    assert result(served) == "semantic" and len(capture.requests) == 2
    thumb(router, served.id, auth="authorization: Bearer sk-test-b-0123456789abcdef")  # not theirs to judge
    again = RESET[0].replace("How do I", "How could I")
    assert result(as_key(router, "a", again)) == "semantic"
    assert metric(router, "pointsman_cache_checks_total") == 0


# --- restarts, workers
def test_questions_outlive_a_restart(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    say(router, RESET[0])
    until(lambda: [path for path in (router.data / "similar").glob("*") if len(path.name) == 24])
    until(lambda: list((router.data / "answers").glob("*/*")))
    router.term()
    router.wait_ended()
    router.start()
    assert result(say(router, RESET[1])) == "semantic" and len(capture.requests) == 1


def test_workers_share_questions_and_what_is_known(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    with Router(config(capture), router.data) as other:
        say(router, RESET[0])
        until(lambda: list((router.data / "similar").glob("?" * 24)) and list((router.data / "answers").glob("*/*")))
        served = say(other, RESET[1])
        assert result(served) == "semantic" and len(capture.requests) == 1
        until(lambda: (router.data / "similar" / "served").exists())
        thumb(router, served.id)
        until(lambda: result(say(other, RESET[1])) == "miss")  # when it has looked at what is known


# --- measured
def test_hits_are_checked_and_a_wrong_one_tightens(start_router: StartRouter, capture: Capture, told: Told) -> None:
    router = start_router(config(capture, check=1.0))
    first = say(router, RESET[0])
    assert result(say(router, RESET[1])) == "semantic"
    until(lambda: metric(router, 'pointsman_cache_checks_total{route="r",verdict="right"}') == 1)
    ends = until(lambda: len(found := [r for r in router.records() if isinstance(r, Settled)]) == 3 and found)
    assert sorted(end.cache for end in ends) == ["check", "miss", "semantic"]
    assert len(capture.requests) == 2 and "stream" not in json.loads(capture.body)
    assert result(say(router, RESET[1])) == "hit"  # it has an answer of its own now
    before = metric(router, 'pointsman_cache_threshold{route="r"}')
    for n, text in enumerate(
        ("How would I reset my password?", "How could I reset my password?", "How can I reset my passwords?")
    ):
        told.text = f"Nobody can do that; write to {n} Main Street."
        assert result(say(router, text)) == "semantic"
        until(lambda n=n: metric(router, 'pointsman_cache_checks_total{route="r",verdict="wrong"}') == n + 1)
    assert before == 0.7 and metric(router, 'pointsman_cache_threshold{route="r"}') == 0.85
    assert [one["alert"] for one in router.alerts()] == ["semantic_tightened"]
    assert settled(router, first).cache == "miss"
    router.check_books()


def test_a_check_that_a_quota_refuses_is_silent(start_router: StartRouter, capture: Capture) -> None:
    made = config(capture, check=1.0) | {"keys": [{"name": "dev", "key": KEY}]}
    router = start_router(made | {"quotas": [{"key": "dev", "requests": "2/d"}]})
    say(router, RESET[0])
    assert result(say(router, RESET[1])) == "semantic"
    until(lambda: metric(router, "pointsman_refused_total") == 1)
    assert len(capture.requests) == 1 and metric(router, "pointsman_cache_checks_total") == 0
    router.check_books()


def test_a_thumb_down_takes_the_answer_away(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    say(router, RESET[0])
    served = say(router, RESET[1], "x-request-id: mine")
    assert result(served) == "semantic"
    until(lambda: (router.data / "similar" / "served").exists())
    thumb(router, "mine", "up")
    thumb(router, "mine")
    thumb(router, "mine")  # once is enough: it is gone
    until(lambda: metric(router, 'pointsman_cache_checks_total{route="r",verdict="down"}') == 1)
    assert result(say(router, RESET[1])) == "miss"
    assert result(say(router, RESET[0])) == "hit"  # it was right for its own question


def test_too_many_wrong_ones_turn_it_off_for_good(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture, threshold=0.99, wrong_hits=0.2))
    for n in range(40):
        say(router, RESET[0], seed=n)
        answer = say(router, RESET[0].lower(), seed=n)
        if result(answer) == "miss":
            break
        until(lambda a=answer: a.status == 200 and (router.data / "similar" / "served").exists())
        before = metric(router, "pointsman_cache_checks_total")
        until(lambda a=answer, b=before: thumb(router, a.id) or metric(router, "pointsman_cache_checks_total") > b)
    assert metric(router, 'pointsman_cache_threshold{route="r"}') == 1.0
    router.term()
    router.wait_ended()
    router.start()
    assert result(say(router, RESET[0], seed=99)) == "miss"
    assert result(say(router, RESET[1], seed=99)) == "miss"

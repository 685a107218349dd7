"""What a client sees when providers fail in part: the last is kept (I15), a return is ramped (f39), `on` says who goes on."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from gateway_capture import DONE, REPLY, Capture, capture_config, chunk, stream_head, whole
from gateway_lab import SECRET, Lab, deployment, small_config
from gateway_raw import ask, fetch
from gateway_router import Router, until

StartRouter = Callable[..., Router]
BOOM = whole(b'{"error":{"message":"boom","type":"server_error","code":null}}', status="500 Internal Server Error")
FILTERED = whole(
    b'{"error":{"message":"no","type":"invalid_request_error","code":"content_policy_violation"}}',
    status="400 Bad Request",
)
LIMITED = whole(
    b'{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}',
    "retry-after: 30",
    status="429 Too Many Requests",
)


@pytest.fixture
def odd() -> Iterator[Capture]:
    with Capture() as running:
        yield running


def setup(lab: Lab, odd: Capture, routes: dict[str, Any], **limits: Any) -> dict[str, Any]:
    provider = {"dialect": "openai", "base_url": odd.url, "api_key": "sk-odd-0001"}
    return small_config(
        lab,
        {
            "odd": {"provider": "odd", "model": "m", "price": {"input": 1, "output": 2}},
            "good": deployment("openai", "m"),
            "spare": deployment("anthropic", "m"),
        },
        routes,
        providers={"odd": provider},
        limits={"breaker_open_ms": 60_000} | limits,
    )


def standing(router: Router, name: str) -> dict[str, Any]:
    told = fetch(router, "/v1/health/deployments").json["deployments"]
    found: dict[str, Any] = next(one for one in told if one["deployment"] == name)
    return found


def every_third_fails(odd: Capture) -> None:
    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(BOOM if len(odd.requests) % 3 == 0 else whole(REPLY))

    odd.play = play


# --- I15
def test_i15_the_only_one_that_answers_most_requests_is_used_though_it_is_ejected(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    every_third_fails(odd)
    routes = {"alone": {"candidates": ["odd"], "attempts": 1}, "pair": {"candidates": ["odd", "good"]}}
    router = start_router(setup(lab, odd, routes))
    statuses = [ask(router, "alone").status for _ in range(60)]
    assert fetch(router, "/health").json["deployments"]["odd"] == "open"
    assert statuses.count(200) >= 38 and standing(router, "odd")["last_resort"]
    sent = len(odd.requests)
    assert {ask(router, "pair").headers["x-pointsman-deployment"] for _ in range(6)} == {"good"}
    assert len(odd.requests) == sent  # elsewhere it is left alone


def test_f38_what_stops_answering_altogether_is_refused_at_once_all_the_same(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    every_third_fails(odd)
    router = start_router(setup(lab, odd, {"alone": {"candidates": ["odd"], "attempts": 1}}))
    for _ in range(60):
        ask(router, "alone")
    assert standing(router, "odd")["last_resort"]
    odd.play = Capture._always(BOOM)
    for _ in range(5):
        ask(router, "alone")
    sent = len(odd.requests)
    answer = ask(router, "alone")
    assert answer.status == 503 and router.settled(answer.id).attempts == () and len(odd.requests) == sent
    assert not standing(router, "odd")["last_resort"]


# --- slow start, unreachable
def test_f39_a_closed_breaker_takes_a_growing_share_of_first_sends(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(BOOM)
    routes = {"pair": {"candidates": ["odd", "good"]}}
    router = start_router(setup(lab, odd, routes, breaker_failures=1, breaker_open_ms=200, slow_start_ms=600_000))
    assert ask(router, "pair").status == 200
    odd.play = Capture._always(whole(REPLY))
    until(lambda: fetch(router, "/health").json["deployments"]["odd"] == "half_open", 3)
    assert ask(router, "pair").headers["x-pointsman-deployment"] == "odd"  # the probe
    assert standing(router, "odd")["breaker"] == "closed" and standing(router, "odd")["share"] == 0.1
    answers = [ask(router, "pair") for _ in range(100)]
    taken = sum(answer.headers["x-pointsman-deployment"] == "odd" for answer in answers)
    assert 1 <= taken <= 30
    by_it = next(answer for answer in answers if answer.headers["x-pointsman-deployment"] == "good")
    assert router.admitted(by_it.id).snapshot.calm is False


def test_f03_what_cannot_be_reached_is_counted_apart_and_ejected_sooner(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    config = setup(lab, odd, {"pair": {"candidates": ["odd", "good"]}}, breaker_unreachable=2, breaker_failures=5)
    config["providers"]["odd"]["base_url"] = "http://127.0.0.1:9/v1"
    router = start_router(config)
    assert ask(router, "pair").status == 200
    assert (standing(router, "odd")["failures"], standing(router, "odd")["unreachable"]) == (1, 1)
    assert ask(router, "pair").status == 200
    assert standing(router, "odd")["breaker"] == "open"


# --- on
def test_f23_a_content_filter_goes_on_where_on_says_and_touches_no_health(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(FILTERED)
    routes = {
        "plain": {"candidates": ["odd", "good"]},
        "named": {"candidates": ["odd", "good"], "on": {"content_filter": ["other"]}},
        "other": {"candidates": ["spare"]},
    }
    router = start_router(setup(lab, odd, routes, breaker_failures=1))
    answer = ask(router, "plain")
    assert answer.status == 400 and answer.error["code"] == "content_filter"
    for stream in (False, True):
        answer = ask(router, "named", stream=stream)
        assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "spare"
        assert answer.headers["x-pointsman-degraded"] == "no"
        booked = router.settled(answer.id).attempts
        assert [(row.deployment, row.outcome) for row in booked] == [("odd", "content_filter"), ("spare", "ok")]
    assert fetch(router, "/health").json["deployments"]["odd"] == "closed"


def test_on_rate_limited_holds_while_the_candidates_rest(lab: Lab, odd: Capture, start_router: StartRouter) -> None:
    odd.play = Capture._always(LIMITED)
    router = start_router(setup(lab, odd, {"r": {"candidates": ["odd"], "on": {"rate_limited": ["spare"]}}}))
    first, second = ask(router, "r"), ask(router, "r")
    assert [row.deployment for row in router.settled(first.id).attempts] == ["odd", "spare"]
    assert [row.deployment for row in router.settled(second.id).attempts] == ["spare"]
    assert second.headers["x-pointsman-reason"] == "on:spare" and second.headers["x-pointsman-attempts"] == "1"
    assert len(odd.requests) == 1


# --- fault 27: a whole answer that says nothing
def unary(message: bytes, finish: bytes = b"stop") -> bytes:
    return whole(
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"up-1","choices":[{"index":0,"message":%b,'
        b'"finish_reason":"%b"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
        % (message, finish)
    )


def streamed(finish: bytes = b"stop") -> bytes:
    head = (
        b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    )
    end = b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{},"finish_reason":"%b"}]}\n\n' % finish
    return stream_head() + chunk(head) + chunk(end) + chunk(DONE) + b"0\r\n\r\n"


NOTHING = b'{"role":"assistant","content":""}'
EMPTY = {
    "empty": NOTHING,
    "null": b'{"role": "assistant", "content": null, "refusal": null}',
    "spaced": b'{"role" : "assistant", "content" : ""}',
    "absent": b'{"role":"assistant"}',
    "no calls": b'{"role":"assistant","content":null,"tool_calls":[]}',
}


def outcomes(router: Router, id: str) -> list[str]:
    return [row.outcome for row in router.settled(id).attempts]


@pytest.mark.parametrize("message", EMPTY.values(), ids=EMPTY)
def test_f27_an_answer_that_says_nothing_is_asked_for_once_more_elsewhere(
    message: bytes, lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(unary(message))
    routes = {"next": {"candidates": ["odd", "good"]}, "pass": {"candidates": ["odd", "good"], "on_empty": "pass"}}
    router = start_router(setup(lab, odd, routes, breaker_failures=1))
    answer = ask(router, "next")
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"]
    assert outcomes(router, answer.id) == ["silent", "ok"]
    assert router.settled(answer.id).attempts[0].usage.output_tokens == 1  # it is paid for
    answer = ask(router, "pass")
    assert answer.status == 200 and not answer.json["choices"][0]["message"].get("content")
    assert outcomes(router, answer.id) == ["ok"]
    assert fetch(router, "/health").json["deployments"]["odd"] == "closed"
    assert 'pointsman_silent_answers_total{deployment="odd"} 2' in fetch(router, "/metrics").body.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_f27_where_nobody_says_more_the_client_gets_what_came(
    stream: bool, lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(streamed() if stream else unary(NOTHING))
    routes = {
        "one": {"candidates": ["odd"]},
        "twice": {"candidates": ["odd", "odd2"]},
        "bad": {"candidates": ["odd", "gone"]},
    }
    config = setup(lab, odd, routes)
    config["providers"]["gone"] = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-gone-0001"}
    config["deployments"] |= {"odd2": config["deployments"]["odd"] | {"model": "m2"}}
    config["deployments"]["gone"] = config["deployments"]["odd"] | {"provider": "gone"}
    router = start_router(config)
    for route, expected in (("one", ["silent"]), ("twice", ["silent", "ok"]), ("bad", ["silent", "unreachable"])):
        answer = ask(router, route, stream=stream)
        assert answer.status == 200, answer.body
        assert answer.done if stream else answer.json["choices"][0]["finish_reason"] == "stop"
        booked = router.settled(answer.id)
        assert (booked.outcome, [row.outcome for row in booked.attempts]) == ("ok", expected)
        assert answer.headers["x-pointsman-deployment"] == ("odd2" if route == "twice" else "odd")
    router.check_books()


def test_f27_a_stream_that_says_nothing_is_asked_for_once_more_elsewhere(
    lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(streamed())
    router = start_router(setup(lab, odd, {"next": {"candidates": ["odd", "spare"]}}))
    answer = ask(router, "next", stream=True)
    assert answer.done and answer.text and outcomes(router, answer.id) == ["silent", "ok"]


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
def test_f27_holds_for_translated_wires(dialect: str, stream: bool, own_lab: Lab, start_router: StartRouter) -> None:
    own_lab.script([{"do": "no_content", "match": {"provider": dialect}}])
    deployments = {"mute": deployment(dialect, "m"), "good": deployment("openai", "m")}
    router = start_router(small_config(own_lab, deployments, {"r": {"candidates": ["mute", "good"]}}))
    answer = ask(router, "r", stream=stream)
    assert answer.status == 200 and outcomes(router, answer.id) == ["silent", "ok"]


@pytest.mark.parametrize("message", [
    b'{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}',
    b'{"role":"assistant","content":null,"refusal":"I will not"}',
    b'{"role":"assistant","content":"0"}',
])  # fmt: skip
def test_f27_what_says_anything_is_an_answer(message: bytes, lab: Lab, odd: Capture, start_router: StartRouter) -> None:
    odd.play = Capture._always(unary(message))
    router = start_router(setup(lab, odd, {"next": {"candidates": ["odd", "good"]}}))
    assert outcomes(router, ask(router, "next").id) == ["ok"]
    odd.play = Capture._always(unary(NOTHING, b"length"))  # all went into thinking
    assert outcomes(router, ask(router, "next").id) == ["ok"]


@pytest.mark.parametrize("stream", [False, True])
def test_f23_a_filter_that_left_nothing_of_a_200_goes_on_where_on_says(
    stream: bool, lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(streamed(b"content_filter") if stream else unary(NOTHING, b"content_filter"))
    routes = {"r": {"candidates": ["odd", "good"]}, "on": {"candidates": ["odd"], "on": {"content_filter": ["good"]}}}
    router = start_router(setup(lab, odd, routes))
    assert outcomes(router, ask(router, "r", stream=stream).id) == ["ok"]
    answer = ask(router, "on", stream=stream)
    assert answer.status == 200 and outcomes(router, answer.id) == ["content_filter", "ok"]


# --- alerts: what a person has to mend
def error(status: str, code: str) -> bytes:
    return whole(
        b'{"error":{"message":"sk-odd-0001 is no good","type":"x","code":"%b"}}' % code.encode(), status=status
    )


@pytest.mark.parametrize(("reply", "kind"), [
    (error("401 Unauthorized", "invalid_api_key"), "auth"),
    (error("404 Not Found", "model_not_found"), "not_found"),
    (error("429 Too Many Requests", "insufficient_quota"), "quota_exhausted"),
], ids=["f19_key_refused", "f20_model_gone", "f17_quota_used_up"])  # fmt: skip
def test_f17_f19_f20_what_a_person_has_to_mend_is_told_once_and_its_return_too(
    reply: bytes, kind: str, lab: Lab, odd: Capture, start_router: StartRouter
) -> None:
    odd.play = Capture._always(reply)
    config = setup(
        lab, odd, {"pair": {"candidates": ["odd", "odd2", "good"]}}, breaker_open_ms=300, breaker_open_max_ms=300
    )
    config["deployments"]["odd2"] = config["deployments"]["odd"] | {"model": "other", "provider": "good-account"}
    config["providers"]["good-account"] = {"dialect": "openai", "base_url": lab.base_url("openai"), "api_key": SECRET}
    config["deployments"]["odd2"]["model"] = "m"
    router = start_router(config)
    assert ask(router, "pair").headers["x-pointsman-deployment"] == "odd2"  # that deployment only
    told = {"alert": kind, "deployment": "odd", "provider": "odd"}
    [alert] = until(router.alerts)
    assert {name: alert[name] for name in told} == told and alert["means"] and "for_s" in alert
    until(lambda: fetch(router, "/health").json["deployments"]["odd"] == "half_open", 3)
    assert ask(router, "pair").status == 200  # the probe fails: no news
    odd.play = Capture._always(whole(REPLY))
    until(lambda: fetch(router, "/health").json["deployments"]["odd"] == "half_open", 3)
    assert ask(router, "pair").headers["x-pointsman-deployment"] == "odd"
    alerts = until(lambda: router.alerts()[1:] and router.alerts(), 4)
    assert alerts[1:] == [{"alert": "returned", "after": kind, "deployment": "odd", "provider": "odd"}]
    metrics = fetch(router, "/metrics").body.decode()
    assert f'pointsman_alerts_total{{deployment="odd",alert="{kind}"}} 1' in metrics
    assert 'pointsman_alerts_total{deployment="odd",alert="returned"} 1' in metrics
    assert "sk-odd" not in router.errors()  # I24


def test_f05_a_certificate_that_does_not_hold_is_told(start_router: StartRouter) -> None:
    paper = trustme.CA().issue_cert("127.0.0.1")  # of nobody the router trusts
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    paper.configure_cert(context)
    with Capture(tls=context) as untrusted:
        router = start_router(capture_config(untrusted))
        assert ask(router, "cap").error["code"] == "provider_untrusted"
        [alert] = until(router.alerts)
        assert (alert["alert"], alert["deployment"]) == ("untrusted", "cap") and untrusted.requests == []

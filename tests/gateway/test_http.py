"""Plain HTTP/1.1 as curl and odd clients speak it."""

from __future__ import annotations

import pytest
from gateway_raw import AUTH, Wire, ask, chat_body, fetch, get, post
from gateway_router import KEY, Router

HELLO = chat_body("openai-m")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions?api-version=2024"])
def test_both_spellings_of_the_path_and_a_query_are_one_endpoint(router: Router, path: str) -> None:
    with Wire(router.port) as wire:
        wire.send(post(HELLO, path=path))
        answer = wire.response()
    assert answer.status == 200 and answer.text


def test_models_answer_on_both_paths(router: Router) -> None:
    for path in ("/v1/models", "/models"):
        answer = fetch(router, path)
        assert answer.status == 200 and answer.json["object"] == "list"
    assert fetch(router, "/v1/models/openai-m").json["id"] == "openai-m"
    assert fetch(router, "/models/any").json["owned_by"] == "pointsman"


@pytest.mark.parametrize(
    "auth",
    [
        AUTH,
        f"Authorization: bearer {KEY}",
        f"AUTHORIZATION: BEARER {KEY}",
        f"authorization:Bearer   {KEY}  ",
        f"x-api-key: {KEY}",
        f"X-Api-Key: {KEY}",
        f"api-key: {KEY}",
    ],
)
def test_a_key_is_taken_in_every_usual_header(router: Router, auth: str) -> None:
    with Wire(router.port) as wire:
        wire.send(post(HELLO, auth=auth))
        assert wire.response().status == 200


@pytest.mark.parametrize("auth", ["", "authorization: Basic Zm9vOmJhcg==", "authorization: Bearer", "x-api-key: "])
def test_without_a_usable_key_nobody_comes_in(router: Router, auth: str) -> None:
    with Wire(router.port) as wire:
        wire.send(post(HELLO, auth=auth))
        answer = wire.response()
    assert answer.status == 401
    assert answer.error["code"] in ("missing_api_key", "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_head_and_get_of_the_root_answer_probes(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(get("/", method="HEAD", auth=""))
        head = wire.response(bodyless=True)
        assert head.status == 200 and int(head.headers["content-length"]) > 0
        wire.send(get("/", auth=""))
        assert wire.response().json["name"] == "pointsman"  # nothing of a body came before it


def test_options_and_other_methods_get_a_clear_answer(router: Router) -> None:
    for method, path in (
        ("OPTIONS", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/models"),
    ):
        with Wire(router.port) as wire:
            wire.send(get(path, method=method))
            answer = wire.response()
        assert answer.status == 405, (method, path)
        assert answer.error["code"] == "method_not_allowed" and answer.error["origin"] == "client"
        assert answer.headers["allow"]


def test_an_unknown_path_is_not_found(router: Router) -> None:
    answer = fetch(router, "/v1/engines/davinci")
    assert answer.status == 404 and answer.error["code"] == "endpoint_not_found"


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_refused_or_ignored_in_the_callers_shape(router: Router, upgrade: str) -> None:
    lines = (f"Upgrade: {upgrade}", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    with Wire(router.port) as wire:
        wire.send(get("/v1/realtime", *lines))
        answer = wire.response()
    assert answer.status in (400, 404, 426)
    assert answer.error["origin"] == "client"
    assert ask(router, "openai-m").status == 200


def test_http_1_0_gets_its_answer_and_the_end_of_the_connection(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(HELLO).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.response().status == 200
        assert wire.ended(2)


def test_a_stream_to_http_1_0_has_no_chunks(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("openai-m", stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head = wire.head()
        assert wire.ended(3)
    assert head.status == 200
    if "transfer-encoding" not in head.headers:
        assert wire.buffer.startswith(b"data: ") and wire.buffer.endswith(b"data: [DONE]\n\n")
    else:
        pytest.fail("chunked transfer coding to an HTTP/1.0 client (RFC 9112 section 6.1)")


def test_connection_close_is_obeyed(router: Router) -> None:
    for stream in (False, True):
        with Wire(router.port) as wire:
            wire.send(post(chat_body("openai-m", stream=stream), "Connection: close"))
            answer = wire.response()
            assert answer.status == 200
            assert answer.headers["connection"] == "close"
            assert wire.ended(2)


def test_a_connection_is_kept_for_many_requests(router: Router) -> None:
    with Wire(router.port) as wire:
        ids = set()
        for i in range(12):
            wire.send(post(chat_body("openai-m", stream=bool(i % 2))))
            answer = wire.response()
            assert answer.status == 200
            ids.add(answer.id)
    assert len(ids) == 12


def test_an_error_does_not_cost_the_connection(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(b"{not json"))
        assert wire.response().status == 400
        wire.send(post(chat_body("nobody")))
        assert wire.response().status == 404
        wire.send(post(HELLO))
        assert wire.response().status == 200


def test_pipelined_requests_are_answered_in_order(router: Router) -> None:
    with Wire(router.port) as wire:
        bodies = [chat_body("openai/stall-content", stream=True), chat_body("nobody"), HELLO]
        wire.send(b"".join(post(body, f"x-request-id: p{i}") for i, body in enumerate(bodies)))
        answers = [wire.response() for _ in bodies]
    assert [a.status for a in answers] == [200, 404, 200]
    assert "error" in answers[0].events[-1]  # the slow one was waited for
    assert answers[2].headers["x-request-id"] == "p2"


def test_a_request_that_comes_in_small_pieces_is_read(router: Router) -> None:
    data = post(HELLO)
    with Wire(router.port) as wire:
        for at in range(0, len(data), 7):
            wire.send(data[at : at + 7])
        assert wire.response().status == 200


def test_a_chunked_request_body_is_read(router: Router) -> None:
    half = len(HELLO) // 2
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (HELLO[:half], HELLO[half:])) + b"0\r\n\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{AUTH}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    with Wire(router.port) as wire:
        wire.send(head + body)
        assert wire.response().status == 200


def test_expect_100_continue_is_answered_before_the_body(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(HELLO, "Expect: 100-continue")[: -len(HELLO)])
        assert wire.head().status == 100
        wire.send(HELLO)
        assert wire.response().status == 200


def test_expect_100_continue_with_a_bad_key_gets_the_refusal_instead(router: Router) -> None:
    with Wire(router.port, timeout_s=3) as wire:
        wire.send(post(HELLO, "Expect: 100-continue", auth="authorization: Bearer sk-wrong")[: -len(HELLO)])
        assert wire.response().status == 401


def test_s02_a_bad_key_is_refused_before_the_body_is_sent(router: Router) -> None:
    with Wire(router.port, timeout_s=3) as wire:
        wire.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-wrong\r\n"
            b"content-length: 30000000\r\n\r\n"
        )
        answer = wire.response()
    assert answer.status == 401
    assert answer.headers.get("connection") == "close"

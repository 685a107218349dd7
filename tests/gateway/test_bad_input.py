"""Bad bodies: a clear error in the caller's shape, in bounded memory and time, and the worker goes on (fault 68, I34)."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable

import pytest
from gateway_lab import Lab, router_config
from gateway_raw import AUTH, Response, Wire, ask, chat_body, fetch, post, send_what_goes
from gateway_router import Router

MIB = 1024 * 1024


def tell(router: Router, body: bytes, *lines: str) -> Response:
    with Wire(router.port) as wire:
        wire.send(post(body, *lines))
        return wire.response()


def check_refused(answer: Response, status: int, code: str = "invalid_request") -> str:
    """Check an error in OpenAI's shape that says whose fault it is and where to look; return its message."""
    assert answer.status == status, answer.body[:300]
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.error
    assert (error["code"], error["origin"]) == (code, "client")
    assert error["type"] and error["message"] and "param" in error
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "retry-after" not in answer.headers
    assert len(answer.body) < 2000
    return str(error["message"])


@pytest.fixture(autouse=True)
def _goes_on(router: Router) -> object:
    """After each of these the worker is alive, small, and serves."""
    before = router.rss_bytes()
    yield
    assert router.alive
    assert ask(router, "openai-m").status == 200
    assert router.rss_bytes() - before < 160 * MIB


_START = b'{"model":"openai-m","messages":[{"role":"user","content":"hi"}]'
MALFORMED = {
    "nothing": b"",
    "not json": b"hello",
    "cut": _START,
    "trailing comma": _START + b",}",
    "single quotes": b"{'model': 'openai-m'}",
    "text behind": _START + b"} {}",
    "nan": _START + b',"temperature":NaN}',
    "infinity": _START + b',"temperature":-Infinity}',
    "invalid utf-8": b'{"model":"openai-m","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "overlong utf-8": b'{"model":"openai-m","messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "utf-8 surrogate": b'{"model":"openai-m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "utf-16": json.dumps({"model": "openai-m"}).encode("utf-16"),
    "control character": b'{"model":"openai-m","messages":[{"role":"user","content":"a\x00b"}]}',
    "list": b"[]",
    "text": b'"model"',
    "null": b"null",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_f68_a_body_that_is_no_json_object_is_a_400(router: Router, body: bytes) -> None:
    check_refused(tell(router, body), 400)


_MESSAGES = '"messages":[{"role":"user","content":"hi"}]'
WRONG = {
    "no model": "{%s}" % _MESSAGES,  # noqa: UP031
    "model null": '{"model":null,%s}' % _MESSAGES,  # noqa: UP031
    "model a number": '{"model":7,%s}' % _MESSAGES,  # noqa: UP031
    "no messages": '{"model":"openai-m"}',
    "messages empty": '{"model":"openai-m","messages":[]}',
    "messages blank": '{"model":"openai-m","messages":[ \\n ]}'.replace("\\n", "\n"),
    "messages a text": '{"model":"openai-m","messages":"hi"}',
    "messages null": '{"model":"openai-m","messages":null}',
    "stream a text": '{"model":"openai-m","stream":"yes",%s}' % _MESSAGES,  # noqa: UP031
    "max_tokens a text": '{"model":"openai-m","max_tokens":"9",%s}' % _MESSAGES,  # noqa: UP031
    "max_tokens zero": '{"model":"openai-m","max_tokens":0,%s}' % _MESSAGES,  # noqa: UP031
    "max_tokens huge": '{"model":"openai-m","max_tokens":1e400,%s}' % _MESSAGES,  # noqa: UP031
    "n zero": '{"model":"openai-m","n":0,%s}' % _MESSAGES,  # noqa: UP031
    "n huge": '{"model":"openai-m","n":100000,%s}' % _MESSAGES,  # noqa: UP031
    "stream_options a list": '{"model":"openai-m","stream":true,"stream_options":[],%s}' % _MESSAGES,  # noqa: UP031
    "router option unknown": '{"model":"openai-m","pointsman":{"timeout":1},%s}' % _MESSAGES,  # noqa: UP031
    "router option wrong": '{"model":"openai-m","pointsman":{"timeout_ms":"soon"},%s}' % _MESSAGES,  # noqa: UP031
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_member_of_the_wrong_type_is_a_400_that_names_it(router: Router, body: str) -> None:
    check_refused(tell(router, body.encode()), 400)


def test_an_unknown_model_is_a_404_that_names_it_in_bounds(router: Router) -> None:
    assert "nobody" in check_refused(tell(router, chat_body("nobody")), 404, "model_not_found")
    check_refused(tell(router, chat_body("x" * 100_000)), 404, "model_not_found")
    check_refused(tell(router, chat_body("a\r\nx-evil: 1")), 404, "model_not_found")


def test_f111_nothing_a_client_writes_becomes_a_header(router: Router) -> None:
    answer = tell(router, chat_body("openai-m"), "x-request-id: ok-1 \tx")
    assert answer.status in (200, 400)
    assert "x-evil" not in answer.headers


HUGE = ("max_tokens", "max_completion_tokens", "n", "pointsman.timeout_ms", "pointsman.attempts")


@pytest.mark.parametrize("member", HUGE)
@pytest.mark.parametrize("number", [2**63, 2**64, 10**30], ids=["2**63", "2**64", "10**30"])
def test_i23_a_huge_number_hurts_nobody(router: Router, member: str, number: int) -> None:
    outer, _, inner = member.partition(".")
    value = {inner: number} if inner else number
    with Wire(router.port, timeout_s=3) as other, Wire(router.port, timeout_s=3) as own:
        for stream in (False, True):
            own.send(post(chat_body("openai-m", stream=stream, **{outer: value})))
            other.send(post(chat_body("openai-m")))
            assert other.response().status == 200
            assert own.response().status in (200, 400)
    router.check_books()


def test_f68_a_lone_surrogate_ends_in_a_clear_way(router: Router) -> None:
    for model in ("openai-m", "anthropic-m", "gemini-m"):
        body = b'{"model":"%b","messages":[{"role":"user","content":"a\\ud800b"}]}' % model.encode()
        answer = tell(router, body)
        assert answer.status in (200, 400), model
        if answer.status == 400:
            assert answer.error["origin"] == "client"


def test_f68_duplicate_keys_do_not_confuse(router: Router) -> None:
    answer = tell(router, _START + b',"stream":true,"stream":false}')
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert answer.headers["content-type"] == "application/json"


def test_f68_a_million_messages_are_answered_in_bounds(router: Router) -> None:
    one = b'{"role":"user","content":"x"}'
    body = b'{"model":"openai-m","messages":[' + b",".join([one] * 1_000_000) + b"]}"
    before = router.cpu_s()
    answer = tell(router, body)
    assert answer.status in (400, 413)
    assert answer.error["code"] in ("context_length_exceeded", "invalid_request", "body_too_large")
    assert router.cpu_s() - before < 1.0


@pytest.mark.parametrize("deep", [b"[", b'{"a":'], ids=["lists", "objects"])
def test_f68_nesting_of_a_hundred_thousand_is_refused_quickly(router: Router, deep: bytes) -> None:
    close = b"]" if deep == b"[" else b"}"
    nested = deep * 100_000 + (b"" if deep == b"[" else b"1") + close * 100_000
    places = {
        "unknown member": _START + b',"x":' + nested + b"}",
        "messages": b'{"model":"openai-m","messages":' + nested + b"}",
        "content": b'{"model":"anthropic-m","messages":[{"role":"user","content":' + nested + b"}]}",
        "tools": _START + b',"tools":[' + nested + b"]}",
        "format": _START + b',"response_format":' + nested + b"}",
    }
    for place, body in places.items():
        before = router.cpu_s()
        answer = tell(router, body)
        assert answer.status == 400, place
        assert answer.error["origin"] in ("client", "provider"), place
        assert router.cpu_s() - before < 0.5, place


def test_f68_a_body_beyond_the_limit_is_refused_without_reading_it_all(router: Router) -> None:
    size = 40 * MIB
    head = post(b"")[:-4].replace(b"content-length: 0", b"content-length: %d" % size) + b"\r\n\r\n"
    before = router.rss_bytes()
    with Wire(router.port) as wire:
        wire.send(head)
        answer = wire.response()
        assert send_what_goes(wire, bytes(size)) < size
    assert answer.status == 413
    assert answer.error["code"] == "body_too_large" and answer.error["origin"] == "client"
    assert answer.error["request_id"] == answer.headers["x-request-id"]
    assert router.rss_bytes() - before < 8 * MIB


def test_f68_a_chunked_body_beyond_the_limit_is_cut_off(router: Router) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{AUTH}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    part = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
    with Wire(router.port) as wire:
        wire.send(head)
        sent = send_what_goes(wire, part * 80, len(part))
        assert sent < 80 * MIB
        assert wire.ended(3)
    assert not wire.buffer or b"413" in wire.buffer.split(b"\r\n")[0]


def test_a_body_within_the_limit_is_taken(router: Router) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 5 * MIB}}
    body = json.dumps({"model": "openai-m", "messages": [{"role": "user", "content": [picture]}]}).encode()
    assert tell(router, body).status == 200  # agents send big bodies


def test_f69_compressed_bodies_are_refused_unread(router: Router) -> None:
    for coding in ("gzip", "zstd", "deflate", "br"):
        answer = tell(router, gzip.compress(chat_body("openai-m")), f"content-encoding: {coding}")
        check_refused(answer, 415, "content_encoding_not_supported")
    assert tell(router, chat_body("openai-m"), "content-encoding: identity").status == 200


def test_bad_input_costs_no_ledger_row_and_is_counted(router: Router) -> None:
    before = len(router.records())
    tell(router, b"{")
    tell(router, chat_body("nobody"))
    assert len(router.records()) == before
    metrics = fetch(router, "/metrics").body.decode()
    assert 'pointsman_refused_total{code="invalid_request"}' in metrics
    assert 'pointsman_refused_total{code="model_not_found"}' in metrics


def test_i27_a_flood_of_wrong_keys_is_cheap(lab: Lab, start_router: Callable[..., Router]) -> None:
    router = start_router(router_config(lab))
    with Wire(router.port) as wire:
        before, start = router.cpu_s(), time.monotonic()
        for i in range(300):
            wire.send(post(b"{}", auth=f"authorization: Bearer sk-wrong-{i:020d}"))
            assert wire.response().status in (401, 429)
        assert router.cpu_s() - before < 0.3
        assert time.monotonic() - start < 2

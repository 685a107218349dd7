"""Bad HTTP: heads that smuggle, bombs and slow senders get 4xx or a closed connection, and nothing is forwarded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import AUTH, Wire, ask, chat_body, elapsed_ms, post, send_what_goes
from gateway_router import Router

StartRouter = Callable[..., Router]
MIB = 1024 * 1024
HELLO = chat_body("openai-m")
SIZE = f"content-length: {len(HELLO)}"


@pytest.fixture(autouse=True)
def _goes_on(router: Router) -> Iterator[None]:
    before, booked = router.rss_bytes(), len(router.records())
    yield
    assert router.alive
    assert len(router.records()) == booked  # nothing was admitted
    assert ask(router, "openai-m").status == 200
    assert router.rss_bytes() - before < 16 * MIB


def head(*lines: str, first: str = "POST /v1/chat/completions HTTP/1.1") -> bytes:
    return "\r\n".join([first, "host: x", AUTH, *lines]).encode("latin-1") + b"\r\n\r\n"


SMUGGLED = {
    "length and chunks": head(SIZE, "transfer-encoding: chunked") + b"0\r\n\r\n" + HELLO,
    "chunks and length": head("transfer-encoding: chunked", SIZE) + b"0\r\n\r\n" + HELLO,
    "two lengths": head(SIZE, "content-length: 5") + HELLO,
    "length list": head(f"content-length: {len(HELLO)}, {len(HELLO)}") + HELLO,
    "length negative": head("content-length: -5") + HELLO,
    "length hex": head("content-length: 0x10") + HELLO,
    "length plus": head(f"content-length: +{len(HELLO)}") + HELLO,
    "length enormous": head("content-length: 99999999999999999999999999") + HELLO,
    "folded header": head("x-a: 1\r\n folded", SIZE) + HELLO,
    "folded length": head("content-length:\r\n " + str(len(HELLO))) + HELLO,
    "nul in value": head("x-a: a\0b", SIZE) + HELLO,
    "cr in value": head("x-a: a\rx-b: 1", SIZE) + HELLO,
    "space before colon": head(f"content-length : {len(HELLO)}") + HELLO,
    "space in name": head("x a: 1", SIZE) + HELLO,
    "no colon": head("nonsense", SIZE) + HELLO,
    "bad version": head(SIZE, first="POST /v1/chat/completions HTTP/9.9") + HELLO,
    "bad method": head(SIZE, first="PO ST /v1/chat/completions HTTP/1.1") + HELLO,
    "bad chunk size": head("transfer-encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunked twice": head("transfer-encoding: chunked, chunked") + b"0\r\n\r\n",
    "te not chunked": head("transfer-encoding: gzip") + HELLO,
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "http2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "binary": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_f70_a_head_that_can_be_read_two_ways_is_refused_and_the_connection_closed(
    router: Router, lab: Lab, data: bytes
) -> None:
    served = len(lab.served())
    with Wire(router.port) as wire:
        wire.send(data)
        answer = wire.response()
        assert wire.ended(2)
    assert answer.status in (400, 413, 426, 431, 501, 505)
    assert answer.error["origin"] == "client"
    assert answer.headers["connection"] == "close"
    assert len(lab.served()) == served


def test_f70_one_header_of_a_mebibyte_is_a_431(router: Router) -> None:
    with Wire(router.port) as wire:
        send_what_goes(wire, head("x-bomb: " + "a" * MIB, SIZE))
        answer = wire.response()
        assert wire.ended(2)
    assert answer.status == 431
    assert answer.error["code"] == "headers_too_large"


def test_i33_a_refusal_before_admission_names_its_request(router: Router, hasty: Router) -> None:
    cases = (
        (router, SMUGGLED["bad chunk size"]),
        (router, head("x-bomb: " + "a" * 40_000, SIZE)),
        (router, head("content-length: 90000000")),
        (hasty, post(chat_body("a"))[:-10]),
    )
    for place, data in cases:
        with Wire(place.port) as wire:
            wire.send(data)
            answer = wire.response()
        assert answer.error.get("request_id", "absent") == answer.headers.get("x-request-id"), answer.status


def test_f70_ten_thousand_headers_are_a_431(router: Router) -> None:
    with Wire(router.port) as wire:
        send_what_goes(wire, head(*(f"x-{i}: {i}" for i in range(10_000)), SIZE))
        answer = wire.response()
        assert wire.ended(2)
    assert answer.status == 431


def test_f70_a_target_of_a_mebibyte_is_refused(router: Router) -> None:
    with Wire(router.port) as wire:
        send_what_goes(wire, head(SIZE, first=f"POST /{'a' * MIB} HTTP/1.1"))
        answer = wire.response()
        assert wire.ended(2)
    assert answer.status in (414, 431)


def test_f70_trailers_without_end_are_cut_off(router: Router) -> None:
    data = (
        head("transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(90_000))
    )
    with Wire(router.port) as wire:
        send_what_goes(wire, data)
        assert wire.ended(3)


def test_f70_tiny_chunks_do_not_cost_much(router: Router) -> None:
    data = head("transfer-encoding: chunked") + b"1;ext=" + b"a" * 64 + b"\r\n \r\n"
    before = router.cpu_s()
    with Wire(router.port) as wire:
        send_what_goes(wire, data + (b"1\r\n \r\n" * 200_000) + b"0\r\n\r\n")
        assert wire.response().status == 400
    assert router.cpu_s() - before < 1.0


LIMITS = {"header_ms": 300, "body_ms": 300, "keepalive_ms": 300}


@pytest.fixture(scope="module")
def hasty(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router that waits for nobody."""
    config = small_config(
        lab, {"a": deployment("openai", "m"), "slow": deployment("openai", "slow")}, {}, limits=LIMITS
    )
    with Router(config, tmp_path_factory.mktemp("hasty")) as running:
        yield running
        running.check_quiet()


def wait_closed(wire: Wire, start: float) -> float:
    assert wire.ended(4)
    return elapsed_ms(start)


def test_f67_a_head_that_drips_is_cut_off(hasty: Router) -> None:
    start = time.monotonic()
    with Wire(hasty.port) as wire:
        for byte in post(HELLO):
            if not send_what_goes(wire, bytes([byte])) or elapsed_ms(start) > 3000:
                break
            time.sleep(0.05)
        took = wait_closed(wire, start)
    assert took < 2500
    assert not wire.buffer or b" 408 " in wire.buffer.split(b"\r\n")[0]


def test_f67_a_body_that_drips_is_cut_off_with_a_408(hasty: Router) -> None:
    start = time.monotonic()
    with Wire(hasty.port) as wire:
        wire.send(post(chat_body("a")).replace(b"\r\n\r\n", b"\r\n\r\n", 1)[:-40])
        for _ in range(60):
            if not send_what_goes(wire, b" ") or elapsed_ms(start) > 3000:
                break
            time.sleep(0.05)
        took = wait_closed(wire, start)
    assert took < 2500
    assert not wire.buffer or b" 408 " in wire.buffer.split(b"\r\n")[0]


def test_f67_a_body_that_stops_gets_a_408(hasty: Router) -> None:
    with Wire(hasty.port) as wire:
        wire.send(post(chat_body("a"))[:-10])
        answer = wire.response()
        assert wire.ended(1)
    assert answer.status == 408 and answer.error["code"] == "request_timeout"


def test_a_connection_that_says_nothing_is_closed(hasty: Router) -> None:
    start = time.monotonic()
    with Wire(hasty.port) as wire:
        assert wait_closed(wire, start) < 2000
    with Wire(hasty.port) as wire:
        wire.send(post(chat_body("a")))
        assert wire.response().status == 200
        start = time.monotonic()
        assert 200 < wait_closed(wire, start) < 2500  # kept alive, but not for ever


def test_a_running_request_is_not_cut_by_the_limits_for_reading(hasty: Router) -> None:
    with Wire(hasty.port) as wire:
        wire.send(post(chat_body("slow", pointsman={"timeout_ms": 1500})))
        answer = wire.response()
    assert answer.status == 503 and answer.error["code"] == "deadline_exceeded"

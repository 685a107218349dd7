"""Providers' HTTP as it really is: odd framings are read, wrong ones never reach a client, and no reply goes to another."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_raw import Response, Wire, ask, chat_body, elapsed_ms, post
from gateway_router import Router

StartRouter = Callable[..., Router]
MIB = 1024 * 1024
EVENTS = b"".join(text_event(word) for word in ("one ", "two ", "three"))
WHOLE_STREAM = EVENTS + FINISH + DONE


@pytest.fixture(scope="module")
def odd() -> Iterator[Capture]:
    with Capture(b"") as running:
        yield running


@pytest.fixture(scope="module")
def near(odd: Capture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router whose one deployment is the odd upstream; nothing ejects it."""
    config = capture_config(odd) | {
        "routes": {
            "once": {
                "candidates": ["cap"],
                "attempts": 1,
                "timeouts": {"idle_ms": 400, "ttft_ms": 600, "whole_ms": 600},
            }
        },
        "limits": {"breaker_failures": 100_000, "breaker_min_requests": 100_000, "reply_bytes": 4 * MIB},
    }
    with Router(config, tmp_path_factory.mktemp("odd")) as running:
        yield running
        running.check_quiet()


def answer_with(odd: Capture, *parts: bytes, then: str = "keep") -> None:
    """Let the upstream send these bytes, each part by itself, and then keep, close or hold the connection."""

    def play(sock: socket.socket, _: bytes) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sock.sendall(part)
            if len(parts) > 1:
                time.sleep(0.002)
        if then == "close":
            sock.shutdown(socket.SHUT_RDWR)
            raise OSError

    odd.play = play


def head(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((first, *lines)).encode() + b"\r\n\r\n"


JSON, SSE, CHUNKED = "content-type: application/json", "content-type: text/event-stream", "transfer-encoding: chunked"
SIZE, LAST = f"content-length: {len(REPLY)}", b"0\r\n\r\n"
GOOD = {
    "lower case": (head("Content-Type:application/json", SIZE.upper()) + REPLY, "keep"),
    "no reason": (head(JSON, SIZE, first="HTTP/1.1 200") + REPLY, "keep"),
    "chunked": (head(JSON, CHUNKED) + chunk(REPLY[:50]) + chunk(REPLY[50:]) + LAST, "keep"),
    "extensions and trailers": (
        head(JSON, CHUNKED) + b"%x;a=b\r\n%b\r\n0\r\nx-t: 1\r\n\r\n" % (len(REPLY), REPLY),
        "keep",
    ),
    "until close": (head(JSON) + REPLY, "close"),
    "http/1.0": (head(JSON, SIZE, first="HTTP/1.0 200 OK") + REPLY, "close"),
    "connection close": (whole(REPLY, "connection: close"), "close"),
    "100 first": (head(first="HTTP/1.1 100 Continue") + whole(REPLY), "keep"),
    "103 first": (head("link: </x>", first="HTTP/1.1 103 Early Hints") + whole(REPLY), "keep"),
    "no content type": (head(SIZE) + REPLY, "keep"),
}


@pytest.mark.parametrize("name", GOOD)
def test_any_legal_framing_of_a_reply_is_read(near: Router, odd: Capture, name: str) -> None:
    data, then = GOOD[name]
    for parts in ((data,), tuple(data[at : at + 40] for at in range(0, len(data), 40))):
        answer_with(odd, *parts, then=then)
        answer = ask(near, "once")
        assert answer.status == 200, answer.body
        assert answer.body == REPLY
        assert near.settled(answer.id).outcome == "ok"


LATE_ERROR = b'data: {"error":{"message":"late"}}\n\n'
STREAMS = {
    "until close": (head(SSE) + WHOLE_STREAM, "close"),
    "with a length": (head(SSE, f"content-length: {len(WHOLE_STREAM)}") + WHOLE_STREAM, "keep"),
    "no content type": (head(CHUNKED) + chunk(WHOLE_STREAM) + LAST, "keep"),
    "plain text": (head("content-type: text/plain", CHUNKED) + chunk(WHOLE_STREAM) + LAST, "keep"),
    "closed behind done": (stream_head() + chunk(WHOLE_STREAM), "close"),
    "data behind done": (
        stream_head() + chunk(WHOLE_STREAM) + chunk(text_event("late")) + chunk(DONE) + LAST,
        "keep",
    ),
    "error behind done": (stream_head() + chunk(WHOLE_STREAM) + chunk(LATE_ERROR) + LAST, "keep"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_f53_f61_any_framing_of_a_stream_ends_with_its_own_marker_once(near: Router, odd: Capture, name: str) -> None:
    data, then = STREAMS[name]
    for parts in ((data,), tuple(data[at : at + 30] for at in range(0, len(data), 30))):
        answer_with(odd, *parts, then=then)
        answer = ask(near, "once", stream=True)
        assert answer.status == 200, answer.body
        assert answer.body == WHOLE_STREAM
        assert near.settled(answer.id).outcome == "ok"


def test_f53_a_provider_that_stays_silent_behind_done_does_not_turn_an_answer_into_an_error(
    near: Router, odd: Capture
) -> None:
    answer_with(odd, stream_head() + chunk(WHOLE_STREAM))
    start = time.monotonic()
    answer = ask(near, "once", stream=True)
    assert answer.body == WHOLE_STREAM
    assert near.settled(answer.id).outcome == "ok"
    assert elapsed_ms(start) < 1500


BROKEN = {
    "not http": b"hello\r\n\r\n",
    "http/2": b"HTTP/2 200\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 500\r\n\r\n{}",
    "length negative": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
    "chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "gzip": whole(b"\x1f\x8b\x08\x00" + bytes(60), "content-encoding: gzip"),
    "status 999": b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("name", BROKEN)
def test_f25_a_reply_that_is_not_http_or_no_answer_never_reaches_the_client(
    near: Router, odd: Capture, name: str, stream: bool
) -> None:
    answer_with(odd, BROKEN[name], then="close" if name == "upgrade" else "keep")
    answer = ask(near, "once", stream=stream)
    assert answer.status == 503, (answer.status, answer.body)
    assert answer.error["origin"] == "provider"
    answer_with(odd, whole(REPLY))
    assert ask(near, "once").body == REPLY


BAD_TEXT = {
    "openai": (REPLY.replace(b"up-1", b"up-\xb4"), b'data: {"id":"c","model":"up-\xb4","choices":[]}\n\n'),
    "anthropic": (
        b'{"id":"m","type":"message","role":"assistant","model":"up-\xb4","content":[{"type":"text","text":"hi"}],'
        b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}',
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"up-\xb4","usage":{}}}\n\n',
    ),
    "gemini": (
        b'{"modelVersion":"up-\xb4","candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}',
        b'data: {"modelVersion":"up-\xb4","candidates":[{"content":{"parts":[{"text":"hi"}]}}]}\n\n',
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("dialect", BAD_TEXT)
def test_f29_invalid_utf8_in_what_is_read_is_an_unreadable_reply(
    odd: Capture, start_router: StartRouter, dialect: str, stream: bool
) -> None:
    router = start_router(capture_config(odd, dialect=dialect))
    unary, event = BAD_TEXT[dialect]
    answer_with(odd, whole(unary) if not stream else stream_head() + chunk(event) + b"0\r\n\r\n")
    answer = ask(router, "cap", stream=stream, pointsman={"attempts": 1, "timeout_ms": 2000})
    assert answer.status == 503
    assert answer.error["code"] in ("provider_reply_unreadable", "stream_interrupted")


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_i34_a_providers_huge_words_still_fit_the_books(odd: Capture, start_router: StartRouter, stream: bool) -> None:
    router = start_router(capture_config(odd))
    model = b'"model":"' + b"x" * 5 * MIB + b'"'
    error = b'{"error":{"message":"' + b"y" * 5 * MIB + b'","type":"server_error","code":"' + b"z" * MIB + b'"}}'
    data = whole(REPLY.replace(b'"model":"up-1"', model))
    if stream:
        data = stream_head() + chunk(text_event("hi").replace(b'"model":"up-1"', model)) + chunk(FINISH + DONE) + LAST
    for reply in (data, whole(error, status="500 Oops"), stream_head() + chunk(b"data: " + error + b"\n\n") + LAST):
        answer_with(odd, reply)
        answer = ask(router, "cap", stream=stream, pointsman={"attempts": 1})
        booked = router.settled(answer.id)
        assert booked.status == answer.status in (200, 503)
        (attempt,) = booked.attempts
        assert len(attempt.served_model) <= 1000 and len(attempt.message) <= 1000
        assert answer.status == 200 or len(answer.body) < 5000


def test_f32_endless_headers_of_a_provider_are_cut_off(near: Router, odd: Capture) -> None:
    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        for i in range(60):
            sock.sendall(b"".join(b"x-%d-%d: %b\r\n" % (i, k, b"a" * 1000) for k in range(1000)))
        sock.sendall(b"content-length: 2\r\n\r\n{}")

    odd.play = play
    before = near.rss_bytes()
    answer = ask(near, "once")
    assert answer.status == 503
    assert near.rss_bytes() - before < 24 * MIB


def test_f32_one_endless_header_of_a_provider_is_cut_off(near: Router, odd: Capture) -> None:
    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nx-a: ")
        for _i in range(60):
            sock.sendall(b"a" * MIB)
        sock.sendall(b"\r\ncontent-length: 2\r\n\r\n{}")

    odd.play = play
    before = near.rss_bytes()
    assert ask(near, "once").status == 503
    assert near.rss_bytes() - before < 24 * MIB


def test_f32_an_endless_error_body_is_cut_off(near: Router, odd: Capture) -> None:
    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
        for _i in range(80):
            sock.sendall(chunk(b"a" * MIB))

    odd.play = play
    before = near.rss_bytes()
    for stream in (False, True):
        assert ask(near, "once", stream=stream).status == 503
    assert near.rss_bytes() - before < 40 * MIB


def test_i23_a_second_reply_nobody_asked_for_goes_to_nobody(near: Router, odd: Capture) -> None:
    foreign = whole(REPLY.replace(b'"hi"', b'"FOREIGN"'))
    for rest in (foreign, b"HTTP/1.1 200 OK\r\n", b"garbage"):
        answer_with(odd, whole(REPLY) + rest)
        assert b"FOREIGN" not in ask(near, "once").body
        answer_with(odd, whole(REPLY), rest)  # and when it comes a moment later
        assert ask(near, "once").body == REPLY
        time.sleep(0.02)
        answer_with(odd, whole(REPLY))
        for _ in range(3):
            assert b"FOREIGN" not in ask(near, "once").body


def test_an_early_refusal_of_a_big_body_is_told(near: Router, odd: Capture, start_router: StartRouter) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = capture_config(odd, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    router = start_router(config)
    body = chat_body("cap", "a" * 8 * MIB)
    with Wire(router.port) as wire:
        wire.send(post(body))
        sock, _ = listener.accept()
        sock.recv(100)
        refused = b'{"error":{"message":"too large","type":"invalid_request_error","code":null}}'
        sock.sendall(whole(refused, "connection: close", status="413 Payload Too Large"))
        time.sleep(0.05)
        sock.close()
        answer = wire.response()
    assert answer.status in (400, 503)
    listener.close()


# --- the relay's shortcuts: whatever an event looks like, the bytes that leave are the bytes that came

TRICKY = [
    '"plain"', '""', "null", '"a\\"b"', '"\\n\\n"', '"data: [DONE]"', '"[DONE]"', '"\\"finish_reason\\":\\"stop\\""',
    '"\\"error\\":{\\"message\\":\\"x\\"}"', '"\\"usage\\":{\\"prompt_tokens\\":9}"', '"\\\\"', '"}]}"', '": ping"',
    '"\\u0000"', '"\\ud83c\\udf89"', '"Grüße 你好 🎉"', '"id: 5"', '"' + "long " * 400 + '"',
]  # fmt: skip


def tricky_events(rng: random.Random) -> bytes:
    """Return one openai stream of events that look like what they are not, whole and well-formed."""
    events = [b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n']
    for _ in range(rng.randrange(3, 25)):
        text = rng.choice(TRICKY)
        call = '{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":' + text + "}}"
        delta = rng.choice(
            [
                '{"content":' + text + "}",
                '{"content":' + text + "}",
                '{"content":' + text + ',"x":1}',
                '{"reasoning_content":' + text + "}",
                '{"tool_calls":[' + call + "]}",
                "{}",
            ]
        )
        tail = rng.choice(['"finish_reason":null', '"logprobs":null,"finish_reason":null', '"finish_reason": null'])
        more = rng.choice(["", ',"usage":null', ', "obfuscation":"abc"'])
        index = rng.choice([0, 0, 0, 1])
        choice = '{"index":' + str(index) + ',"delta":' + delta + "," + tail + "}"
        event = '{"id":"c","model":"up-1","choices":[' + choice + "]" + more + "}"
        events.append(b"data: " + event.encode() + b"\n\n")
    usage = b'data: {"id":"c","model":"up-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    return b"".join((*events, text_event("end"), FINISH, usage, DONE))


def cut_up(rng: random.Random, data: bytes) -> list[bytes]:
    """Return HTTP chunks of random sizes; most runs cut inside events, some exactly between them."""
    if rng.random() < 0.3:
        return [chunk(event + b"\n\n") for event in data.split(b"\n\n")[:-1]]
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        size = rng.choice([1, 2, 3, 17, 100, 500, 2000])
        parts.append(chunk(data[at : at + size]))
        at += size
    return parts


def test_i19_tricky_events_leave_as_they_came_however_they_were_cut(near: Router, odd: Capture) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        data = tricky_events(rng)
        parts = cut_up(rng, data)
        step = max(1, len(parts) // 8)  # a few writes, so that segments fall anywhere
        writes = [b"".join(parts[i : i + step]) for i in range(0, len(parts), step)]
        answer_with(odd, stream_head(), *writes, b"0\r\n\r\n")
        answer = ask(near, "once", stream=True, stream_options={"include_usage": True})
        assert answer.body == data, f"seed {seed}"
        booked = near.settled(answer.id)
        assert (booked.outcome, booked.attempts[0].usage.output_tokens) == ("ok", 3), f"seed {seed}"


def test_i23_answers_go_to_who_asked_under_load_and_disconnects(start_router: StartRouter) -> None:
    """Each answer repeats its own question, over pooled connections, while others leave in the middle."""

    def echo(sock: socket.socket, request: bytes) -> None:
        asked: dict[str, Any] = json.loads(request)
        mark = asked["messages"][0]["content"]
        if not asked.get("stream"):
            sock.sendall(whole(REPLY.replace(b'"hi"', json.dumps(mark).encode())))
            return
        sock.sendall(stream_head())
        for _ in range(4):
            sock.sendall(chunk(text_event(mark)))
            time.sleep(0.001)
        sock.sendall(chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n")

    wrong: list[str] = []
    with Capture(echo) as capture:
        router = start_router(capture_config(capture))

        def client(number: int) -> None:
            rng = random.Random(number)
            wire = Wire(router.port)
            for i in range(25):
                mark, stream = f"<{number}-{i}>", rng.random() < 0.5
                wire.send(post(chat_body("cap", mark, stream=stream)))
                if rng.random() < 0.15:
                    if rng.random() < 0.5:
                        wire.head()
                    wire.close(reset=rng.random() < 0.5)
                    wire = Wire(router.port)
                    continue
                answer: Response = wire.response()
                if answer.text != mark * (4 if stream else 1):
                    wrong.append(f"{mark}: {answer.text}")
            wire.close()

        threads = [threading.Thread(target=client, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []
        router.check_books()
        assert len(router.admitted_ids()) >= 250

"""Seeded noise at both doors: whatever bytes come, the worker lives, says nothing on stderr, and its books balance."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_raw import AUTH, Response, Wire, ask, chat_body, get, post, send_what_goes
from gateway_router import Router, until

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "250"))
MIB = 1024 * 1024
SPICE = [
    b"\r\n", b"\r\n\r\n", b"\0", b"\r", b"\n", b" ", b":", b"\xff", b"0", b"-1", b"99999999999", b"chunked",
    b"transfer-encoding: chunked\r\n",
    b"content-length: 5\r\n", b"{", b'"', b"}", b"\\", b"data: ", b"[DONE]", b"\n\n", b'"error":{"message":"x"},',
    b"HTTP/1.1 200 OK\r\n",
    b"expect: 100-continue\r\n", b"connection: close\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n",
]  # fmt: skip


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Return `data` with one to four small wounds."""
    for _ in range(rng.randrange(1, 5)):
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 8, 40])
        change = rng.randrange(6)
        if change == 0:
            data = data[:at] + data[at + size :]
        elif change == 1:
            data = data[:at] + rng.choice(SPICE) + data[at:]
        elif change == 2:
            data = data[:at] + rng.randbytes(size) + data[at + size :]
        elif change == 3:
            data = data[:at] + data[at : at + size] * 3 + data[at + size :]
        elif change == 4:
            data = data[:at] + rng.choice(SPICE) + data[at + size :]
        else:
            data = data[: max(1, at)]
    return data or b"x"


@pytest.fixture(scope="module")
def noisy() -> Iterator[Capture]:
    with Capture(b"") as running:
        yield running


@pytest.fixture(scope="module")
def hardy(noisy: Capture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    folder: Path = tmp_path_factory.mktemp("hardy")
    config = capture_config(noisy) | {
        "routes": {
            "once": {
                "candidates": ["cap"],
                "attempts": 1,
                "timeouts": {"idle_ms": 300, "ttft_ms": 300, "whole_ms": 300},
            }
        },
        "limits": {"breaker_failures": 100_000, "breaker_min_requests": 100_000, "header_ms": 500, "body_ms": 500},
    }
    with Router(config, folder) as running:
        yield running
        running.check_quiet()


def check_well(router: Router, noisy: Capture, play: Callable[[socket.socket, bytes], None]) -> None:
    noisy.play = play
    assert router.alive
    assert ask(router, "once").body == REPLY
    assert router.errors() == ""


def test_i25_noise_from_clients_never_hurts(hardy: Router, noisy: Capture) -> None:
    healthy = Capture._always(whole(REPLY))
    noisy.play = healthy
    seeds = [
        post(chat_body("once", stream=True)),
        post(chat_body("once"), "Expect: 100-continue"),
        get("/v1/models"),
        get("/metrics"),
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{AUTH}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        + chunk(chat_body("once"))
        + b"0\r\n\r\n",
        post(chat_body("once")) * 3,
    ]
    before = hardy.rss_bytes()
    for seed in range(ROUNDS):
        rng = random.Random(f"client {seed}")
        with Wire(hardy.port, timeout_s=0.05) as wire:
            send_what_goes(wire, spoil(rng, rng.choice(seeds)), rng.choice([7, 100, 100_000]))
            if rng.random() < 0.3:
                with contextlib.suppress(OSError):
                    wire.sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError, AssertionError):
                answer = wire.head()
                assert 100 <= answer.status < 600
        if seed % 50 == 49:
            check_well(hardy, noisy, healthy)
    hardy.check_books()
    assert hardy.rss_bytes() - before < 24 * MIB


def sse(*events: bytes) -> bytes:
    named = [b"event: %b\ndata: %b\n\n" % (e.split(b'"')[3], e) for e in events]
    return stream_head() + b"".join(chunk(event) for event in named) + b"0\r\n\r\n"


_PARTS = b'{"candidates":[{"content":{"role":"model","parts":[{"text":"%b"}]}%b,"index":0}]%b,"modelVersion":"g"}'
_COUNTS = b',"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}'
FOREIGN = {
    "anthropic": (
        whole(
            b'{"id":"m1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"hi"}],'
            b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}'
        ),
        sse(
            b'{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"c","content":[],'
            b'"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}',
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one "}}',
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"two"}}',
            b'{"type":"content_block_stop","index":0}',
            b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}',
            b'{"type":"message_stop"}',
        ),
    ),
    "gemini": (
        whole(_PARTS % (b"hi", b',"finishReason":"STOP"', _COUNTS)),
        stream_head()
        + chunk(b"data: " + _PARTS % (b"one ", b"", b"") + b"\r\n\r\n")
        + chunk(b"data: " + _PARTS % (b"two", b',"finishReason":"STOP"', _COUNTS) + b"\r\n\r\n")
        + b"0\r\n\r\n",
    ),
}


def check_stream(answer: Response, seed: int) -> None:
    """I17, I18: whole events, and exactly one end."""
    assert answer.body.endswith(b"\n\n"), seed
    ends = [e for e in answer.events if e == "[DONE]" or (isinstance(e, dict) and "error" in e and "choices" not in e)]
    assert len(ends) == 1, seed
    assert answer.events[-1] is ends[0] or answer.events[-1] == ends[0], seed


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("dialect", FOREIGN)
def test_i17_i18_noise_of_another_wire_never_becomes_a_wrong_answer(
    noisy: Capture, tmp_path: Path, dialect: str, stream: bool
) -> None:
    config = capture_config(noisy, dialect=dialect) | {
        "routes": {
            "once": {
                "candidates": ["cap"],
                "attempts": 1,
                "timeouts": {"idle_ms": 300, "ttft_ms": 300, "whole_ms": 300},
            }
        },
        "limits": {"breaker_failures": 100_000, "breaker_min_requests": 100_000},
    }
    good = FOREIGN[dialect][stream]
    noisy.play = Capture._always(good)
    with Router(config, tmp_path) as router:
        assert ask(router, "once", stream=stream).text in ("hi", "one two")
        for seed in range(ROUNDS // 2):
            noisy.play = cut_off(spoil(random.Random(f"{dialect} {seed}"), good))
            answer = ask(router, "once", stream=stream)
            if answer.status != 200:
                assert answer.error["request_id"] == answer.id, seed
            elif stream:
                check_stream(answer, seed)
            else:
                assert answer.json["choices"], seed
        router.check_books()
        router.check_quiet()


def cut_off(data: bytes) -> Callable[[socket.socket, bytes], None]:
    """Return what sends these bytes and nothing more, whatever is owed."""

    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
        raise OSError

    return play


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_i17_i18_noise_from_providers_never_becomes_a_wrong_answer(hardy: Router, noisy: Capture, stream: bool) -> None:
    events = b"".join(chunk(text_event(word)) for word in ("one ", "two ", "three "))
    good = whole(REPLY) if not stream else stream_head() + events + chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n"
    healthy = Capture._always(whole(REPLY))
    before = hardy.rss_bytes()
    for seed in range(ROUNDS):
        rng = random.Random(f"provider {seed}")
        noisy.play = cut_off(spoil(rng, good))
        answer = ask(hardy, "once", stream=stream)
        if answer.status != 200:
            assert answer.error["request_id"] == answer.id, seed
        elif stream:
            check_stream(answer, seed)
        else:
            assert "choices" in json.loads(answer.body.decode(errors="replace"), strict=False), seed
        if seed % 50 == 49:
            check_well(hardy, noisy, healthy)
    hardy.check_books()
    until(lambda: hardy.rss_bytes() - before < 24 * MIB)

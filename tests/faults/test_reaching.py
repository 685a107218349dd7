"""Faults on the way to a provider that need a socket of their own (FAULTS A and B)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import DONE, Capture, chunk, stream_head, text_event, whole
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, ask, chat_body, elapsed_ms, fetch, post
from gateway_router import Router, until

StartRouter = Callable[..., Router]
MIB = 1024 * 1024
TTFT_MS = 400
NOT_FOUND = b'{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}'


def pair(lab: Lab, url: str, route: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a config whose route `pair` tries a provider at `url` first, then a good one."""
    odd = {
        "provider": "odd",
        "model": "up-1",
        "price": {"input": 1, "output": 2},
        "ttft_ms": TTFT_MS,
        "whole_ms": TTFT_MS,
    }
    return small_config(
        lab,
        {"odd": odd, "good": deployment("openai", "m")},
        {"pair": {"candidates": ["odd", "good"]} | (route or {})},
        providers={"odd": {"dialect": "openai", "base_url": url, "api_key": "sk-odd-0123456789"}},
        **more,
    )


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A provider that takes connections and never reads: what is sent piles up until nothing more goes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener


def test_f08_with_all_connections_taken_the_next_deployment_answers_at_once(
    lab: Lab, start_router: StartRouter
) -> None:
    release = threading.Event()

    def hold(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head() + chunk(text_event("one ")))
        release.wait(10)
        sock.sendall(chunk(text_event("two")) + chunk(DONE) + b"0\r\n\r\n")

    with Capture(hold) as capture:
        router = start_router(pair(lab, capture.url, limits={"upstream_connections_per_host": 2}))
        holding = [Wire(router.port) for _ in range(2)]
        for wire in holding:
            wire.send(post(chat_body("pair", stream=True)))
            wire.head()
            wire.chunk()
        start = time.monotonic()
        answer = ask(router, "pair")
        assert elapsed_ms(start) < 250  # nobody waited for a place in a pool
        assert answer.headers["x-pointsman-deployment"] == "good"
        first, second = router.settled(answer.id).attempts
        assert "too many connections" in first.message and second.outcome == "ok"
        release.set()
        for wire in holding:
            while wire.chunk():
                pass
            wire.close()
        assert len(capture.requests) == 2
        capture.play = Capture._always(whole(b'{"id":"c","model":"up-1","choices":[{"index":0,"message":{"role":'
                                             b'"assistant","content":"back"},"finish_reason":"stop"}]}'))  # fmt: skip
        until(lambda: ask(router, "pair").headers["x-pointsman-deployment"] == "odd")  # free again


def test_f11_an_upload_that_stalls_is_given_up_in_time(
    lab: Lab, deaf: socket.socket, start_router: StartRouter
) -> None:
    with Capture() as large:  # a window that takes it
        config = pair(lab, f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", limits={"body_bytes": 64 * MIB})
        url = {"dialect": "openai", "base_url": large.url, "api_key": "sk-large-0123456789"}
        config["providers"]["large"] = url
        config["deployments"]["good"] = config["deployments"]["odd"] | {
            "provider": "large",
            "ttft_ms": 10_000,
            "whole_ms": 10_000,
        }
        for name in ("odd", "good"):
            config["deployments"][name] |= {"context": 100_000_000}
        router = start_router(config)
        start = time.monotonic()
        answer = ask(router, "pair", text="x" * (16 * MIB))
        assert (answer.status, answer.headers["x-pointsman-deployment"]) == (200, "good")
        assert elapsed_ms(start) < 5000
        first, _ = router.settled(answer.id).attempts
        assert (first.deployment, first.outcome) == ("odd", "timeout")
        assert TTFT_MS <= first.ended_ms - first.started_ms < TTFT_MS + 500
        assert len(large.body) > 16 * MIB  # the whole of it was still there


def test_f12_an_answer_that_is_lost_may_cost_something_and_is_charged_once(lab: Lab, start_router: StartRouter) -> None:
    """The request arrives and the way back is cut: what the provider bills is not known, so it is estimated, not zero."""
    release = threading.Event()
    with Capture(lambda sock, _: release.wait(10)) as capture:
        router = start_router(pair(lab, capture.url))
        answer = ask(router, "pair")
        release.set()
        assert answer.status == 200
        booked = router.settled(answer.id)
        lost, answered = booked.attempts
        assert len(capture.requests) == 1  # it is not sent there again
        assert (lost.outcome, answered.outcome) == ("timeout", "ok")
        assert lost.usage.source != "measured" and lost.charge_state != "measured"
        assert answered.charge_state == "measured" and answered.charge_nano > 0
        if lost.charge_nano < 0:  # unknown is a state: then the sum is unknown too
            assert booked.charge_nano < 0
        else:
            assert booked.charge_nano == lost.charge_nano + answered.charge_nano and lost.charge_nano > 0
        router.check_books()


def test_f20_a_model_that_is_gone_takes_only_its_own_deployment_out(lab: Lab, start_router: StartRouter) -> None:
    def play(sock: socket.socket, body: bytes) -> None:
        if b'"gone-1"' in body:
            sock.sendall(whole(NOT_FOUND, status="404 Not Found"))
        else:
            sock.sendall(whole(b'{"id":"c","model":"up-1","choices":[{"index":0,"message":{"role":"assistant",'
                               b'"content":"here"},"finish_reason":"stop"}]}'))  # fmt: skip

    with Capture(play) as capture:
        config = pair(lab, capture.url)
        config["deployments"]["gone"] = config["deployments"]["odd"] | {"model": "gone-1"}
        config["routes"]["old"] = {"candidates": ["gone", "odd"]}
        router = start_router(config)
        for _ in range(3):
            answer = ask(router, "old")
            assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "odd"
        assert sum(b"gone-1" in body for _, body in capture.requests) == 1
        standing = fetch(router, "/health").json["deployments"]
        assert (standing["gone"], standing["odd"]) == ("open", "closed")
        alone = ask(router, "gone")
        assert (alone.status, alone.error["origin"]) == (503, "provider")  # not a 404: the client's name is right

"""Idempotency keys: a request is carried out once, however often it is sent, on any worker (faults 71 and 72)."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router, until
from openai import OpenAI

StartRouter = Callable[..., Router]
ONCE = "Idempotency-Key: order-4711"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
STREAM = stream_head() + chunk(text_event("Hello")) + chunk(text_event(" you") + FINISH + DONE) + b"0\r\n\r\n"


def answers_of(stream: bool) -> bytes:
    return STREAM if stream else whole(REPLY)


@BOTH
def test_f71_a_request_sent_again_gets_the_same_answer_and_is_not_carried_out(
    start_router: StartRouter, stream: bool
) -> None:
    with Capture(answers_of(stream)) as capture:
        router = start_router(capture_config(capture))
        first = ask(router, "cap", ONCE, stream=stream)
        again = ask(router, "cap", ONCE, stream=stream)
        assert first.status == again.status == 200 and first.text == again.text and len(first.text) > 0
        assert len(capture.requests) == 1 and len(router.admitted_ids()) == 1
        assert "x-pointsman-idempotent" not in first.headers and again.headers["x-pointsman-idempotent"] == "replayed"
        assert (
            again.headers["x-pointsman-cost-usd"] == "0"
            and again.headers["x-request-id"] == first.headers["x-request-id"]
        )
        assert again.headers["content-type"] == first.headers["content-type"]
        assert b"pointsman_replayed_total 1\n" in fetch(router, "/metrics").body
        other = ask(router, "cap", "Idempotency-Key: order-4712", stream=stream)
        assert other.status == 200 and len(capture.requests) == 2
        router.check_books()


@BOTH
def test_f71_a_request_sent_again_while_it_runs_waits_for_the_one_answer(
    start_router: StartRouter, stream: bool
) -> None:
    go_on = threading.Event()

    def slow(sock: Any, _: bytes) -> None:
        go_on.wait(5)
        sock.sendall(answers_of(stream))

    with Capture(slow) as capture:
        router = start_router(capture_config(capture))
        found: list[Response] = []
        threads = [
            threading.Thread(target=lambda: found.append(ask(router, "cap", ONCE, stream=stream))) for _ in "123"
        ]
        for thread in threads:
            thread.start()
        until(lambda: capture.requests)
        go_on.set()
        for thread in threads:
            thread.join(5)
        assert [answer.status for answer in found] == [200] * 3 and len({answer.text for answer in found}) == 1
        assert len(capture.requests) == 1 and len(router.admitted_ids()) == 1


def test_f72_the_same_key_with_another_body_is_refused(start_router: StartRouter) -> None:
    with Capture() as capture:
        router = start_router(capture_config(capture))
        assert ask(router, "cap", ONCE).status == 200
        other = ask(router, "cap", ONCE, text="something else")
        assert other.status == 422 and other.json["error"]["code"] == "idempotency_key_reused"
        assert len(capture.requests) == 1 and len(router.admitted_ids()) == 1


def test_i23_a_key_is_the_callers_own(start_router: StartRouter) -> None:
    with Capture() as capture:
        keys = [{"name": name, "key": f"sk-test-{name}-0123456789abcdef"} for name in ("ann", "bob")]
        router = start_router(capture_config(capture) | {"keys": keys})
        for key in keys:
            with Wire(router.port) as wire:
                wire.send(post(chat_body("cap"), ONCE, auth=f"authorization: Bearer {key['key']}"))
                answer = wire.response()
            assert answer.status == 200 and "x-pointsman-idempotent" not in answer.headers
        assert len(capture.requests) == 2


def test_a_failed_request_is_carried_out_anew(start_router: StartRouter) -> None:
    plays = [whole(b'{"error":{"message":"no"}}', status="400 Bad Request"), whole(REPLY)]

    def play(sock: Any, _: bytes) -> None:
        sock.sendall(plays.pop(0))

    with Capture(play) as capture:
        router = start_router(capture_config(capture))
        assert ask(router, "cap", ONCE).status == 400
        answer = ask(router, "cap", ONCE)
        assert answer.status == 200 and len(capture.requests) == 2
        assert ask(router, "cap", ONCE).headers["x-pointsman-idempotent"] == "replayed"


def test_a_request_that_is_refused_leaves_the_key_free(start_router: StartRouter) -> None:
    with Capture() as capture:
        router = start_router(capture_config(capture))
        assert ask(router, "no-such-model", ONCE).status == 404
        assert ask(router, "cap", ONCE).status == 200
        for bad in ("Idempotency-Key: ", f"Idempotency-Key: {'x' * 256}"):
            assert ask(router, "cap", bad).status == 400


def test_a_key_outlives_the_worker_and_a_kill(start_router: StartRouter) -> None:
    hang, go_on = threading.Event(), threading.Event()

    def play(sock: Any, _: bytes) -> None:
        if not hang.is_set():
            hang.set()
            go_on.wait(5)
        sock.sendall(whole(REPLY))

    with Capture(play) as capture:
        router = start_router(capture_config(capture))
        wire = Wire(router.port)
        wire.send(post(chat_body("cap"), ONCE))
        hang.wait(3)
        os.kill(router.pid, signal.SIGKILL)
        router.wait_ended()
        go_on.set()
        router.start()
        answer = ask(router, "cap", ONCE)  # what the killed worker had begun is not known: carried out anew
        assert answer.status == 200 and "x-pointsman-idempotent" not in answer.headers
        os.kill(router.pid, signal.SIGKILL)
        router.wait_ended()
        router.start()
        assert ask(router, "cap", ONCE).headers["x-pointsman-idempotent"] == "replayed"


def test_the_official_client_gets_one_answer_for_one_key(start_router: StartRouter) -> None:
    with Capture() as capture:
        router = start_router(capture_config(capture))
        with OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0) as client:
            made = [
                client.chat.completions.create(
                    model="cap", messages=[{"role": "user", "content": "x"}], extra_headers={"Idempotency-Key": "k"}
                )
                for _ in range(2)
            ]
        assert made[0] == made[1] and len(capture.requests) == 1
        assert json.loads(capture.body)["messages"][0]["content"] == "x"

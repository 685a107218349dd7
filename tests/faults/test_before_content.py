"""What a client sees before the first content: nothing, so that another deployment may still answer (fault 52)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from gateway_capture import Capture, chunk, stream_head
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, chat_body, post
from gateway_router import Router

StartRouter = Callable[..., Router]
ROLE = b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


def test_f52_no_byte_leaves_before_content_so_that_the_next_may_answer(lab: Lab, start_router: StartRouter) -> None:
    waiting, goes_on = threading.Event(), threading.Event()

    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head() + chunk(ROLE))
        for _ in range(20):
            sock.sendall(chunk(b": keep-alive\n\n"))
        waiting.set()
        goes_on.wait(10)
        raise OSError  # the connection is closed: not one token came

    with Capture(play) as capture:
        odd = {"provider": "odd", "model": "up-1", "price": {"input": 1, "output": 2}}
        config = small_config(
            lab,
            {"odd": odd, "good": deployment("openai", "m")},
            {"pair": {"candidates": ["odd", "good"]}},
            providers={"odd": {"dialect": "openai", "base_url": capture.url, "api_key": "sk-odd-0123456789"}},
        )
        router = start_router(config)
        with Wire(router.port) as wire:
            wire.send(post(chat_body("pair", stream=True)))
            assert waiting.wait(5)
            assert not wire.ended(0.4) and wire.buffer == b""  # role, comments: nothing of it is content
            for sock in capture._open:
                sock.shutdown(socket.SHUT_RDWR)
            goes_on.set()
            answer = wire.response()
        assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "good"
        assert answer.done and not [event for event in answer.events if "error" in event]
        assert b"keep-alive" not in answer.body
        assert [row.outcome for row in router.settled(answer.id).attempts][1:] == ["ok"]

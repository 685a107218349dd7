"""What a client on a kept connection sees of a stop (fault 95): its answer, and that this connection takes no more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from gateway_capture import REPLY, Capture, capture_config, whole
from gateway_raw import Wire, chat_body, post
from gateway_router import Router

StartRouter = Callable[..., Router]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_f95_an_answer_given_while_draining_says_that_the_connection_closes(
    start_router: StartRouter, stream: bool
) -> None:
    asked, goes_on = threading.Event(), threading.Event()

    def play(sock: socket.socket, body: bytes) -> None:
        asked.set()
        goes_on.wait(10)
        sock.sendall(whole(b"", status="500 Internal Server Error") if b'"stream":true' in body else whole(REPLY))

    with Capture(play) as capture:
        router = start_router(capture_config(capture) | {"limits": {"attempts": 1}})
        with Wire(router.port) as wire:
            wire.send(post(chat_body("cap", stream=stream)))
            assert asked.wait(5)
            router.term()
            while not _closed(router):
                pass
            goes_on.set()
            answer = wire.response()
            assert answer.status in (200, 503)
            assert answer.headers["connection"] == "close"
            assert wire.ended(2)
        assert router.wait_ended(5) == 0
        router.check_books()


def _closed(router: Router) -> bool:
    """Tell whether the router takes no more connections."""
    try:
        Wire(router.port).close()
    except ConnectionError:
        return True
    return False

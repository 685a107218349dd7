"""A client that leaves where the provider bills to the end: the rest is read, bounded, to book what it costs (fault 63)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_raw import Wire, chat_body, post
from gateway_router import Router, until

StartRouter = Callable[..., Router]
USAGE = b'data: {"id":"c","model":"up-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12}}\n\n'


class Slow:
    """Answer only when told to: a first event, then the rest."""

    def __init__(self, *, stream: bool) -> None:
        self.go_on, self.asked, self.stream = threading.Event(), threading.Event(), stream
        self.ended_by_router = False

    def __call__(self, sock: socket.socket, _: bytes) -> None:
        if self.stream:
            sock.sendall(stream_head() + chunk(text_event("Hello")))
        self.asked.set()
        self.go_on.wait(5)
        try:
            sock.sendall(
                chunk(text_event("you") + FINISH + USAGE + DONE) + b"0\r\n\r\n" if self.stream else whole(REPLY)
            )
        except OSError:
            self.ended_by_router = True


def leave(router: Router, slow: Slow, name: str) -> None:
    wire = Wire(router.port)
    wire.send(post(chat_body("cap", stream=slow.stream), f"x-request-id: {name}"))
    slow.asked.wait(3)
    if slow.stream:
        wire.head()
        assert b"Hello" in wire.chunk()
    wire.close()


def config(capture: Capture, **limits: Any) -> dict[str, Any]:
    return capture_config(capture, bills_cancelled=True) | {"limits": limits}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_f63_what_is_billed_to_the_end_is_read_to_the_end(start_router: StartRouter, stream: bool) -> None:
    slow = Slow(stream=stream)
    with Capture(slow) as capture:
        router = start_router(config(capture))
        leave(router, slow, "left")
        with pytest.raises(AssertionError):
            router.by_client_id("left", 0.3)  # not yet: it is still read
        slow.go_on.set()
        booked = router.by_client_id("left")
        assert (booked.outcome, booked.status) == ("client_gone", 499)
        (row,) = booked.attempts
        assert row.usage.source == "measured" and row.usage.output_tokens == (9 if stream else 1)
        assert booked.charge_state == "measured" and booked.charge_nano == 3_000 + 2_000 * row.usage.output_tokens
        router.check_books()
        router.check_quiet()


def test_f63_the_reading_on_is_bounded(start_router: StartRouter) -> None:
    slow = Slow(stream=True)
    with Capture(slow) as capture:
        router = start_router(config(capture, client_drain_ms=200))
        leave(router, slow, "left")
        booked = router.by_client_id("left", 2)
        assert booked.outcome == "client_gone" and booked.charge_state == "estimated" and booked.charge_nano > 0
        slow.go_on.set()


def test_f63_a_stop_does_not_wait_for_more_than_the_bound(start_router: StartRouter) -> None:
    slow = Slow(stream=True)
    with Capture(slow) as capture:
        router = start_router(config(capture, client_drain_ms=300))
        leave(router, slow, "left")
        router.term()
        assert router.wait_ended(3) == 0
        assert router.by_client_id("left").outcome == "client_gone"
        slow.go_on.set()


def test_a_slow_reader_that_leaves_does_not_hold_the_reading_up(start_router: StartRouter) -> None:
    """Back-pressure had stopped the reading when the client left: it goes on."""

    def flood(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head())
        for _i in range(2_500):  # more than the sockets between us hold
            sock.sendall(chunk(text_event("x" * 10_000)))
        sock.sendall(chunk(FINISH + USAGE + DONE) + b"0\r\n\r\n")

    with Capture(flood) as capture:
        router = start_router(config(capture))
        wire = Wire(router.port)
        wire.send(post(chat_body("cap", stream=True), "x-request-id: flood"))
        wire.head()
        until(lambda: router.rss_bytes() > 0)
        wire.close()
        (row,) = router.by_client_id("flood", 5).attempts
        assert row.outcome == "client_gone" and row.usage.output_tokens == 9

"""Clients that leave, and clients that do not read: the provider is let go, the row is written, memory stays bounded."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from gateway_capture import DONE, FINISH, Capture, capture_config, chunk, stream_head, text_event
from gateway_lab import Lab
from gateway_raw import Wire, ask, chat_body, elapsed_ms, post
from gateway_router import Router, until

StartRouter = Callable[..., Router]
MIB = 1024 * 1024


def leave_while(router: Router, lab: Lab, model: str, name: str, *, stream: bool, reset: bool, read: int) -> float:
    """Ask, read `read` chunks, leave; return the ms until the provider was let go."""
    provider = model.partition("-")[0]
    before = lab.active(provider)
    wire = Wire(router.port)
    wire.send(post(chat_body(model, stream=stream), f"x-request-id: {name}"))
    if read:
        wire.head()
        for _ in range(read):
            assert wire.chunk()
    else:
        until(lambda: lab.active(provider) > before)
    start = time.monotonic()
    wire.close(reset=reset)
    until(lambda: lab.active(provider) == before, 2)
    return elapsed_ms(start)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_f62_a_client_that_leaves_while_waiting_frees_the_provider(
    router: Router, lab: Lab, stream: bool, reset: bool
) -> None:
    name = f"gone-{stream}-{reset}"
    assert leave_while(router, lab, "openai-slow", name, stream=stream, reset=reset, read=0) < 1000
    booked = router.by_client_id(name)
    assert (booked.outcome, booked.status) == ("client_gone", 499)
    (attempt,) = booked.attempts
    assert attempt.outcome == "client_gone"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_f63_a_client_that_leaves_mid_stream_is_booked_for_what_it_got(router: Router, lab: Lab, dialect: str) -> None:
    name = f"left-{dialect}"
    assert leave_while(router, lab, f"{dialect}-paced", name, stream=True, reset=False, read=6) < 1000
    booked = router.by_client_id(name)
    assert (booked.outcome, booked.status) == ("client_gone", 499)
    (attempt,) = booked.attempts
    assert attempt.usage.source == "estimated" and attempt.usage.output_tokens > 0
    assert booked.charge_nano > 0 and booked.charge_state == "estimated"
    assert lab.served(booked.id)[0].outcome == "client_gone"


def test_f63_leaving_says_nothing_about_the_providers_health(lab: Lab, router: Router) -> None:
    for i in range(6):
        leave_while(router, lab, "gemini-slow", f"six-{i}", stream=True, reset=True, read=0)
    assert ask(router, "gemini-m").status == 200
    with Wire(router.port) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wire.response().json["deployments"]["gemini-slow"] == "closed"


def test_f65_i35_many_that_leave_at_once_leave_nothing_behind(router: Router, lab: Lab) -> None:
    ask(router, "openai-m")
    before = router.descriptors()
    wires = [Wire(router.port) for _ in range(100)]
    for i, wire in enumerate(wires):
        wire.send(post(chat_body("openai-paced" if i % 2 else "openai-slow", stream=True), f"x-request-id: crowd-{i}"))
    for wire in wires[1::2]:
        wire.head()
    for wire in wires:
        wire.close()
    until(lambda: lab.active("openai") == 0, 3)
    until(lambda: router.descriptors() <= before + 2, 3)
    router.check_books()


def test_a_client_that_closes_only_its_sending_half_is_gone_or_served_but_booked(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("openai-m"), "x-request-id: half"))
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.ended(3)
    assert router.by_client_id("half").outcome in ("ok", "client_gone")


class Flood:
    """Play a stream of 200 MiB as fast as it is taken; count what went."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = threading.Event()

    def __call__(self, sock: socket.socket, _: bytes) -> None:
        block = chunk(text_event("x" * 32_000))
        sock.sendall(stream_head())
        try:
            while self.sent < 200 * MIB:
                sock.sendall(block)
                self.sent += len(block)
        except OSError:
            pass
        self.ended.set()


def test_f58_i20_a_client_that_does_not_read_holds_the_provider_back(start_router: StartRouter) -> None:
    flood = Flood()
    with Capture(flood) as capture:
        router = start_router(capture_config(capture))
        ask_small = router.rss_bytes()
        wire = Wire(router.port)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(post(chat_body("cap", stream=True)))
        wire.head()
        until(lambda: flood.sent > 0)
        seen = -1
        while seen != flood.sent:  # until the provider stands still
            seen = flood.sent
            time.sleep(0.25)
        assert seen < 40 * MIB  # what lies in socket buffers
        assert router.rss_bytes() - ask_small < 20 * MIB
        read = 0
        while read < 8 * MIB:  # and goes on when the client reads
            read += len(wire.chunk())
        until(lambda: flood.sent > seen, 3)
        wire.close(reset=True)
        assert flood.ended.wait(2)
        assert router.rss_bytes() - ask_small < 20 * MIB
        router.check_books()


def test_f59_i21_a_client_that_never_reads_is_cut_off(start_router: StartRouter) -> None:
    flood = Flood()
    with Capture(flood) as capture:
        router = start_router(capture_config(capture) | {"limits": {"write_stall_ms": 400}})
        with Wire(router.port) as wire:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            wire.send(post(chat_body("cap", stream=True), "x-request-id: deaf"))
            wire.head()
            assert flood.ended.wait(6)
            booked = router.by_client_id("deaf")
        assert booked.outcome == "client_gone"
        assert booked.total_ms < 6_000


def test_f58_a_slow_reader_gets_every_byte(start_router: StartRouter) -> None:
    words = [f"{i:06d}" * 200 for i in range(1500)]

    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head())
        for word in words:
            sock.sendall(chunk(text_event(word)))
        sock.sendall(chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n")

    with Capture(play) as capture:
        router = start_router(capture_config(capture))
        with Wire(router.port) as wire:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            wire.send(post(chat_body("cap", stream=True)))
            head = wire.head()
            time.sleep(0.5)
            while data := wire.chunk():
                head.chunks.append(data)
        head.body = b"".join(head.chunks)
        assert head.text == "".join(words) and head.done
        assert router.settled(head.id).outcome == "ok"


def test_f58_a_provider_connection_held_back_is_awake_for_the_next(start_router: StartRouter) -> None:
    """The end of a stream may arrive in one piece with what made its client stop reading."""
    big = stream_head() + chunk(text_event("x" * 5 * MIB)) + chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n"
    with Capture(big) as capture:
        router = start_router(capture_config(capture))
        for _ in range(5):
            with Wire(router.port, timeout_s=5) as slow:
                slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
                slow.send(post(chat_body("cap", stream=True)))
                slow.head()
                time.sleep(0.1)  # all of it has reached the router, little of it us
                start = time.monotonic()
                assert ask(router, "cap", stream=True).done
                assert elapsed_ms(start) < 2000
        router.check_books()

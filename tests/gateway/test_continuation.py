"""Declared continuation: another deployment goes on with a stream that broke off; never but where the route says so."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, Capture, chunk, stream_head, text_event, whole
from gateway_raw import Response, Wire, ask, chat_body, post
from gateway_router import Router

StartRouter = Callable[..., Router]
TOOL = (
    b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function",'
    b'"function":{"name":"f","arguments":"{"}}]},"finish_reason":null}]}\n\n'
)
USAGE = b'data: {"id":"d","model":"up-2","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":7,"total_tokens":37}}\n\n'


def stream(*events: bytes, cut: bool = False) -> Callable[[socket.socket, bytes], None]:
    """Return what sends events of a stream, and ends or cuts it."""

    def play(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head())
        for event in events:
            sock.sendall(chunk(event))
            time.sleep(0.01)
        if cut:
            time.sleep(0.05)
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            raise OSError
        sock.sendall(b"0\r\n\r\n")

    return play


@contextlib.contextmanager
def pair(
    start_router: StartRouter,
    first: Callable[[socket.socket, bytes], None],
    second: Callable[[socket.socket, bytes], None] | bytes,
    **more: Any,
) -> Iterator[tuple[Router, Capture, Capture]]:
    """Run a router whose route `r` tries `one`, then `two`, which takes the beginning of an answer."""
    prefill = more.pop("prefill", "last")
    with Capture(first) as one, Capture(second) as two:
        made = {
            name: {"dialect": "openai", "base_url": capture.url, "api_key": "sk-canary-capture"}
            for name, capture in (("p1", one), ("p2", two))
        }
        price = {"price": {"input": 1, "output": 2}}
        deployments = {
            "one": {"provider": "p1", "model": "up-1"} | price,
            "two": {"provider": "p2", "model": "up-2", "prefill": prefill} | price,
        }
        route = {"candidates": ["one", "two"], "continuation": True} | more.pop("route", {})
        yield start_router({"providers": made, "deployments": deployments, "routes": {"r": route}} | more), one, two


BROKEN = stream(text_event("Hello"), text_event(" wor"), cut=True)
REST = stream(text_event("ld"), text_event("!"), FINISH, USAGE, DONE)


def dicts(answer: Response) -> list[dict[str, Any]]:
    """Return the events but the terminal marker."""
    return [event for event in answer.events if isinstance(event, dict)]


def told(answer: Response) -> str:
    return "".join(c["delta"].get("content") or "" for e in dicts(answer) for c in e.get("choices", []))


@pytest.mark.parametrize("prefill", ["last", "prefix", "continue"])
def test_f44_another_deployment_goes_on_where_the_first_broke_off(start_router: StartRouter, prefill: str) -> None:
    with pair(start_router, BROKEN, REST, prefill=prefill) as (router, _, two):
        answer = ask(router, "r", stream=True, max_tokens=100, stream_options={"include_usage": True})
        assert answer.status == 200 and told(answer) == "Hello world!"
        assert answer.done and answer.finishes == ["stop"] and not [e for e in dicts(answer) if "error" in e]
        assert answer.headers["x-pointsman-continuation"] == "allowed"
        assert {e["id"] for e in dicts(answer)} == {"c"} and {e["model"] for e in dicts(answer)} == {"up-1"}
        marks = [e.get("pointsman", {}).get("continued_by", "") for e in dicts(answer)]
        assert marks == sorted(marks) and set(marks) == {"", "two"}  # from the seam on
        asked = json.loads(two.body)
        begun = asked["messages"][-1]
        assert begun["role"] == "assistant" and begun["content"] == "Hello wor"
        assert begun.get("prefix") is (True if prefill == "prefix" else None)
        assert asked.get("continue_final_message") is (True if prefill == "continue" else None)
        assert asked["max_tokens"] == 97  # what is left of it
        booked = router.settled(answer.id)
        first, second = booked.attempts
        assert booked.outcome == "ok" and (first.outcome, second.outcome) == ("truncated", "ok")
        assert first.usage.source == "estimated" and second.usage.output_tokens == 7
        [usage] = [e["usage"] for e in dicts(answer) if e.get("usage")]
        assert usage["prompt_tokens"] == first.usage.input_tokens + 30
        assert usage["completion_tokens"] == first.usage.output_tokens + 7
        assert booked.charge_nano == first.charge_nano + second.charge_nano and booked.charge_state == "estimated"


def test_white_space_at_the_seam_is_neither_shown_to_the_other_nor_said_twice(start_router: StartRouter) -> None:
    broken = stream(text_event("one, "), cut=True)
    rest = stream(text_event(" "), text_event(" two"), FINISH, DONE)
    with pair(start_router, broken, rest) as (router, _, two):
        answer = ask(router, "r", stream=True)
        assert told(answer) == "one, two" and json.loads(two.body)["messages"][-1]["content"] == "one,"


def test_f45_a_stall_is_taken_up_too(start_router: StartRouter) -> None:
    def stall(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head() + chunk(text_event("Hello")))
        sock.recv(1)

    with pair(start_router, stall, REST, route={"timeouts": {"idle_ms": 200}}) as (router, _, _):
        answer = ask(router, "r", stream=True)
        assert told(answer) == "Hellold!" and answer.done
        assert [row.outcome for row in router.settled(answer.id).attempts] == ["stalled", "ok"]


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (stream(text_event("Let me look"), TOOL, cut=True), {}),
        (BROKEN, {"n": 2}),
        (BROKEN, {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}),
    ],
    ids=["tool call", "several choices", "JSON"],
)
def test_only_text_is_taken_up(
    start_router: StartRouter, first: Callable[[socket.socket, bytes], None], more: dict[str, Any]
) -> None:
    with pair(start_router, first, REST) as (router, _, two):
        answer = ask(router, "r", stream=True, **more)
        assert not answer.done and dicts(answer)[-1]["error"]["code"] == "stream_interrupted"
        assert two.requests == [] and len(router.settled(answer.id).attempts) == 1


def test_i08_nothing_is_taken_up_where_the_route_does_not_say_so(start_router: StartRouter) -> None:
    with pair(start_router, BROKEN, REST, route={"continuation": False}) as (router, _, two):
        answer = ask(router, "r", stream=True)
        assert dicts(answer)[-1]["error"]["code"] == "stream_interrupted" and two.requests == []
        assert "x-pointsman-continuation" not in answer.headers


def test_when_nobody_can_go_on_the_client_is_told(start_router: StartRouter) -> None:
    with pair(start_router, BROKEN, whole(b'{"error":{"message":"down"}}', status="500 X")) as (router, one, two):
        answer = ask(router, "r", stream=True)
        assert told(answer) == "Hello wor" and not answer.done and "error" in dicts(answer)[-1]
        assert len(one.requests) == 1 and two.requests  # the first does not take a beginning
        booked = router.settled(answer.id)
        assert booked.outcome != "ok" and booked.attempts[0].outcome == "truncated"


def test_f51_a_silent_stream_is_kept_alive_by_comments_between_events(start_router: StartRouter) -> None:
    go_on = threading.Event()

    def slow(sock: socket.socket, _: bytes) -> None:
        sock.sendall(stream_head() + chunk(text_event("Hello")))
        go_on.wait(5)
        sock.sendall(chunk(text_event(" you") + FINISH + DONE) + b"0\r\n\r\n")

    limits = {"stream_keepalive_ms": 100}
    with (
        pair(start_router, slow, REST, route={"continuation": False}, limits=limits) as (router, _, _),
        Wire(router.port) as wire,
    ):
        wire.send(post(chat_body("r", stream=True)))
        wire.head()
        assert b"Hello" in wire.chunk()
        assert wire.chunk() == b":\n" and wire.chunk() == b":\n"
        go_on.set()
        rest = b""
        while b"[DONE]" not in rest:
            rest += wire.chunk()
        assert b" you" in rest and b"\nid:" not in rest

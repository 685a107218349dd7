"""A stop takes nothing away: what runs is finished, what is new goes elsewhere, and the books are whole (fault 95)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, ask, chat_body, elapsed_ms, fetch, get, post
from gateway_router import Router, until

StartRouter = Callable[..., Router]


def setup(lab: Lab, **limits: int) -> dict[str, object]:
    deployments = {
        "a": deployment("openai", "m"),
        "slow": deployment("openai", "slow"),
        "steady": deployment("openai", "drained"),
    }
    return small_config(lab, deployments, {}, limits=limits)


@pytest.fixture(scope="module")
def calm() -> object:
    """Providers whose stream takes about a second and a half."""
    from gateway_lab import FAST, mock_values

    values = mock_values()
    for provider in values["providers"]:
        provider["models"] = dict(provider["models"]) | {
            "drained": FAST | {"tokens_per_s": 40, "output_tokens": {"p50": 60, "p95": 60}}
        }
    with Lab(values) as running:
        yield running


def refused(router: Router) -> bool:
    try:
        Wire(router.port).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was in the queue of the listener that closed
        return True
    return False


def test_f95_a_running_stream_ends_whole_and_new_ones_are_refused(calm: Lab, start_router: StartRouter) -> None:
    router = start_router(setup(calm))
    idle, busy, probing = Wire(router.port), Wire(router.port), Wire(router.port)
    idle.send(post(chat_body("a")))
    assert idle.response().status == 200
    busy.send(post(chat_body("steady", stream=True)))
    head = busy.head()
    first = busy.chunk()
    probing.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n")  # a probe that is under way when the stop comes
    assert fetch(router, "/livez").status == 200  # so the worker has read the half of it
    router.term()
    until(lambda: refused(router))
    probing.send(b"\r\n")
    answer = probing.response()
    assert answer.status == 503 and answer.json["status"] == "draining"
    assert idle.ended(2)  # idle connections are closed, not cut within a request
    head.chunks.append(first)
    while data := busy.chunk():
        head.chunks.append(data)
    head.body = b"".join(head.chunks)
    assert head.done and head.finishes == ["stop"]
    assert busy.ended(2)
    assert router.wait_ended(5) == 0
    assert router.settled(head.id).outcome == "ok"
    router.check_books()
    for wire in (idle, busy, probing):
        wire.close()


def test_f95_at_the_end_of_the_drain_a_stream_gets_its_error_and_its_row(calm: Lab, start_router: StartRouter) -> None:
    router = start_router(setup(calm, drain_ms=300))
    with Wire(router.port) as stream, Wire(router.port) as waiting:
        stream.send(post(chat_body("steady", stream=True)))
        head = stream.head()
        stream.chunk()
        waiting.send(post(chat_body("slow"), "x-request-id: waits"))
        until(lambda: calm.active("openai") == 2)
        start = time.monotonic()
        router.term()
        while data := stream.chunk():
            head.chunks.append(data)
        head.body = b"".join(head.chunks)
        assert 200 < elapsed_ms(start) < 1000
        assert head.events[-1]["error"]["origin"] == "router"
        assert not head.done and head.finishes == []
        answer = waiting.response()
        assert answer.status == 503 and answer.error["origin"] == "router"
    assert router.wait_ended(5) == 0
    assert router.settled(head.id).outcome == "cancelled"
    assert router.by_client_id("waits").outcome == "cancelled"
    router.check_books()


def test_a_worker_without_work_ends_at_once(calm: Lab, start_router: StartRouter) -> None:
    router = start_router(setup(calm))
    ask(router, "a")
    with Wire(router.port) as idle:
        idle.send(get("/livez"))
        idle.response()
        start = time.monotonic()
        router.term()
        assert router.wait_ended(3) == 0
        assert elapsed_ms(start) < 1500
    router.check_books()


def test_a_worker_whose_supervisor_is_gone_drains(calm: Lab, start_router: StartRouter) -> None:
    router = start_router(setup(calm))
    assert router._process is not None and router._process.stdin is not None
    router._process.stdin.close()
    assert router.wait_ended(3) == 0


def test_i01_a_killed_worker_has_written_every_admission_before_its_send(calm: Lab, start_router: StartRouter) -> None:
    router = start_router(setup(calm))
    wires = [Wire(router.port) for _ in range(20)]
    for i, wire in enumerate(wires):
        wire.send(post(chat_body("slow" if i % 2 else "steady", stream=True)))
    until(lambda: calm.active("openai") == 20)
    os.kill(router.pid, 9)
    router.wait_ended()
    admitted = router.admitted_ids()
    assert len(admitted) == 20
    until(lambda: admitted <= {entry.request_id for entry in calm.served()})
    for wire in wires:
        wire.close()

"""Two tenants on one router: whatever `red` does, `blue` gets its answers, nothing of red's, and in time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_raw import Response, Wire, chat_body, get, post, send_what_goes
from gateway_router import Router, until

pytestmark = pytest.mark.serial
RED, BLUE = "sk-red-0123456789abcdef0123456789", "sk-blue-0123456789abcdef012345678"
ASKED = 100
# The bound: the 99th percentile of blue's waits while red does its worst is at most 1.5 times that of a quiet router and 250 ms
# more, and a second more while four bodies of 4 MiB are read at a time. The clients, their threads and the provider share two
# cores with the router here, so most of it is the machine's.
MOST_TIMES, MOST_MORE_MS, MOST_MORE_HUGE_MS = 1.5, 250.0, 1_000.0
PACED = FAST | {"ttft_ms": {"p50": 10, "p95": 10}, "tokens_per_s": 100, "output_tokens": {"p50": 400, "p95": 400}}


@pytest.fixture(scope="module")
def tenants() -> Iterator[Lab]:
    provider = {
        "name": "openai",
        "dialect": "openai",
        "keys": {"main": SECRET},
        "models": {"m": FAST, "refuses": FAST, "paced": PACED},
    }
    script = [{"match": {"model": "refuses"}, "do": "status", "status": 400}]
    with Lab({"providers": [provider], "seed": 7, "script": script}) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tenants: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    deployments = {name: deployment("openai", name) for name in ("m", "refuses", "paced")}
    routes = {
        "chat": {"candidates": ["m"]},
        "faq": {"candidates": ["m"], "cache": "1h"},
        "red-only-route": {"candidates": ["m"]},
    }
    rights = ["chat", "faq", "m", "refuses", "paced"]
    keys = [
        {"name": "red-key", "key": RED, "organisation": "red", "project": "p", "routes": [*rights, "red-only-route"]},
        {"name": "blue-key", "key": BLUE, "organisation": "blue", "project": "p", "routes": rights},
    ]
    quotas = [
        {"key": "default", "requests": "10000/m"},
        {"organisation": "red", "route": "chat", "requests": "5/h"},
        {"organisation": "red", "route": "m", "usd": "0.000001/d"},
    ]
    made = small_config(tenants, deployments, routes, keys=keys, quotas=quotas)
    with Router(made, tmp_path_factory.mktemp("tenants") / "data") as running:
        yield running
        running.check_quiet()


def told(router: Router, key: str, data: Callable[[str], bytes]) -> Response:
    with Wire(router.port) as wire:
        wire.send(data(f"authorization: Bearer {key}"))
        return wire.response()


def chat(router: Router, key: str, model: str, *lines: str, text: str = "hello", **more: Any) -> Response:
    return told(router, key, lambda auth: post(chat_body(model, text, **more), *lines, auth=auth))


# --- what red does; each as often as it can, in several threads
def over_its_rate(router: Router) -> None:
    chat(router, RED, "chat")


def over_its_budget(router: Router) -> None:
    chat(router, RED, "m", max_tokens=1000)


def invalid(router: Router) -> None:
    for body in (b"{", b"[]", b'{"model": 3}', chat_body("nothing"), chat_body("faq", temperature="hot")):
        told(router, RED, lambda auth, body=body: post(body, auth=auth))  # type: ignore[misc]


def huge(router: Router) -> None:
    with Wire(router.port) as wire:
        send_what_goes(wire, post(chat_body("faq", "x" * (4 << 20)), auth=f"authorization: Bearer {RED}"))
        wire.response()


def refused_by_the_provider(router: Router) -> None:
    chat(router, RED, "refuses")


def fills_the_cache(router: Router) -> None:
    chat(router, RED, "faq", text=f"question {time.monotonic_ns()}")


def leaves_streams_unread(router: Router) -> None:
    wires = [Wire(router.port) for _ in range(10)]
    for wire in wires:
        wire.send(post(chat_body("paced", stream=True), auth=f"authorization: Bearer {RED}"))
    for wire in wires:
        with contextlib.suppress(AssertionError, OSError):
            wire.more()
        wire.close(reset=True)


ATTACKS = [
    over_its_rate,
    over_its_budget,
    invalid,
    huge,
    refused_by_the_provider,
    fills_the_cache,
    leaves_streams_unread,
]


class Flood:
    """Do one thing over and over in threads, for as long as the `with` lasts. `done` says how often."""

    def __init__(self, router: Router, what: Callable[[Router], None], threads: int = 4) -> None:
        self.done = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(router, what)) for _ in range(threads)]

    def _run(self, router: Router, what: Callable[[Router], None]) -> None:
        while not self._stop.is_set():
            what(router)
            self.done += 1

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        until(lambda: self.done > 3, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def blue(router: Router) -> tuple[list[Response], float]:
    """Ask as blue, in one piece and as streams, kept and not; return the answers and the 99th percentile in ms."""
    answers, took_ms = [], []
    for number in range(ASKED):
        began_s = time.monotonic()
        model = ("chat", "faq")[number % 2]
        answers.append(chat(router, BLUE, model, text=f"blue asks {number}", stream=number % 3 == 0))
        took_ms.append((time.monotonic() - began_s) * 1000)
    return answers, sorted(took_ms)[int(ASKED * 0.99) - 1]


@pytest.fixture(scope="module")
def quiet_ms(shared: Router) -> float:
    blue(shared)  # connections, caches
    return blue(shared)[1]


@pytest.mark.parametrize("what", ATTACKS, ids=lambda what: what.__name__)
def test_s23_whatever_one_tenant_does_another_is_answered_as_before(
    shared: Router, quiet_ms: float, what: Callable[[Router], None]
) -> None:
    with Flood(shared, what):
        answers, p99_ms = blue(shared)
    assert {one.status for one in answers} == {200} and all(one.text for one in answers)
    assert not [one for one in answers if b"red" in one.raw_head.lower()]
    assert all(one.headers["x-ratelimit-limit-requests"] == "10000" for one in answers)
    assert all(int(one.headers["x-ratelimit-remaining-requests"]) > 9_000 for one in answers)
    print(f"\n{what.__name__}: p99 {p99_ms:.1f} ms, quiet {quiet_ms:.1f} ms")
    assert p99_ms <= MOST_TIMES * quiet_ms + (MOST_MORE_HUGE_MS if what is huge else MOST_MORE_MS)
    metrics = told(shared, BLUE, lambda auth: get("/metrics", auth=auth)).body.decode().splitlines()
    states = {line.split(" ")[-1] for line in metrics if line.startswith("pointsman_breaker_state{")}
    assert states == {"0"}  # nothing that is red's own fault counts against a deployment


def test_i23_nothing_of_one_tenant_reaches_another(shared: Router) -> None:
    first = chat(shared, RED, "faq", "idempotency-key: the-same", "x-request-id: the-same", text="a shared secret?")
    again = chat(shared, RED, "faq", "idempotency-key: the-same", text="a shared secret?")
    assert again.json == first.json
    other = chat(shared, BLUE, "faq", "idempotency-key: the-same", "x-request-id: the-same", text="a shared secret?")
    assert other.status == 200 and other.headers["x-pointsman-cache"] == "miss" and other.id != first.id
    assert other.json["id"] != first.json["id"]  # neither red's kept answer, nor that of red's idempotency key
    assert chat(shared, BLUE, "faq", text="a shared secret?").json["id"] == other.json["id"]
    models = told(shared, BLUE, lambda auth: get("/v1/models", auth=auth))
    assert models.status == 200 and b"red" not in models.body
    for model in ("red-only-route", "red-only-rout", "no-such-route"):
        refused = chat(shared, BLUE, model)
        said = refused.error["message"].replace(model, "")
        assert refused.status == 404 and "red" not in said.replace("configured", ""), said
    one, none = (chat(shared, BLUE, model) for model in ("red-only-route", "red-0nly-route"))
    assert set(one.error) == set(none.error) and one.error["code"] == none.error["code"]
    assert one.error["message"].replace("red-only-route", "") == none.error["message"].replace("red-0nly-route", "")

"""What the tests of policies at the front door share: models that differ, and short ways to ask and to look it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway_lab import Lab, deployment, small_config
from gateway_raw import Response, Wire, ask, chat_body, post
from gateway_router import Router, until

from pointsman.core.entry import Admitted, Settled

GOOD = {"price": {"input": 3, "output": 15}, "quality": {"code": 0.9, "default": 0.85}}
CHEAP = {"price": {"input": 0.1, "output": 0.4}, "quality": {"code": 0.3, "default": 0.6}}
FREE = {"price": {"input": 0, "output": 0}, "quality": 0.4}
CODE = "Please debug this python function:\n```python\ndef f(x):\n    return x +\n```"
PROSE = "Please write me a kind letter to my aunt who likes the sea."


def models(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the three deployments most policies are about, one a wire: `good`, `cheap` and `free`."""
    return {
        "good": deployment("anthropic", "m", **GOOD),
        "cheap": deployment("openai", "m", **CHEAP),
        "free": deployment("gemini", "m", **FREE),
    } | more


def routes(lab: Lab, routes: dict[str, Any], deployments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the config of these routes, over `models` unless deployments are given."""
    return small_config(lab, deployments or models(), routes, **more)


def went(answer: Response) -> str:
    """Return who answered. AssertionError when nobody did."""
    assert answer.status == 200, answer.body
    return answer.headers.get("x-pointsman-deployment", "")


def admitted(router: Router, answer: Response) -> Admitted:
    return router.admitted(answer.id)


def settled(router: Router, answer: Response) -> Settled:
    """Return the Settled record of an answer, with all that tests of policies look at."""
    found = until(lambda: [r for r in router.records() if isinstance(r, Settled) and r.id == answer.id])
    assert len(found) == 1
    return found[0]


def dry(router: Router, model: str, *lines: str, **more: Any) -> dict[str, Any]:
    """Return what POST /v1/route says of a request."""
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, **more), *lines, path="/v1/route"))
        answer = wire.response()
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def ask_until(router: Router, model: str, true: Callable[[Response], bool], within_s: float = 60.0) -> Response:
    """Ask again and again until an answer is as wanted; return it."""
    end_s = time.monotonic() + within_s
    while True:
        answer = ask(router, model)
        if true(answer):
            return answer
        assert time.monotonic() < end_s, answer.headers
        time.sleep(0.02)

"""Requests whose members have the wrong shape: refused or passed on, for every wire behind; never a crash or a hang."""

from __future__ import annotations

import copy
import json
import os
import random
from typing import Any

import pytest
from gateway_raw import Wire, ask, post
from gateway_router import Router

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "250"))
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOOK = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}
RICH: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, PICTURE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "grey"},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"type": "function", "function": LOOK}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "n": 1,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 1,
    "max_tokens": 9,
    "user": "u",
    "metadata": {"a": "b"},
    "reasoning_effort": "low",
    "logprobs": False,
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "pointsman": {"attempts": 1, "timeout_ms": 5000},
}
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    10**30,
    2**63,
    "",
    "x",
    "\u0000",
    "\ud800",
    "é" * 100,
    "1e5",
    "auto",
]
NESTED: list[Any] = [[], {}, [[]], [None], {"type": "text"}, {"type": 5}, {"role": "user"}, ["a", 1], {"a": {"b": [1]}}]
VALUES = [*PLAIN, *NESTED, {"url": 5}, [{"type": "nonsense"}], "data:image/png;base64,!!!"]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every node but the root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [at] if at else []
    for key, child in inner:
        found += places(child, (*at, key))
    return found


def bend(rng: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which one or two nodes are something else, gone or doubled."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice([1, 1, 2])):
        *path, last = rng.choice(places(body))
        node: Any = body
        for key in path:
            node = node[key]
        change = rng.randrange(4)
        if change == 0 and isinstance(node, dict):
            del node[last]
        elif change == 1 and isinstance(node, list):
            node.append(copy.deepcopy(node[last]))
        else:
            node[last] = copy.deepcopy(rng.choice(VALUES))
    return body


@pytest.mark.parametrize("model", ["openai-m", "anthropic-m", "gemini-m"])
def test_f68_a_member_of_any_shape_gives_an_answer_or_a_clear_refusal(router: Router, model: str) -> None:
    statuses: dict[int, int] = {}
    wire = Wire(router.port)
    for seed in range(ROUNDS):
        rng = random.Random(f"{model} {seed}")
        body = bend(rng, RICH) | {"model": model, "stream": rng.random() < 0.5}
        wire.send(post(json.dumps(body).encode()))
        answer = wire.response()
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert answer.status in (200, 400), (seed, answer.status, answer.body[:300])
        if answer.status == 400:
            assert answer.error["message"] and answer.error["request_id"], seed
        elif body["stream"]:
            assert answer.done or "error" in answer.events[-1], seed
        if answer.headers.get("connection") == "close":
            wire = Wire(router.port)
    wire.close()
    assert statuses[200] > 20 and statuses[400] > 20
    assert router.alive
    router.check_quiet()
    assert ask(router, model).status == 200
    router.check_books()

"""docs/api.md names every endpoint, header and option there is, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest
from code_index import SRC
from doc_pages import page, rows, section, words

from pointsman.dialects.relay_request import RouterOptions
from pointsman.gateway.endpoints import OPEN, ROUTES
from pointsman.gateway.headers import NAMES
from pointsman.gateway.world import PASSED_HEADERS

if TYPE_CHECKING:
    from gateway_lab import Lab
    from gateway_router import Router

API = page("docs/api.md")
TOWARDS_PROVIDERS = {"world.py", "upstream.py"}  # their header lines are of requests
_LINE = re.compile(r"(?:^|\r\n)([a-z][a-z-]+): ")


def table_of(heading: str) -> list[list[str]]:
    return rows(section(API, heading))


def test_every_endpoint_is_listed_with_whether_it_asks_for_a_key() -> None:
    listed = {(words(row[0])[0], words(row[1])[0]): row[2] == "yes" for row in table_of("Endpoints")}
    assert listed == {(method.decode(), path): path not in OPEN for method, path in ROUTES}


def test_every_router_option_is_listed() -> None:
    named = [words(row[0])[0] for row in table_of("The member `pointsman`")]
    assert sorted(named) == sorted(field.name for field in msgspec.structs.fields(RouterOptions))


def test_every_request_header_that_is_read_is_listed() -> None:
    listed = {word: row[1] for row in table_of("Request headers") for word in words(row[0])}
    assert set(listed) == set(NAMES)
    assert {name for name, use in listed.items() if use.startswith("passed on")} == set(PASSED_HEADERS)


def written() -> set[str]:
    """Return the names of the header lines that the gateway's code writes to clients."""
    found: set[str] = set()
    for file in (SRC / "gateway").glob("*.py"):
        if file.name in TOWARDS_PROVIDERS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(_LINE.findall(node.value))
    return found - {"pointsman"}  # which begins messages to the operator


@pytest.fixture
def sent(router: Router, lab: Lab, start_router: Callable[..., Router]) -> set[str]:
    """The names of the headers of answers of every sort."""
    from gateway_lab import deployment, small_config
    from gateway_raw import Wire, ask, chat_body, fetch, get, post

    answers = [
        ask(router, "auto", "x-request-id: mine"),
        ask(router, "auto", stream=True),
        ask(router, "openai/invalid-400"),
        ask(router, "nothing"),
        fetch(router, "/v1/models"),
        fetch(router, "/metrics"),
        fetch(router, "/v1/models", auth=""),
    ]
    for request in (get("/v1/models", method="DELETE"), post(chat_body("auto"), "connection: close")):
        with Wire(router.port) as wire:
            wire.send(request)
            answers.append(wire.response())
    broken = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}
    config = small_config(
        lab,
        {"a": deployment("openai", "m") | {"provider": "gone"}, "b": deployment("openai", "m") | {"provider": "gone"}},
        {"r": {"candidates": ["a", "b"]}},
        providers={"gone": broken},
    )
    answers.append(ask(start_router(config), "r"))
    arms = {"one": {"weight": 1}, "two": {"weight": 1}}
    split = {"r": {"candidates": ["a"], "split": {"arms": arms}}}
    drawn = start_router(small_config(lab, {"a": deployment("openai", "m")}, split))
    answers.append(ask(drawn, "r", pointsman={"explain": True}))
    going_on = deployment("openai", "m") | {"prefill": "last"}
    declared = small_config(lab, {"a": going_on}, {"r": {"candidates": ["a"], "continuation": True}})
    twice = start_router(declared)
    answers += [ask(twice, "r", "idempotency-key: one", stream=True) for _ in range(2)]
    quotas = [{"key": "dev", "requests": "1/d", "tokens": "9k/d", "degrade": "r"}]
    counted = start_router(
        small_config(lab, {"a": deployment("openai", "m")}, {"r": {"candidates": ["a"]}}, quotas=quotas)
    )
    answers += [ask(counted, "a") for _ in range(2)]
    cache = {"ttl": "1h", "semantic": {}}
    kept = start_router(
        small_config(lab, {"a": deployment("openai", "m")}, {"r": {"candidates": ["a"], "cache": cache}})
    )
    answers += [ask(kept, "r", text=text) for text in ("Where is my order?", "where is my order")]
    assert [answer.status for answer in answers] == [200, 200, 400, 404, 200, 200, 401, 405, 200, 503, *[200] * 7]
    return {name for answer in answers for name in answer.headers}


def test_every_response_header_is_listed_and_every_listed_one_is_sent(sent: set[str]) -> None:
    listed = {word for row in table_of("Response headers") for word in words(row[0])}
    assert sent | written() == listed
    assert sent >= {name for name in listed if name.startswith("x-")}

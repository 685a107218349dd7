"""Odd requests on a route that looks at everything: an answer or a clear error, never a worker that stumbles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_lab import Lab
from gateway_policy import routes
from gateway_raw import Wire, ask, post
from gateway_router import Router
from test_policy_facts import condition

from pointsman.core.facts import FACTS


@pytest.fixture(scope="module")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    rules = [{"when": condition(name), "use": "good"} for name in FACTS]
    everything = {
        "candidates": ["cheap", "free"],
        "rules": rules,
        "sticky": "conversation",
        "split": {
            "by": "user",
            "arms": {"a": {"weight": 1}, "b": {"weight": 1, "max_output": 50, "prompt_prefix": "P"}},
        },
        "degrade": [{"cached": {"max_age": "1h"}}, {"reply": "Sorry."}],
    }
    server = {"rule_headers": ["x-plan"]}
    with Router(routes(lab, {"r": everything}, server=server), tmp_path_factory.mktemp("odd")) as running:
        yield running
        running.check_books()
        running.check_quiet()


def send(router: Router, members: str, path: str = "/v1/chat/completions") -> Any:
    body = '{"model":"r","messages":[{"role":"user","content":"hello"}]' + (f",{members}" if members else "") + "}"
    with Wire(router.port) as wire:
        wire.send(post(body.encode("utf-8", "surrogatepass"), path=path))
        return wire.response()


ODD = [
    r'"user":"\ud800"',
    r'"user":"\u0000"',
    '"user":7',
    '"user":null',
    '"user":{}',
    '"user":"' + "u" * 100_000 + '"',
    r'"metadata":{"a":"\ud800"}',
    r'"metadata":{"\ud800":"a"}',
    r'"metadata":{"\u0000":"\u0000"}',
    '"metadata":null',
    '"metadata":[1]',
    '"metadata":{"a":null,"b":{"c":[1,2]},"d":1e999}',
    '"metadata":' + '{"a":' * 200 + "1" + "}" * 200,
    '"metadata":{' + ",".join(f'"k{n}":"v"' for n in range(1_000)) + "}",
    '"temperature":1e999',
    '"temperature":-1e999',
    '"temperature":"hot"',
    '"temperature":null',
    '"temperature":123456789012345678901234567890',
    '"temperature":[0.5]',
    '"prompt_cache_key":7',
    r'"prompt_cache_key":"\ud800"',
    '"previous_response_id":{}',
    '"pointsman":{}',
    '"pointsman":null',
    '"pointsman":[]',
    r'"pointsman":{"session":"\ud800"}',
    r'"pointsman":{"session":"a\u0000b\r\nc"}',
    r'"pointsman":{"tags":["\u2028","a,b"]}',
    '"user":"a","user":"b"',
    '"max_tokens":9007199254740993',
    '"max_tokens":0',
    '"max_tokens":true',
    '"max_completion_tokens":null,"max_tokens":10',
    '"n":128',
    '"tools":null',
    '"tools":[]',
    '"response_format":null',
    '"stream":false,"stream_options":null',
]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"], ids=["chat", "dry"])
@pytest.mark.parametrize("members", ODD, ids=[text[:40] for text in ODD])
def test_an_odd_member_is_taken_or_refused_in_words(router: Router, members: str, path: str) -> None:
    answer = send(router, members, path)
    assert answer.status in (200, 400), answer.body
    if answer.status == 400:
        assert answer.error["message"] and answer.error["origin"] == "client"
    assert ask(router, "r").status == 200


MESSAGES = [
    "null", "7", '"text"', "{}", "[]", "[7]", "[null]", '[{"role":7}]', '[{"role":"user"}]', '[{"content":"x"}]',
    '[{"role":"user","content":7}]', '[{"role":"user","content":[7]}]', '[{"role":"user","content":[{"type":"text"}]}]',
    r'[{"role":"user","content":"\ud800"}]', '[{"role":"user","content":null}]', "[" * 100 + "]" * 100,
    '[{"role":"system","content":null},{"role":"user","content":"x"}]',
    '[{"role":"system","content":[{"type":"text","text":null}]},{"role":"user","content":"x"}]',
    '[{"role":"assistant","content":"x"}]', '[{"role":"user","content":"' + r"\n" * 20_000 + '"}]',
]  # fmt: skip


@pytest.mark.parametrize("user", ["u1", "u2", "u3", "u4"])
@pytest.mark.parametrize("messages", MESSAGES, ids=[text[:40] for text in MESSAGES])
def test_odd_messages_never_stop_a_worker(router: Router, messages: str, user: str) -> None:
    """Users fall into both arms, one of which edits the messages."""
    for path in ("/v1/route", "/v1/chat/completions"):
        body = f'{{"model":"r","user":"{user}","messages":{messages}}}'
        with Wire(router.port) as wire:
            wire.send(post(body.encode(), path=path))
            answer = wire.response()
        assert answer.status in (200, 400), (answer.status, answer.body)
        json.loads(answer.body)


@pytest.mark.parametrize("line", ["x-plan: ", "x-plan: \xff\xfe", "x-session-id: " + "s" * 5_000, "x-session-id: \xe9"])
def test_odd_headers_are_facts_like_others(router: Router, line: str) -> None:
    with Wire(router.port) as wire:
        wire.send(post(b'{"model":"r","messages":[{"role":"user","content":"hello"}]}', line))
        assert wire.response().status == 200


BIG = [
    '"metadata":{"' + "k" * 6_000_000 + '":"v"}',
    '"metadata":{' + ",".join(f'"{n}{"k" * 90_000}":"{"v" * 4_096}"' for n in range(60)) + "}",
    '"user":"' + "é" * 3_000_000 + '"',
    '"prompt_cache_key":"' + "s" * 6_000_000 + '"',
]


@pytest.mark.parametrize("members", BIG, ids=["one key", "many keys", "user", "session"])
def test_what_a_client_writes_into_facts_cannot_fill_the_journal(router: Router, members: str) -> None:
    """Facts stand in the record of the request, which has a bound, and others' records are written with it."""
    before = sum(file.stat().st_size for file in (router.data / "journal").glob("*.pmj"))
    answer = send(router, members)
    assert answer.status == 200, answer.body
    after = sum(file.stat().st_size for file in (router.data / "journal").glob("*.pmj"))
    assert after - before < 600_000
    assert router.settled(answer.id).outcome == "ok"

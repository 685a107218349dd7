"""What a route changes in a request really leaves, in the wire of the provider; every other byte stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import REPLY, Capture, whole
from gateway_raw import ask
from gateway_router import Router

ANTHROPIC = json.dumps(
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "up-1", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 3, "output_tokens": 1},
    }
).encode()  # fmt: skip
GEMINI = json.dumps(
    {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    }
).encode()
REPLIES = {"openai": REPLY, "anthropic": ANTHROPIC, "gemini": GEMINI}
WIRES = tuple(REPLIES)
Sent = Callable[..., dict[str, Any]]
FACTS = {"price": {"input": 1, "output": 1}, "context": 100_000, "max_output": 8_000, "quality": 0.5}
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
EDITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "params": {"params": {"temperature": 0.125, "stop": ["x"]}},
    "prefix": {"prompt_prefix": "Answer as a pirate."},
    "small": {"max_output": 50},
    "all": {"params": {"temperature": 0.5}, "prompt_prefix": "P", "max_output": 9},
    "rung": {"degrade": [{"max_output": 5}]},
}


@pytest.fixture
def sent(request: pytest.FixtureRequest, start_router: Callable[..., Router]) -> Iterator[tuple[str, Sent, Capture]]:
    """Send a chat call through a route of EDITS; get the body that the provider of this wire got."""
    dialect: str = request.param
    with Capture(whole(REPLIES[dialect])) as capture:
        up = {"dialect": dialect, "base_url": capture.url, "api_key": "sk-canary-capture"}
        config = {
            "providers": {"up": up},
            "deployments": {"cap": {"provider": "up", "model": "up-1"} | FACTS},
            "routes": {name: {"candidates": ["cap"]} | edit for name, edit in EDITS.items()},
        }
        router = start_router(config)

        def send(route: str, **more: Any) -> dict[str, Any]:
            answer = ask(router, route, messages=more.pop("messages", TALK), **more)
            assert answer.status == 200 and answer.text == "hi", answer.body
            found: dict[str, Any] = json.loads(capture.body)
            return found

        yield dialect, send, capture


every_wire = pytest.mark.parametrize("sent", WIRES, indirect=True)


def system(dialect: str, body: dict[str, Any]) -> str:
    """Return the text of the system prompt as the provider got it."""
    if dialect == "openai":
        assert body["messages"][1]["role"] == "user"
        return str(body["messages"][0]["content"])
    if dialect == "anthropic":
        return "".join(p["text"] for p in body["system"]) if isinstance(body["system"], list) else str(body["system"])
    return "".join(part["text"] for part in body["systemInstruction"]["parts"])


def figures(dialect: str, body: dict[str, Any]) -> tuple[float | None, int | None]:
    """Return the temperature and the bound on the output."""
    if dialect == "gemini":
        config = body.get("generationConfig", {})
        return config.get("temperature"), config.get("maxOutputTokens")
    return body.get("temperature"), body.get("max_completion_tokens", body.get("max_tokens"))


@every_wire
def test_params_are_set_whatever_the_client_says(sent: tuple[str, Sent, Capture]) -> None:
    dialect, send, _ = sent
    assert figures(dialect, send("plain", temperature=1.0))[0] == 1.0
    body = send("params", temperature=1.0)
    assert figures(dialect, body)[0] == 0.125
    stops = {"openai": "stop", "anthropic": "stop_sequences"}
    assert (body["generationConfig"]["stopSequences"] if dialect == "gemini" else body[stops[dialect]]) == ["x"]


@every_wire
def test_a_prefix_stands_before_everything_else_the_model_is_told(sent: tuple[str, Sent, Capture]) -> None:
    dialect, send, _ = sent
    assert system(dialect, send("plain")) == "Be brief."
    assert system(dialect, send("prefix")) == "Answer as a pirate.\n\nBe brief."
    assert system(dialect, send("prefix", messages=TALK[1:])) == "Answer as a pirate."
    parts = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, TALK[1]]
    if dialect != "openai":  # there a message of its own
        assert system(dialect, send("prefix", messages=parts)).startswith("Answer as a pirate.")
    else:
        assert send("prefix", messages=parts)["messages"][0]["content"] == "Answer as a pirate."


@every_wire
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_no_answer_is_asked_for_that_is_longer_than_the_route_allows(
    sent: tuple[str, Sent, Capture], limit: str
) -> None:
    dialect, send, _ = sent
    assert figures(dialect, send("small"))[1] == 50
    assert figures(dialect, send("small", **{limit: 2_000}))[1] == 50
    assert figures(dialect, send("small", **{limit: 20}))[1] == 20
    assert figures(dialect, send("small", **{limit: None}))[1] == 50
    both = send("small", max_tokens=400, max_completion_tokens=30)
    assert figures(dialect, both)[1] == 30 and not ({"max_tokens", "max_completion_tokens"} <= set(both))


@every_wire
def test_a_smaller_answer_is_asked_for_on_the_rung_that_says_so(sent: tuple[str, Sent, Capture]) -> None:
    dialect, send, capture = sent
    play = capture.play
    failed = [False]

    def fail_once(sock: Any, body: bytes) -> None:
        if failed[0]:
            play(sock, body)
        else:
            failed[0] = True
            sock.sendall(whole(b'{"error":{"message":"no"}}', status="500 Internal Server Error"))

    capture.play = fail_once
    assert figures(dialect, send("rung", max_tokens=400))[1] == 5
    assert [figures(dialect, json.loads(body))[1] for _, body in capture.requests] == [400, 5]


@pytest.mark.parametrize("sent", ["openai"], indirect=True)
def test_every_other_member_leaves_as_it_came(sent: tuple[str, Sent, Capture]) -> None:
    _, send, capture = sent
    unknown = {"x_new": {"b": [1, 2.50, "é"]}, "seed": 12345678901234567890, "user": "ann"}
    body = send("all", **unknown, pointsman={"tags": ["t"]}, temperature=1.5)
    assert {name: body[name] for name in unknown} == unknown
    assert b'"seed": 12345678901234567890' in capture.body or b'"seed":12345678901234567890' in capture.body
    assert b"2.5" in capture.body and "pointsman" not in body and body["model"] == "up-1"
    assert body["temperature"] == 0.5 and figures("openai", body)[1] == 9
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize("sent", ["openai"], indirect=True)
def test_a_streams_edits_ask_for_its_usage_too(sent: tuple[str, Sent, Capture]) -> None:
    _, _, capture = sent
    from gateway_capture import DONE, FINISH, chunk, stream_head, text_event

    reply = stream_head() + chunk(text_event("hi")) + chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n"
    capture.play = lambda sock, _body: sock.sendall(reply)
    body = sent[1]("all", stream=True)
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
    assert body["temperature"] == 0.5

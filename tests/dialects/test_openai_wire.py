"""What is particular to the chat completions wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_cases import GOLDEN, decoded, summary

from pointsman.core.chat import (
    ChatRequest,
    End,
    File,
    Image,
    Message,
    Reasoning,
    ReasoningRequest,
    StreamError,
    Text,
    ToolCallDelta,
    ToolCallStart,
    ToolChoice,
    ToolResult,
)
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.registry import DIALECTS

OPENAI = DIALECTS["openai"]
USER = Message("user", (Text("hi"),))


def body_of(chat: ChatRequest, wire: Wire | None = None) -> dict[str, Any]:
    return json.loads(OPENAI.encode_request(chat, wire or Wire(model="up")))


def request(**members: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}
    return OPENAI.decode_request(json.dumps(body).encode())


def stream(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def test_renames_and_drops_are_applied_last() -> None:
    chat = request(max_completion_tokens=9, seed=1, user="u", x_new={"a": 1})
    wire = Wire(model="up", rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"}, drop=("user",))
    body = body_of(chat, wire)
    assert body["max_tokens"] == 9 and body["random_seed"] == 1 and body["x_new"] == {"a": 1}
    assert not {"user", "seed", "max_completion_tokens"} & body.keys()


def test_usage_is_asked_of_every_stream_unless_the_server_refuses() -> None:
    assert body_of(request(stream=True))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body_of(request(stream=True), Wire(model="up", stream_usage=False))
    assert "stream_options" not in body_of(request())
    assert not request(stream=True).include_usage


def test_unknown_members_are_dropped_when_the_wire_changes() -> None:
    chat = request(prompt_cache_key="k")
    assert b"prompt_cache_key" in OPENAI.encode_request(chat, Wire(model="m"))
    for other in ("anthropic", "gemini"):
        assert b"prompt_cache_key" not in DIALECTS[other].encode_request(chat, Wire(model="m"))


def test_custom_tools_stay_in_their_wire() -> None:
    chat = request(tools=[{"type": "custom", "custom": {"name": "grep"}}])
    assert body_of(chat)["tools"] == [{"type": "custom", "custom": {"name": "grep"}}]
    for other in ("anthropic", "gemini"):
        with pytest.raises(WireError, match="tools that only openai has"):
            DIALECTS[other].encode_request(chat, Wire(model="m"))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "low"}, ReasoningRequest("low")),
        ({"reasoning_effort": "none"}, ReasoningRequest(enabled=False)),
        ({"reasoning": {"max_tokens": 2000}}, ReasoningRequest(budget_tokens=2000)),
        ({"reasoning": {"enabled": False}}, ReasoningRequest(enabled=False)),
        ({"reasoning": {"effort": "high"}}, ReasoningRequest("high")),
        ({}, None),
    ],
)
def test_reasoning_is_asked_in_either_way(members: dict[str, Any], expected: ReasoningRequest | None) -> None:
    assert request(**members).reasoning == expected


def test_a_budget_becomes_the_nearest_effort() -> None:
    for budget, effort in ((1024, "low"), (8000, "medium"), (30000, "high")):
        chat = ChatRequest(model="m", messages=(USER,), reasoning=ReasoningRequest(budget_tokens=budget))
        assert body_of(chat)["reasoning_effort"] == effort


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_goes_where_the_server_wants_it(field: str) -> None:
    chat = ChatRequest(model="m", messages=(USER, Message("assistant", (Reasoning("hm"), Text("ok")))))
    said = body_of(chat, Wire(model="up", reasoning_field=field))["messages"][1]
    assert said == {"role": "assistant", "content": "ok", field: "hm"}
    assert body_of(chat, Wire(model="up", reasoning_field=""))["messages"][1] == {"role": "assistant", "content": "ok"}


def test_cache_marks_stay_only_where_the_client_made_them_in_this_wire() -> None:
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    chat = request(messages=[{"role": "user", "content": [part]}])
    assert chat.messages[0].parts == (Text("hi", "1h"),)
    assert body_of(chat)["messages"][0]["content"] == [part]
    foreign = ChatRequest(model="m", messages=chat.messages, wire="anthropic")
    assert body_of(foreign)["messages"][0]["content"] == "hi"


def test_what_the_wire_cannot_say_is_refused() -> None:
    image = ToolResult("a", (Image(data="AAEC", media_type="image/png"),))
    for parts, reason in (((image,), "tool result"), ((File(url="https://example.org/a.pdf"),), "file given by URL")):
        with pytest.raises(WireError, match=reason):
            OPENAI.encode_request(ChatRequest(model="m", messages=(Message("user", parts),)), Wire(model="m"))


def test_tool_choice_is_left_out_without_tools() -> None:
    chat = ChatRequest(model="m", messages=(USER,), tool_choice=ToolChoice("required", parallel=False))
    assert not {"tool_choice", "parallel_tool_calls"} & body_of(chat).keys()


@pytest.mark.parametrize(
    "members",
    [
        {"messages": "hi"},
        {"messages": [{"role": "robot", "content": "secret"}]},
        {"messages": [{"role": "tool", "content": "secret"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"tools": [{"type": "function", "function": {}}]},
        {"tool_choice": "secret"},
        {"tool_choice": {"type": "function"}},
        {"response_format": {"type": "json_schema"}},
        {"temperature": "secret"},
        {"metadata": {"secret": 7}},
        {"stop": [1]},
    ],
)
def test_a_wrong_member_is_named_and_never_shown(members: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        request(**members)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model":"m"}', b'"x"', b"\xff\xfe", b'{"model":"' + b"\xff" + b'"}']
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        OPENAI.decode_request(body)


def calls_of(*chunks: dict[str, Any]) -> dict[int, list[str]]:
    calls: dict[int, list[str]] = {}
    for event in decoded(OPENAI, [stream(*chunks, delta("tool_calls"))]):
        if isinstance(event, ToolCallStart):
            calls[event.call] = [event.id, event.name, ""]
        elif isinstance(event, ToolCallDelta):
            calls[event.call][2] += event.arguments
    return calls


def call(arguments: object, **members: Any) -> dict[str, Any]:
    name = members.pop("name", None)
    return delta(tool_calls=[{"function": {"name": name, "arguments": arguments}, **members}])


def test_parallel_calls_of_servers_that_number_them_alike_are_told_apart_by_id() -> None:
    calls = calls_of(call("{}", id="a", index=0, name="f"), call("{}", id="b", index=0, name="g"))
    assert calls == {0: ["a", "f", "{}"], 1: ["b", "g", "{}"]}


def test_calls_without_index_or_with_repeated_ids_are_followed() -> None:
    calls = calls_of(call('{"a":', id="a", name="f"), call("1}"), call("{}", id="b", name="g"))
    assert calls == {0: ["a", "f", '{"a":1}'], 1: ["b", "g", "{}"]}
    calls = calls_of(call('{"a":', id="a", index=0, name="f"), call("1}", id="a", index=0, name="f"))
    assert calls == {0: ["a", "f", '{"a":1}']}


def test_a_call_without_id_gets_one_and_arguments_may_be_an_object() -> None:
    assert calls_of(call({"a": 1}, index=0, name="f")) == {0: ["call_0", "f", '{"a":1}']}


def test_legacy_function_calls_are_read() -> None:
    calls = calls_of(delta(function_call={"name": "f", "arguments": "{"}), delta(function_call={"arguments": "}"}))
    assert calls == {0: ["call_0", "f", "{}"]}


def test_mistral_thinking_parts_are_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = decoded(
        OPENAI, [stream(delta(content=[thinking]), delta(content=[{"type": "text", "text": "ok"}]), delta("stop"))]
    )
    assert summary(events)["content"] == {0: [["reasoning", "hm", None, None], ["text", "ok"]]}


@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", "stop"), ("eos", "stop"), ("model_length", "length"), ("error", "error"), ("novel", "error")],
)
def test_i18_an_unknown_finish_word_is_not_called_complete(word: str, reason: str) -> None:
    events = decoded(OPENAI, [stream(delta(content="a"), delta(word))])
    assert summary(events)["finish"] == {0: (reason, word)}


def test_xai_counts_thinking_beside_the_completion() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 115,
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    events = decoded(OPENAI, [stream(delta(content="a"), delta("stop"), {"choices": [], "usage": usage})])
    assert summary(events)["usage"].output_tokens == 105 and events[-1] == End()


def test_the_role_comes_first_in_each_choice_and_ids_are_constant() -> None:
    events = decoded(OPENAI, [(GOLDEN / "openai" / "stream-two-choices.sse").read_bytes()])
    body = OPENAI.stream_encoder(include_usage=True).encode(events)
    chunks = [json.loads(line[6:]) for line in body.decode().split("\n\n") if line.startswith("data: {")]
    assert {c["id"] for c in chunks} == {"chatcmpl-2"}
    for index in (0, 2):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant" and mine[-1]["finish_reason"]
        assert not any("role" in one["delta"] for one in mine[1:])


def test_an_error_for_a_client_says_whose_it_is() -> None:
    body = OPENAI.stream_encoder(include_usage=True).encode([StreamError("overloaded", "busy", "x")])
    assert json.loads(body[6:]) == {
        "error": {
            "message": "busy",
            "type": "api_error",
            "param": None,
            "code": "provider_overloaded",
            "origin": "provider",
        }
    }
    assert b'"provider_reply_unreadable"' in OPENAI.stream_encoder(include_usage=True).encode([StreamError("odd", "")])

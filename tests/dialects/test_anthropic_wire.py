"""What is particular to the Messages wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_cases import GOLDEN, decoded, summary

from pointsman.core.chat import (
    Audio,
    ChatRequest,
    End,
    File,
    Message,
    Reasoning,
    ReasoningRequest,
    ResponseFormat,
    Text,
    ToolCall,
    ToolResult,
)
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.registry import DIALECTS

ANTHROPIC = DIALECTS["anthropic"]
USER = Message("user", (Text("hi"),))
OLD, NEW = Wire(model="up", api_version="2023-06-01"), Wire(model="up", api_version="2026-10-21")


def body_of(wire: Wire = OLD, **members: Any) -> dict[str, Any]:
    return json.loads(ANTHROPIC.encode_request(ChatRequest(**({"model": "m", "messages": (USER,)} | members)), wire))


def test_a_limit_is_always_sent() -> None:
    assert body_of()["max_tokens"] == 8192
    assert body_of(Wire(model="up", default_max_output_tokens=99))["max_tokens"] == 99
    assert body_of(max_output_tokens=7)["max_tokens"] == 7


def test_sampling_is_sent_to_the_old_version_only() -> None:
    sampling = {"temperature": 1.7, "top_p": 0.9, "top_k": 5}
    assert body_of(OLD, **sampling).items() >= {"temperature": 1.0, "top_p": 0.9, "top_k": 5}.items()
    assert not sampling.keys() & body_of(NEW, **sampling).keys()


def test_both_versions_name_themselves() -> None:
    assert ANTHROPIC.auth_headers("k", OLD) == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert ANTHROPIC.auth_headers("k", NEW)["anthropic-version"] == "2026-10-21"
    assert ANTHROPIC.auth_headers("k", Wire(model="m"))["anthropic-version"] == "2023-06-01"


def test_leading_instructions_merge_and_later_ones_are_said_by_the_user() -> None:
    turns = (Message("system", (Text("a"),)), Message("developer", (Text("b"),)), USER, Message("system", (Text("c"),)))
    body = body_of(messages=turns)
    assert [block["text"] for block in body["system"]] == ["a", "b"]
    assert [(turn["role"], [b["text"] for b in turn["content"]]) for turn in body["messages"]] == [
        ("user", ["hi", "c"])
    ]


def test_turns_alternate_and_results_come_first() -> None:
    body = body_of(
        messages=(
            USER,
            Message("user", (Text("again"),)),
            Message("assistant", (Text("one"),)),
            Message("assistant", (ToolCall("a", "f", "{}"), ToolCall("b", "f", '{"x":1}'))),
            Message("user", (Text("wait"),)),
            Message("tool", (ToolResult("a", (Text("1"),)),)),
            Message("tool", (ToolResult("b", (Text("2"),), is_error=True),)),
        )
    )
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert body["messages"][1]["content"][2]["input"] == {"x": 1}
    assert body["messages"][2]["content"][1]["is_error"] is True


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"n": 2}, "n > 1"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": ResponseFormat("json_object")}, "json_object"),
        ({"messages": (Message("user", (Audio("AA", "wav"),)),)}, "audio"),
        ({"messages": (Message("system", (Text("a"),)),)}, "at least one message"),
        ({"messages": (Message("assistant", (ToolCall("a", "f", "[1]"),)),)}, "not a JSON object"),
        ({"messages": (Message("user", (File(data="AA", media_type="application/zip"),)),)}, "only PDF and text"),
    ],
)
def test_what_the_wire_cannot_say_is_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        body_of(**members)


def test_what_says_nothing_is_left_out() -> None:
    body = body_of(
        n=1,
        logprobs=False,
        presence_penalty=0.0,
        seed=7,
        metadata={"a": "b"},
        messages=(USER, Message("assistant", (Text(""),))),
    )
    assert body.keys() == {"model", "max_tokens", "messages"} and len(body["messages"]) == 1


def test_documents_of_the_assistant_are_refused_by_the_new_version_only() -> None:
    turns = (USER, Message("assistant", (File(data="JVBERi0=", media_type="application/pdf"),)))
    assert body_of(OLD, messages=turns)["messages"][1]["content"][0]["type"] == "document"
    with pytest.raises(WireError, match="no documents"):
        body_of(NEW, messages=turns)


def test_thinking_goes_back_only_with_our_proof() -> None:
    parts = (
        Reasoning("a"),
        Reasoning("b", "s", signed_by="gemini"),
        Reasoning("c", "s", signed_by="anthropic"),
        Text("d"),
    )
    body = body_of(messages=(USER, Message("assistant", parts)))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "c", "signature": "s"},
        {"type": "text", "text": "d"},
    ]


def test_effort_is_said_as_effort_or_as_a_budget_below_the_limit() -> None:
    assert body_of(reasoning=ReasoningRequest("high"))["output_config"] == {"effort": "high"}
    old_model = Wire(model="up", drop=("output_config",))
    body = body_of(old_model, reasoning=ReasoningRequest("high"), max_output_tokens=3000, temperature=0.5)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2999}
    assert not {"output_config", "temperature"} & body.keys()
    assert "thinking" not in body_of(old_model, reasoning=ReasoningRequest("high"), max_output_tokens=1000)
    assert body_of(reasoning=ReasoningRequest(enabled=False))["thinking"] == {"type": "disabled"}


def test_server_tools_stay_in_their_wire() -> None:
    search = {"type": "web_search_20260318", "name": "web_search"}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "tools": [search]}
    chat = ANTHROPIC.decode_request(json.dumps(body).encode())
    assert json.loads(ANTHROPIC.encode_request(chat, OLD))["tools"] == [search]
    with pytest.raises(WireError, match="only anthropic has"):
        DIALECTS["openai"].encode_request(chat, OLD)


def test_thinking_of_an_unknown_type_survives_its_own_wire() -> None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "between_tools"},
    }
    chat = ANTHROPIC.decode_request(json.dumps(body).encode())
    assert json.loads(ANTHROPIC.encode_request(chat, NEW))["thinking"] == {"type": "between_tools"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
    ],
)
def test_i18_stop_reasons_keep_their_word_and_a_paused_turn_is_not_complete(word: str, reason: str) -> None:
    choice = ANTHROPIC.decode_reply((GOLDEN / "anthropic" / f"reply-{word}.json").read_bytes()).choices[0]
    assert (choice.finish, choice.native_finish) == (reason, word)


def test_cached_tokens_are_part_of_the_input() -> None:
    usage = ANTHROPIC.decode_reply((GOLDEN / "anthropic" / "reply-tools.json").read_bytes()).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens) == (1320, 1000)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.reasoning_tokens) == (100, 200, 30)


def test_a_call_without_arguments_says_an_empty_object() -> None:
    said = summary(decoded(ANTHROPIC, [(GOLDEN / "anthropic" / "stream-tools.sse").read_bytes()]))
    assert [json.loads(call[3]) for call in said["calls"][0].values()] == [{"city": "Bern"}, {}]


def test_deep_tool_results_are_refused_or_read_but_never_recurse() -> None:
    block: Any = "x"
    for _ in range(300):
        block = [{"type": "tool_result", "tool_use_id": "a", "content": block}]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": block}]}
    assert ANTHROPIC.decode_request(json.dumps(body).encode()).messages[0].role == "tool"


def test_interleaved_calls_of_another_wire_keep_their_order() -> None:
    events = decoded(DIALECTS["openai"], [(GOLDEN / "openai" / "stream-tools.sse").read_bytes()])
    swapped = [*events[:4], events[5], events[4], *events[6:]]
    heard = summary(decoded(ANTHROPIC, [ANTHROPIC.stream_encoder(include_usage=False).encode(swapped)]))
    assert heard["end"] == End() and len(heard["calls"][0]) == 2


def test_several_choices_end_in_an_error_event() -> None:
    events = decoded(DIALECTS["openai"], [(GOLDEN / "openai" / "stream-two-choices.sse").read_bytes()])
    body = ANTHROPIC.stream_encoder(include_usage=False).encode(events)
    assert body.count(b"event: error") == 1 and b"message_stop" not in body

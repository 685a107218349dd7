"""What is particular to the Gemini wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from wire_cases import GOLDEN, decoded, summary

from pointsman.core.chat import (
    ChatRequest,
    File,
    Image,
    Message,
    Reasoning,
    ReasoningRequest,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.registry import DIALECTS

GEMINI = DIALECTS["gemini"]
USER = Message("user", (Text("hi"),))
TOOL = Tool("f", None, Raw(b'{"type":"object"}'))


def body_of(wire: Wire | None = None, **members: Any) -> dict[str, Any]:
    chat = ChatRequest(**({"model": "m", "messages": (USER,)} | members))
    return json.loads(GEMINI.encode_request(chat, wire or Wire(model="up")))


def test_model_and_streaming_stand_in_the_path() -> None:
    wire = Wire(model="models/gemini-2.5-flash")
    assert GEMINI.path(wire, stream=False) == "/models/gemini-2.5-flash:generateContent"
    assert GEMINI.path(wire, stream=True) == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert GEMINI.path(Wire(model="a b?x"), stream=False) == "/models/a%20b%3Fx:generateContent"


def test_turns_merge_and_results_find_their_function_by_call() -> None:
    body = body_of(
        messages=(
            Message("system", (Text("a"),)),
            USER,
            Message("assistant", (ToolCall("c1", "f", '{"x":1}'), ToolCall("c2", "g", ""))),
            Message("tool", (ToolResult("c2", (Text("2"),), is_error=True),)),
            Message("tool", (ToolResult("c1", (Text("1"),)),)),
            Message("system", (Text("late"),)),
        )
    )
    assert body["systemInstruction"] == {"parts": [{"text": "a"}]}
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][1]["parts"][1] == {"functionCall": {"id": "c2", "name": "g", "args": {}}}
    responses = body["contents"][2]["parts"]
    assert responses[0]["functionResponse"] == {"id": "c2", "name": "g", "response": {"error": "2"}}
    assert responses[1]["functionResponse"] == {"id": "c1", "name": "f", "response": {"output": "1"}}
    assert responses[2] == {"text": "late"}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"messages": (Message("tool", (ToolResult("x", ()),)),)}, "answers no call"),
        ({"messages": (Message("user", (File(id="file-1"),)),)}, "another provider's id"),
        ({"messages": (Message("assistant", (ToolCall("a", "f", "{"),)),)}, "not a JSON object"),
        ({"messages": ()}, "at least one message"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(parallel=False)}, "parallel"),
    ],
)
def test_what_the_wire_cannot_say_is_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        body_of(**members)


def test_effort_is_said_as_level_or_as_budget() -> None:
    low = ReasoningRequest("low")
    assert body_of(reasoning=low)["generationConfig"]["thinkingConfig"] == {
        "includeThoughts": True,
        "thinkingLevel": "low",
    }
    config = body_of(Wire(model="up", drop=("thinkingLevel",)), reasoning=low)["generationConfig"]
    assert config["thinkingConfig"] == {"includeThoughts": True, "thinkingBudget": 1024}


def test_drop_and_rename_reach_into_the_config() -> None:
    wire = Wire(model="up", drop=("seed",), rename={"topK": "top_k"})
    assert body_of(wire, seed=1, top_k=3)["generationConfig"] == {"top_k": 3}


def test_an_image_without_a_type_gets_the_one_its_name_suggests() -> None:
    for url, media_type in (("https://e.org/a.webp?x=1", "image/webp"), ("https://e.org/a", "image/jpeg")):
        body = body_of(messages=(Message("user", (Image(url=url),)),))
        assert body["contents"][0]["parts"][0]["fileData"] == {"mimeType": media_type, "fileUri": url}


def test_thinking_goes_back_only_with_our_proof() -> None:
    parts = (Reasoning("a"), Reasoning("b", "s", signed_by="anthropic"), Reasoning("c", "s", signed_by="gemini"))
    body = body_of(messages=(USER, Message("assistant", (*parts, ToolCall("i", "f", "{}", "t")))))
    assert body["contents"][1]["parts"] == [
        {"text": "c", "thought": True, "thoughtSignature": "s"},
        {"functionCall": {"id": "i", "name": "f", "args": {}}, "thoughtSignature": "t"},
    ]


def test_a_signature_on_plain_text_comes_back() -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "a", "thoughtSignature": "s"}]}, "finishReason": "STOP"}]}
    message = GEMINI.decode_reply(json.dumps(body).encode()).choices[0].message
    assert message.parts == (Text("a"), Reasoning("", "s", signed_by="gemini"))
    assert body_of(messages=(USER, message))["contents"][1]["parts"] == [
        {"text": "a"},
        {"text": "", "thoughtSignature": "s"},
    ]


def test_calls_without_ids_get_the_same_ids_in_reply_and_stream() -> None:
    reply = GEMINI.decode_reply((GOLDEN / "gemini" / "reply-tools.json").read_bytes())
    assert [p.id for p in reply.choices[0].message.parts if isinstance(p, ToolCall)] == ["call_r1_0", "fc_b"]
    said = summary(decoded(GEMINI, [(GOLDEN / "gemini" / "stream-tools.sse").read_bytes()]))
    assert [call[0] for call in said["calls"][0].values()] == ["call_r1_0", "call_r1_1"]
    assert said["finish"] == {0: ("tool_calls", "STOP")}


def test_thoughts_are_output_and_tool_results_input() -> None:
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 7,
        "cachedContentTokenCount": 4,
    }
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "usageMetadata": usage}
    found = GEMINI.decode_reply(json.dumps(body).encode()).usage
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens, found.cache_read_tokens) == (15, 10, 7, 4)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("NEW_WORD", "error"),
        ("MAX_TOKENS", "length"),
    ],
)
def test_i18_finish_words_are_mapped_and_unknown_ones_not_called_complete(word: str, reason: str) -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": word}]}
    choice = GEMINI.decode_reply(json.dumps(body).encode()).choices[0]
    assert (choice.finish, choice.native_finish) == (reason, word)


def test_f23_a_blocked_prompt_is_a_content_filter() -> None:
    body = (GOLDEN / "gemini" / "reply-blocked.json").read_bytes()
    assert GEMINI.classify(200, {}, body, 0.0).kind == "content_filter"
    choice = GEMINI.decode_reply(body).choices[0]
    assert (choice.finish, choice.native_finish) == ("content_filter", "PROHIBITED_CONTENT")


def test_log_probabilities_take_the_neutral_form() -> None:
    raw = GEMINI.decode_reply((GOLDEN / "gemini" / "reply-text.json").read_bytes()).choices[0].logprobs
    assert raw is not None
    token = json.loads(bytes(raw))["content"][0]
    assert (token["token"], token["logprob"], token["bytes"]) == ("Gr", -0.5, [71, 114])
    assert [top["token"] for top in token["top_logprobs"]] == ["Gr", "Ha"]

"""The mock's Gemini wire, raw."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from pointsman.lab.mock import MockServer
from pointsman.lab.mock.ask import count_tokens

TOOLS = [
    {
        "functionDeclarations": [
            {
                "name": "find",
                "parameters": {"type": "OBJECT", "properties": {"q": {"type": "STRING"}}, "required": ["q"]},
            }
        ]
    }
]


def text_of(events: list[Any]) -> str:
    return "".join(part.get("text", "") for event in events for part in event["candidates"][0]["content"]["parts"])


async def test_a_reply_over_httpx_has_candidates_and_usage(mock: MockServer) -> None:
    url = mock.url("ge") + "/v1/models/m1:generateContent"
    body = {"contents": [{"parts": [{"text": "hello"}]}], "systemInstruction": {"parts": [{"text": "brief"}]}}
    async with httpx2.AsyncClient() as client:
        reply = (await client.post(url, json=body, headers={"x-goog-api-key": "sk-ge"})).json()
    assert reply["candidates"][0]["finishReason"] == "STOP"
    assert reply["usageMetadata"]["promptTokenCount"] == count_tokens("hellobrief")
    assert reply["usageMetadata"]["candidatesTokenCount"] == count_tokens(text_of([reply])) == 20


async def test_a_stream_is_server_sent_events_whose_last_has_the_finish_reason(ask: Any) -> None:
    answer = await ask("ge")
    assert answer.headers["content-type"] == "text/event-stream"
    assert b"\r\n\r\ndata: " in answer.body
    assert [event["candidates"][0].get("finishReason") for event in answer.events][-2:] == [None, "STOP"]
    counts = [event["usageMetadata"]["candidatesTokenCount"] for event in answer.events]
    assert counts == sorted(counts)
    assert counts[-1] == count_tokens(text_of(answer.events)) == 20


async def test_without_alt_sse_a_stream_is_one_json_array(mock: MockServer, raw: Any) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    path = "/v1beta/models/m1:streamGenerateContent?key=sk-ge"
    answer = await raw(mock.port("ge"), path, body, {})
    assert len(json.loads(answer.body)) == 21


async def test_functions_are_called_and_finish_with_stop(ask: Any) -> None:
    config = {"functionCallingConfig": {"mode": "ANY"}}
    for stream in (False, True):
        answer = await ask("ge", stream=stream, tools=TOOLS, toolConfig=config)
        replies = answer.events if stream else [json.loads(answer.body)]
        call = replies[0]["candidates"][0]["content"]["parts"][0]["functionCall"]
        assert call["name"] == "find"
        assert isinstance(call["args"]["q"], str)
        assert replies[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_a_response_schema_is_answered_with_json(ask: Any) -> None:
    shape = {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": {"type": "INTEGER"}}}
    answer = await ask("ge", stream=False, generationConfig=shape)
    assert all(isinstance(one, int) for one in json.loads(text_of([json.loads(answer.body)])))


async def test_max_output_tokens_cuts(ask: Any) -> None:
    answer = await ask("ge", generationConfig={"maxOutputTokens": 5})
    assert answer.events[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer.events[-1]["usageMetadata"]["candidatesTokenCount"] == 5


async def test_a_bad_key_is_refused_as_the_service_does(mock: MockServer, raw: Any) -> None:
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    answer = await raw(mock.port("ge"), "/v1beta/models/m1:generateContent", body, {"x-goog-api-key": "wrong"})
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["reason"] == "API_KEY_INVALID"


async def test_thoughts_are_marked_and_counted_apart(make_config: Any, raw: Any) -> None:
    config = make_config()
    config["providers"][2]["models"]["m1"] |= {"reasoning": {"tokens": {"p50": 6, "p95": 6}}}
    body = {
        "contents": [{"parts": [{"text": "hello"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }
    async with MockServer(config) as server:
        path = "/v1beta/models/m1:generateContent"
        answer = await raw(server.port("ge"), path, body, {"x-goog-api-key": "sk-ge"})
    reply = json.loads(answer.body)
    assert reply["candidates"][0]["content"]["parts"][0]["thought"] is True
    assert reply["usageMetadata"]["thoughtsTokenCount"] == 6
    assert reply["usageMetadata"]["candidatesTokenCount"] == 20

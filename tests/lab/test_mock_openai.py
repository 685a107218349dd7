"""The mock's OpenAI wire, seen by the official client and raw."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from pointsman.lab.mock import MockServer
from pointsman.lab.mock.ask import count_tokens

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["city", "days"],
        },
    },
}


@pytest.fixture
async def client(mock: MockServer) -> AsyncIterator[openai.AsyncOpenAI]:
    base = mock.url("oa") + "/some/prefix/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="sk-oa", max_retries=0) as made:
        yield made


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m1", "messages": [{"role": "user", "content": text}]} | more


async def test_a_reply_has_text_and_usage_that_can_be_recounted(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("What is a queue?"))
    text = reply.choices[0].message.content
    assert text
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == count_tokens("What is a queue?")
    assert reply.usage.completion_tokens == count_tokens(text) == 20


async def test_a_stream_says_the_same_kind_of_thing_and_hides_usage_unless_asked(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**say("hello", stream=True))
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in chunk.model_dump(exclude_unset=True) for chunk in chunks)


async def test_include_usage_gives_null_usage_then_one_last_chunk_without_choices(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**say("hello", stream=True, stream_options={"include_usage": True}))
    chunks = [chunk async for chunk in stream]
    assert all(chunk.model_dump(exclude_unset=True)["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert chunks[-1].usage.completion_tokens == count_tokens(text)


async def test_max_tokens_cuts_with_finish_length(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("hello", max_completion_tokens=7))
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_tool_is_called_with_arguments_of_its_schema(client: openai.AsyncOpenAI, stream: bool) -> None:
    request = say("What is get_weather in Oslo?", tools=[TOOL])
    if stream:
        async with client.chat.completions.stream(**request) as events:
            reply: Any = await events.get_final_completion()
    else:
        reply = await client.chat.completions.create(**request)
    call = reply.choices[0].message.tool_calls[0]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert 1 <= json.loads(call.function.arguments)["days"] <= 5


async def test_tools_stay_unused_when_nothing_asks_for_them(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("Good morning", tools=[TOOL]))
    assert reply.choices[0].message.tool_calls is None


async def test_a_schema_is_answered_with_json_that_fits_it(client: openai.AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}},
        "required": ["kind", "tags"],
        "$defs": {"tag": {"type": "string", "maxLength": 4}},
    }
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = await client.chat.completions.create(**say("Classify", response_format=shape))
    value = json.loads(reply.choices[0].message.content or "")
    assert value["kind"] in ("a", "b")
    assert all(len(tag) <= 4 for tag in value["tags"])


async def test_choices_are_interleaved_and_all_finish(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**say("hello", stream=True, n=3))
    seen = [chunk.choices[0].index async for chunk in stream]
    assert seen[:6] == [0, 1, 2, 0, 1, 2]


async def test_logprobs_stand_beside_each_token(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("hello", logprobs=True, top_logprobs=2))
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert "".join(one.token for one in logprobs.content or ()) == reply.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 for one in logprobs.content or ())


async def test_a_refusal_is_a_refusal(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("Please refuse this."))
    assert reply.choices[0].message.refusal
    assert reply.choices[0].message.content is None


async def test_a_stop_sequence_ends_the_text(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**say("hello", stop=["e"]))
    assert "e" not in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"


async def test_errors_have_the_shape_that_the_client_raises(client: openai.AsyncOpenAI, mock: MockServer) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(**say("hello", model="m9"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as refused:
        await client.with_options(api_key="wrong").chat.completions.create(**say("hello"))
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as long:
        await client.chat.completions.create(**say("x" * 600_000))
    assert long.value.code == "context_length_exceeded"
    mock.script([{"do": "status", "status": 429, "code": "insufficient_quota"}])
    with pytest.raises(openai.RateLimitError) as broke:
        await client.chat.completions.create(**say("hello"))
    assert broke.value.code == broke.value.type == "insufficient_quota"


async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["m1"]


async def test_reasoning_is_shown_and_counted_where_configured(make_config: Any) -> None:
    config = make_config()
    config["providers"][0]["models"]["m1"] |= {"reasoning": {"tokens": {"p50": 9, "p95": 9}}}
    async with MockServer(config) as server, openai.AsyncOpenAI(base_url=server.url("oa"), api_key="sk-oa") as client:
        reply: Any = await client.chat.completions.create(**say("hello", reasoning_effort="high"))
        plain: Any = await client.chat.completions.create(**say("hello"))
    assert count_tokens(reply.choices[0].message.reasoning_content) == 9
    assert reply.usage.completion_tokens_details.reasoning_tokens == 9
    assert plain.usage.completion_tokens_details.reasoning_tokens == 0


async def test_a_repeated_prefix_is_reported_as_cached(make_config: Any) -> None:
    config = make_config()
    config["providers"][0]["cache"] = {"min_tokens": 256, "block_tokens": 128}
    text = "A long document. " * 200
    async with MockServer(config) as server, openai.AsyncOpenAI(base_url=server.url("oa"), api_key="sk-oa") as client:
        first: Any = await client.chat.completions.create(**say(text + "One?"))
        second: Any = await client.chat.completions.create(**say(text + "Two?"))
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens == count_tokens(text) // 128 * 128

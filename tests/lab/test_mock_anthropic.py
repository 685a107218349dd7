"""The mock's Anthropic Messages wire, seen by the official client and raw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from pointsman.lab.mock import MockServer
from pointsman.lab.mock.ask import count_tokens

TOOL = {
    "name": "lookup",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


@pytest.fixture
async def client(mock: MockServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=mock.url("an"), api_key="sk-an", max_retries=0) as made:
        yield made


def say(text: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m1", "max_tokens": 300, "messages": [{"role": "user", "content": text}]} | more


async def test_a_message_has_text_and_usage_that_can_be_recounted(client: anthropic.AsyncAnthropic) -> None:
    reply = await client.messages.create(**say("hello", system="Be brief."))
    block = reply.content[0]
    assert block.type == "text"
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens == count_tokens("helloBe brief.")
    assert reply.usage.output_tokens == count_tokens(block.text) == 20


async def test_a_stream_accumulates_to_the_same_message(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(**say("hello")) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == count_tokens(text) == 20


async def test_events_come_in_the_documented_order(ask: Any) -> None:
    answer = await ask("an")
    kinds = [event["type"] for event in answer.events]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert answer.body.startswith(b"event: message_start\ndata: ")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_tool_is_called(client: anthropic.AsyncAnthropic, stream: bool) -> None:
    request = say("hi", tools=[TOOL], tool_choice={"type": "tool", "name": "lookup"})
    if stream:
        async with client.messages.stream(**request) as events:
            reply: Any = await events.get_final_message()
    else:
        reply = await client.messages.create(**request)
    assert reply.stop_reason == "tool_use"
    assert reply.content[0].name == "lookup"
    assert isinstance(reply.content[0].input["q"], str)


async def test_a_tool_result_is_answered_in_words(client: anthropic.AsyncAnthropic) -> None:
    turns = [
        {"role": "user", "content": "use the lookup tool"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"q": "x"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]},
    ]
    reply = await client.messages.create(model="m1", max_tokens=50, messages=turns, tools=[TOOL])  # type: ignore[call-overload]
    assert reply.content[0].type == "text"


async def test_thinking_comes_first_and_is_signed(make_config: Any) -> None:
    config = make_config()
    config["providers"][1]["models"]["m1"] |= {"reasoning": {"tokens": {"p50": 8, "p95": 8}}}
    async with (
        MockServer(config) as server,
        anthropic.AsyncAnthropic(base_url=server.url("an"), api_key="sk-an") as client,
        client.messages.stream(**say("hello", thinking={"type": "adaptive"})) as stream,
    ):
        reply = await stream.get_final_message()
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert reply.content[0].signature  # type: ignore[union-attr]
    assert reply.usage.output_tokens == 28


async def test_marked_prefixes_are_written_to_the_cache_and_then_read(make_config: Any) -> None:
    config = make_config()
    config["providers"][1]["cache"] = {"min_tokens": 128, "block_tokens": 64}
    system = [{"type": "text", "text": "Rules. " * 150, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    async with (
        MockServer(config) as server,
        anthropic.AsyncAnthropic(base_url=server.url("an"), api_key="sk-an") as client,
    ):
        first = (await client.messages.create(**say("one", system=system))).usage
        second = (await client.messages.create(**say("two", system=system))).usage
    total = count_tokens("Rules. " * 150)
    assert (first.cache_read_input_tokens, first.cache_creation_input_tokens) == (0, total)
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_1h_input_tokens == total
    assert second.cache_read_input_tokens == total // 64 * 64
    assert second.input_tokens == 1


async def test_tokens_can_be_counted_without_a_reply(client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model="m1", messages=[{"role": "user", "content": "12345678"}])
    assert counted.input_tokens == 2


async def test_errors_have_the_shape_that_the_client_raises(client: anthropic.AsyncAnthropic, mock: MockServer) -> None:
    with pytest.raises(anthropic.AuthenticationError) as refused:
        await client.with_options(api_key="wrong").messages.create(**say("hello"))
    body: Any = refused.value.body
    assert body["error"]["type"] == "authentication_error"
    mock.script([{"do": "status", "status": 529}])
    with pytest.raises(anthropic.APIStatusError) as busy:
        await client.messages.create(**say("hello"))
    assert busy.value.status_code == 529
    body = busy.value.body
    assert body["type"] == "error" and body["error"]["type"] == "overloaded_error" and body["request_id"]


async def test_the_version_header_is_checked_and_decides_what_is_allowed(ask: Any, raw: Any, mock: MockServer) -> None:
    body = say("hello", temperature=0.5)
    old = await ask("an", stream=False, temperature=0.5)
    assert old.status == 200
    new = {"x-api-key": "sk-an", "anthropic-version": "2026-10-21"}
    assert (await raw(mock.port("an"), "/v1/messages", body, new)).status == 400
    assert (await raw(mock.port("an"), "/v1/messages", say("hello"), new)).status == 200
    assert (await raw(mock.port("an"), "/v1/messages", body, {"x-api-key": "sk-an"})).status == 400
    citing = say([{"type": "text", "text": "a", "citations": [{"type": "char_location"}]}])
    assert (await raw(mock.port("an"), "/v1/messages", citing, new)).status == 400

"""The official `openai` client works unchanged, whatever wire the answering provider speaks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from gateway_lab import Lab
from gateway_router import Router
from openai import AsyncOpenAI, BadRequestError

WIRES = ("openai-m", "anthropic-m", "gemini-m")
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
WEATHER: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tell the weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
    for name in ("look_outside", "ask_station")
]


def say(text: str) -> Any:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("model", WIRES)
async def test_a_unary_answer_has_text_usage_and_finish(
    client: AsyncOpenAI, router: Router, lab: Lab, model: str
) -> None:
    answer = await client.chat.completions.create(model=model, messages=say("hello"), temperature=0.2, user="u1")
    assert answer.object == "chat.completion" and answer.id
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer._request_id is not None
    booked = router.settled(answer._request_id)
    (served,) = lab.served(answer._request_id)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == served.prompt_tokens == booked.attempts[0].usage.input_tokens
    assert answer.usage.completion_tokens == served.completion_tokens == booked.attempts[0].usage.output_tokens
    assert answer.usage.total_tokens == served.prompt_tokens + served.completion_tokens


@pytest.mark.parametrize("model", WIRES)
async def test_a_stream_gives_the_text_in_pieces_and_no_usage_unless_asked(
    client: AsyncOpenAI, router: Router, lab: Lab, model: str
) -> None:
    stream = await client.chat.completions.create(model=model, messages=say("hello"), stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)  # no usage chunk
    assert len("".join(c.choices[0].delta.content or "" for c in chunks)) > 60
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    request_id = stream.response.headers["x-request-id"]
    (attempt,) = router.settled(request_id).attempts
    (served,) = lab.served(request_id)
    assert attempt.usage.source == "measured"  # asked for upstream always
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (
        served.prompt_tokens,
        served.completion_tokens,
    )


@pytest.mark.parametrize("model", WIRES)
async def test_a_stream_shows_usage_once_when_asked(client: AsyncOpenAI, lab: Lab, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=say("hello"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    told = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(told) == 1 and told[0] is chunks[-1] and told[0].choices == []
    (served,) = lab.served(stream.response.headers["x-request-id"])
    assert told[0].usage is not None and told[0].usage.completion_tokens == served.completion_tokens


@pytest.mark.parametrize("model", WIRES)
async def test_parallel_tool_calls_and_their_results_make_a_round_trip(client: AsyncOpenAI, model: str) -> None:
    text = "use look_outside and ask_station"
    first = await client.chat.completions.create(model=model, messages=say(text), tools=WEATHER)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    calls: list[Any] = list(message.tool_calls)
    assert [call.function.name for call in calls] == ["look_outside", "ask_station"]
    assert len({call.id for call in calls}) == 2
    assert all("city" in json.loads(call.function.arguments) for call in calls)
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": '{"sky": "grey"}'} for call in calls]
    again = await client.chat.completions.create(
        model=model, messages=[*say(text), message.model_dump(exclude_none=True), *results], tools=WEATHER
    )
    assert again.choices[0].finish_reason == "stop" and again.choices[0].message.content


@pytest.mark.parametrize("model", WIRES)
async def test_streamed_tool_calls_add_up_to_whole_arguments(client: AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=say("use look_outside and ask_station"), tools=WEATHER, stream=True
    )
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    finish = None
    async for chunk in stream:
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or ():
            assert call.function is not None
            if call.function.name:
                names[call.index] = call.function.name
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert names == {0: "look_outside", 1: "ask_station"}
    assert all("city" in json.loads(text) for text in arguments.values())
    assert finish == "tool_calls"


@pytest.mark.parametrize("model", WIRES)
async def test_tool_choice_is_respected(client: AsyncOpenAI, model: str) -> None:
    named: Any = {"type": "function", "function": {"name": "ask_station"}}
    forced = await client.chat.completions.create(model=model, messages=say("hi"), tools=WEATHER, tool_choice=named)
    calls: Any = forced.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["ask_station"]
    none = await client.chat.completions.create(
        model=model, messages=say("use look_outside"), tools=WEATHER, tool_choice="none"
    )
    assert not none.choices[0].message.tool_calls
    if model != "gemini-m":  # that wire cannot say it
        single = await client.chat.completions.create(
            model=model, messages=say("look_outside ask_station"), tools=WEATHER, parallel_tool_calls=False
        )
        assert len(single.choices[0].message.tool_calls or ()) == 1


async def test_what_a_wire_cannot_say_is_refused_by_name(client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(
            model="gemini-m", messages=say("look_outside"), tools=WEATHER, parallel_tool_calls=False
        )
    assert caught.value.code == "unsupported_by_model" and "parallel" in str(caught.value)


@pytest.mark.parametrize("model", WIRES)
async def test_a_json_schema_shapes_the_answer(client: AsyncOpenAI, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    shape: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    answer = await client.chat.completions.create(model=model, messages=say("who?"), response_format=shape)
    value = json.loads(answer.choices[0].message.content or "")
    assert isinstance(value["name"], str) and isinstance(value["age"], int)


@pytest.mark.parametrize("model", WIRES)
async def test_images_travel_as_data_and_as_links(client: AsyncOpenAI, lab: Lab, model: str) -> None:
    parts: Any = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
    ]
    answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content
    assert answer._request_id is not None
    (served,) = lab.served(answer._request_id)
    assert served.prompt_tokens == 3 + 85  # the mock counts 85 for an image: it arrived


@pytest.mark.parametrize("model", ["openai-m", "gemini-m"])
async def test_several_choices_keep_their_index(client: AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(model=model, messages=say("hello"), n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)


async def test_f56_interleaved_choices_of_a_stream_keep_their_index(client: AsyncOpenAI) -> None:
    texts = {0: "", 1: "", 2: ""}
    ends: set[int] = set()
    async for chunk in await client.chat.completions.create(model="openai-m", messages=say("hello"), n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends.add(choice.index)
    assert ends == {0, 1, 2} and all(texts.values())


async def test_logprobs_pass(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="openai-m", messages=say("hello"), logprobs=True, top_logprobs=2
    )
    told = answer.choices[0].logprobs
    assert told is not None and told.content and len(told.content[0].top_logprobs) == 2
    found = 0
    async for chunk in await client.chat.completions.create(
        model="openai-m", messages=say("hello"), logprobs=True, stream=True
    ):
        found += chunk.choices[0].logprobs is not None and bool(chunk.choices[0].logprobs.content)
    assert found > 5


@pytest.mark.parametrize("model", WIRES)
async def test_stop_and_limits_and_seed_are_sent(client: AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model, messages=say("hello"), stop=["e", "a"], seed=None if model != "openai-m" else 5, top_p=0.5
    )
    assert not {"e", "a"} & set(answer.choices[0].message.content or "")
    short = await client.chat.completions.create(model=model, messages=say("hello"), max_completion_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None and short.usage.completion_tokens <= 3


@pytest.mark.parametrize("model", ["openai-thinks", "gemini-thinks"])
async def test_thinking_comes_in_the_reasoning_field(client: AsyncOpenAI, router: Router, model: str) -> None:
    answer = await client.chat.completions.create(model=model, messages=say("why?"), reasoning_effort="low")
    message = answer.choices[0].message
    assert message.content
    assert (message.model_extra or {}).get("reasoning_content")
    stream = await client.chat.completions.create(
        model=model, messages=say("why?"), reasoning_effort="low", stream=True
    )
    thoughts = [
        (chunk.choices[0].delta.model_extra or {}).get("reasoning_content") async for chunk in stream if chunk.choices
    ]
    assert any(thoughts)
    assert router.settled(stream.response.headers["x-request-id"]).outcome == "ok"


async def test_models_can_be_listed_and_retrieved(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert {"openai-m", "auto", "any"} <= set(listed)
    one = await client.models.retrieve("auto")
    assert one.id == "auto" and one.object == "model"
    slashed = await client.models.retrieve("openai/comments")
    assert slashed.id == "openai/comments"


async def test_the_request_id_is_the_ledgers_and_the_clients_own_is_echoed(client: AsyncOpenAI, router: Router) -> None:
    plain = await client.chat.completions.create(model="openai-m", messages=say("hello"))
    assert plain._request_id is not None and router.settled(plain._request_id).id == plain._request_id
    named = await client.chat.completions.with_raw_response.create(
        model="openai-m", messages=say("hello"), extra_headers={"x-request-id": "mine-42"}
    )
    assert named.headers["x-request-id"] == "mine-42"
    assert router.admitted(named.headers["x-pointsman-id"]).client_id == "mine-42"


async def test_router_options_travel_in_the_body_and_stop_at_the_router(client: AsyncOpenAI, lab: Lab) -> None:
    answer = await client.chat.completions.create(
        model="anthropic-m", messages=say("hello"), extra_body={"pointsman": {"timeout_ms": 5000, "attempts": 1}}
    )
    assert answer.choices[0].message.content


async def test_the_clients_helper_for_streams_sees_a_whole_answer(client: AsyncOpenAI) -> None:
    for model in WIRES:
        async with client.chat.completions.stream(model=model, messages=say("hello")) as stream:
            async for _ in stream:
                pass
            final = await stream.get_final_completion()
        assert final.choices[0].finish_reason == "stop", model
        assert final.choices[0].message.content

"""What we write for clients, read by the types of the official SDKs; what they need is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from wire_cases import cases, decoded

from pointsman.core.chat import StreamError
from pointsman.dialects.base import Dialect
from pointsman.dialects.registry import DIALECTS


def events_of(body: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("dialect", "path"), cases("reply"))
def test_the_openai_sdk_reads_every_reply(dialect: Dialect, path: Path) -> None:
    from openai.types.chat import ChatCompletion

    reply = dialect.decode_reply(path.read_bytes())
    body = json.loads(DIALECTS["openai"].encode_reply(reply))
    for choice in body["choices"]:
        assert choice["finish_reason"] in ("stop", "length", "tool_calls", "content_filter")
    read = TypeAdapter(ChatCompletion).validate_python(body)
    assert len(read.choices) == len(reply.choices) and read.usage is not None


@pytest.mark.parametrize(("dialect", "path"), cases("stream"))
def test_the_openai_sdk_reads_every_chunk(dialect: Dialect, path: Path) -> None:
    from openai.types.chat import ChatCompletionChunk

    body = DIALECTS["openai"].stream_encoder(include_usage=True).encode(decoded(dialect, [path.read_bytes()]))
    for event in events_of(body):
        TypeAdapter(ChatCompletionChunk).validate_python(event)


@pytest.mark.parametrize(("dialect", "path"), cases("reply"))
def test_the_anthropic_sdk_reads_every_reply_with_one_choice(dialect: Dialect, path: Path) -> None:
    from anthropic.types import Message

    reply = dialect.decode_reply(path.read_bytes())
    if len(reply.choices) > 1:
        pytest.skip("one choice only in this wire")
    TypeAdapter(Message).validate_python(json.loads(DIALECTS["anthropic"].encode_reply(reply)))


@pytest.mark.parametrize(("dialect", "path"), cases("stream"))
def test_the_anthropic_sdk_reads_every_event(dialect: Dialect, path: Path) -> None:
    from anthropic.types import RawMessageStreamEvent

    body = DIALECTS["anthropic"].stream_encoder(include_usage=True).encode(decoded(dialect, [path.read_bytes()]))
    for event in events_of(body):
        if event["type"] != "error":
            TypeAdapter(RawMessageStreamEvent).validate_python(event)


def test_errors_in_a_stream_have_the_shape_of_each_wire() -> None:
    error = StreamError("overloaded", "busy")
    shapes = {name: events_of(d.stream_encoder(include_usage=True).encode([error]))[0] for name, d in DIALECTS.items()}
    assert shapes["openai"]["error"]["origin"] == "provider"
    assert shapes["anthropic"]["type"] == "error" and shapes["anthropic"]["error"]["type"] == "overloaded_error"
    assert (shapes["gemini"]["error"]["code"], shapes["gemini"]["error"]["status"]) == (503, "UNAVAILABLE")

"""What chat completions bodies look like, as far as we read them.

Source: developers.openai.com/api/reference (chat/completions). Additions of compatible servers name
their origin. Members not named here are ignored by these shapes (requests and replies keep them as `extra`).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.dialects.wirejson import NO_RAW

Number = int | float | None


class CacheControl(msgspec.Struct):  # OpenRouter: Anthropic's mark on OpenAI parts
    type: str = ""
    ttl: str | None = None


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class InputAudio(msgspec.Struct):
    data: str
    format: str


class FileIn(msgspec.Struct):
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class PartIn(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: FileIn | None = None
    cache_control: CacheControl | None = None
    thinking: Raw = NO_RAW  # Mistral: a list of text parts


class TextIn(msgspec.Struct):
    text: str = ""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # an object from servers that forget to quote it


class Google(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):  # Gemini behind its OpenAI surface
    google: Google | None = None


class ToolCallIn(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    index: int | None = None
    extra_content: ExtraContent | None = None


class ReasoningDetail(msgspec.Struct):  # OpenRouter
    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None


class MessageIn(msgspec.Struct):
    role: str = "assistant"
    content: str | list[Raw] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None  # DeepSeek, Moonshot, vLLM
    reasoning: str | None = None  # OpenRouter, Groq, Ollama
    reasoning_details: list[Raw] | None = None
    images: list[Raw] | None = None  # OpenRouter


# "type" would make an opaque part look like a content part, and says nothing on a message.
MESSAGE_MEMBERS = frozenset(MessageIn.__struct_fields__) | {"type"}


class ChoiceIn(msgspec.Struct):
    message: Raw = NO_RAW
    index: int = 0
    finish_reason: str | None = None
    native_finish_reason: str | None = None  # OpenRouter
    logprobs: Raw = NO_RAW


class ReplyIn(msgspec.Struct):
    choices: list[ChoiceIn] | None = None
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    usage: Raw = NO_RAW


class Delta(msgspec.Struct, gc=False):
    content: str | list[Raw] | None = None
    role: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Raw] | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    delta: Delta | None = None
    index: int = 0
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Raw = NO_RAW


class Groq(msgspec.Struct):
    usage: Raw = NO_RAW


class Chunk(msgspec.Struct, gc=False):
    choices: list[ChunkChoice] | None = None
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    usage: Raw = NO_RAW
    error: Raw = NO_RAW
    object: str | None = None
    x_groq: Groq | None = None


class InputDetails(msgspec.Struct):
    cached_tokens: Number = None
    cache_write_tokens: Number = None
    audio_tokens: Number = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: Number = None
    audio_tokens: Number = None


class UsageIn(msgspec.Struct):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: Number = None  # DeepSeek
    cached_tokens: Number = None  # Moonshot


REPLY = msgspec.json.Decoder(ReplyIn)
MESSAGE = msgspec.json.Decoder(MessageIn)
CHUNK = msgspec.json.Decoder(Chunk)
PART = msgspec.json.Decoder(PartIn)
TEXTS = msgspec.json.Decoder(list[TextIn])
DETAIL = msgspec.json.Decoder(ReasoningDetail)
USAGE = msgspec.json.Decoder(UsageIn)

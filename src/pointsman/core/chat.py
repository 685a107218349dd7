"""The neutral conversation: what every wire format is decoded to and encoded from.

One Request of kind `chat` may come in on one wire and leave on another; these nouns are the middle. Fields that only
one wire knows travel in `extra` as raw JSON and survive as long as the wire stays the same.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from pointsman.core.usage import Usage

Role = Literal["system", "developer", "user", "assistant", "tool"]
CacheLifetime = Literal["5m", "1h"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str
    cache: CacheLifetime | None = None  # the provider may cache the prompt up to here


class Image(msgspec.Struct, frozen=True, tag="image"):
    """Hold an image by `url`, or as base64 `data` with its `media_type`; never both, never fetched by us (S10)."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: CacheLifetime | None = None


class Audio(msgspec.Struct, frozen=True, tag="audio"):
    data: str
    format: str


class File(msgspec.Struct, frozen=True, tag="file"):
    """Hold a document: base64 `data` with `media_type`, a `url`, or an `id` known to the provider."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    id: str | None = None
    name: str | None = None
    cache: CacheLifetime | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """Hold one call the model asked for. `arguments` is JSON text exactly as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str
    signature: str | None = None  # opaque provider proof that must come back unchanged (Gemini thoughtSignature)


class Opaque(msgspec.Struct, frozen=True, tag="opaque"):
    """Hold a content part only its own wire understands; dropped with a note when the wire changes."""

    wire: str
    raw: Raw


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    call_id: str
    parts: tuple[Text | Image | File | Opaque, ...]
    is_error: bool = False
    cache: CacheLifetime | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """Hold the model's thinking: readable `text` with the provider's `signature`, or `redacted` opaque data."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    signed_by: str = ""  # the dialect whose proof `signature` or `redacted` is; no other provider accepts it


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    text: str


Part = Text | Image | Audio | File | ToolCall | ToolResult | Reasoning | Refusal | Opaque


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None
    schema: Raw  # a JSON Schema object
    strict: bool | None = None
    cache: CacheLifetime | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool | None = None  # None: the provider's default


class ResponseFormat(msgspec.Struct, frozen=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Raw | None = None
    strict: bool | None = None
    description: str | None = None


class ReasoningRequest(msgspec.Struct, frozen=True):
    """Hold how much thinking was asked for: a named `effort`, or `budget_tokens`; `enabled=False` switches it off."""

    effort: str | None = None
    budget_tokens: int | None = None
    enabled: bool = True
    adaptive: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningRequest | None = None
    user: str | None = None
    metadata: dict[str, str] = {}
    service_tier: str | None = None
    stream: bool = False
    include_usage: bool = False
    extra: dict[str, Raw] = {}  # body members no field above names, raw
    wire: str = ""  # the dialect `extra` was read in; any other dialect leaves it out


class Choice(msgspec.Struct, frozen=True):
    index: int
    message: Message
    finish: FinishReason | None
    logprobs: Raw | None = None
    native_finish: str | None = None  # the provider's own word


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None
    created_s: int = 0
    extra: dict[str, Raw] = {}
    wire: str = ""  # the dialect `extra` was read in; any other dialect leaves it out


# --- a streamed reply, as events -------------------------------------------------------------------------------------
# The grammar every decoder must produce and every encoder may rely on:
#   Start, then per choice any of TextDelta | ReasoningDelta | ToolCallStart | ToolCallDelta | RefusalDelta,
#   Finish per choice, UsageReport (0..n, the last one wins), End once; StreamError instead of End if it broke.


class Start(msgspec.Struct, frozen=True, tag="start"):
    id: str
    model: str
    created_s: int = 0


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    text: str
    index: int = 0
    logprobs: Raw | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    text: str = ""
    index: int = 0
    signature: str | None = None
    redacted: str | None = None
    signed_by: str = ""


class RefusalDelta(msgspec.Struct, frozen=True, tag="refusal"):
    text: str
    index: int = 0


class ToolCallStart(msgspec.Struct, frozen=True, tag="tool_start"):
    """Open the tool call number `call` (0-based within the choice)."""

    call: int
    id: str
    name: str
    index: int = 0
    signature: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_delta"):
    call: int
    arguments: str
    index: int = 0


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    reason: FinishReason
    index: int = 0
    native: str | None = None


class UsageReport(msgspec.Struct, frozen=True, tag="usage"):
    usage: Usage


class End(msgspec.Struct, frozen=True, tag="end"):
    """State that the provider sent its terminal marker: the answer is complete."""


class StreamError(msgspec.Struct, frozen=True, tag="error"):
    """Report an error the provider put inside a 200 stream, or bytes that cannot be read."""

    kind: str  # a member of core.outcome.Kind
    message: str
    code: str | None = None
    retry_after_ms: int | None = None


Event = (
    Start
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallDelta
    | Finish
    | UsageReport
    | End
    | StreamError
)
CONTENT_EVENTS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallStart, ToolCallDelta)

"""The Messages request body, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.chat import (
    ChatRequest,
    File,
    Message,
    ReasoningRequest,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolResult,
)
from pointsman.dialects.anthropic.blocks import decode_content, encode_parts, lifetime, mark
from pointsman.dialects.anthropic.facts import DEFAULT_VERSION, NAME, NO_SAMPLING_VERSION
from pointsman.dialects.anthropic.shapes import CacheControl
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.wirejson import NO_RAW, checked_utf8, decode, encode, members, present

# Thinking budgets in tokens for models that know no effort: at least 1,024 (docs: extended thinking), below max_tokens.
BUDGET_OF_EFFORT = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}
MIN_BUDGET = 1024
EFFORTS = {"minimal": "low"}  # words of other wires -> ours
SERVICE_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}


class MessageIn(msgspec.Struct):
    role: str
    content: Raw = NO_RAW


class ToolIn(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = NO_RAW
    strict: bool | None = None
    cache_control: CacheControl | None = None


class ChoiceIn(msgspec.Struct):
    type: str = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None


class Format(msgspec.Struct):
    type: str = ""
    schema: Raw = NO_RAW


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class RequestIn(msgspec.Struct):
    model: str
    messages: list[MessageIn]
    max_tokens: int | None = None
    system: Raw = NO_RAW
    tools: list[Raw] | None = None
    tool_choice: ChoiceIn | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    stream: bool | None = None


REQUEST = msgspec.json.Decoder(RequestIn)
TOOL = msgspec.json.Decoder(ToolIn)
KNOWN = frozenset(RequestIn.__struct_fields__)


def decode_request(body: bytes) -> ChatRequest:
    """Return the request in a Messages body; WireError says which member is wrong."""
    r = decode(REQUEST, checked_utf8(body, "request"), "request")
    raw = members(body, "request")
    extra = {name: Raw(bytes(value)) for name, value in raw.items() if name not in KNOWN}
    messages: list[Message] = []
    if system := decode_content(r.system, "system"):
        messages.append(Message("system", tuple(system)))
    for number, message in enumerate(r.messages):
        messages += _decode_message(message, f"messages[{number}]")
    if r.thinking is not None and r.thinking.type not in ("enabled", "disabled", "adaptive"):
        extra["thinking"] = Raw(bytes(raw["thinking"]))
    return ChatRequest(
        model=r.model,
        messages=tuple(messages),
        tools=_decode_tools(r, raw, extra),
        tool_choice=_decode_choice(r.tool_choice),
        max_output_tokens=r.max_tokens,
        temperature=r.temperature,
        top_p=r.top_p,
        top_k=r.top_k,
        stop=tuple(r.stop_sequences or ()),
        response_format=_decode_format(r.output_config),
        reasoning=_decode_reasoning(r),
        user=r.metadata.user_id if r.metadata else None,
        service_tier=r.service_tier,
        stream=bool(r.stream),
        include_usage=bool(r.stream),
        extra=extra,
        wire=NAME,
    )


def _decode_message(m: MessageIn, what: str) -> list[Message]:
    """Return a message; a user turn with tool results becomes a tool message and, if more was said, a user message."""
    parts = decode_content(m.content, f"{what}.content")
    if m.role == "assistant":
        return [Message("assistant", tuple(parts))]
    if m.role == "system":
        return [Message("system", tuple(parts))]
    if m.role != "user":
        raise WireError(f"{what}.role: expected user, assistant or system")
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    rest = tuple(part for part in parts if not isinstance(part, ToolResult))
    found = [Message("tool", results)] if results else []
    return [*found, Message("user", rest)] if rest or not results else found


def _decode_tools(r: RequestIn, raw: dict[str, Raw], extra: dict[str, Raw]) -> tuple[Tool, ...]:
    """Return the tools with a schema. Where there are server tools, the whole list also travels in `extra` and wins."""
    found: list[Tool] = []
    for number, one in enumerate(r.tools or []):
        tool = decode(TOOL, one, f"tools[{number}]")
        if tool.type in (None, "custom") and present(tool.input_schema):
            schema = Raw(bytes(tool.input_schema))
            found.append(Tool(tool.name, tool.description, schema, tool.strict, lifetime(tool.cache_control)))
        else:
            extra["tools"] = Raw(bytes(raw["tools"]))
    return tuple(found)


def _decode_choice(c: ChoiceIn | None) -> ToolChoice | None:
    if c is None:
        return None
    parallel = None if c.disable_parallel_tool_use is None else not c.disable_parallel_tool_use
    if c.type == "tool":
        return ToolChoice("named", c.name, parallel)
    if c.type == "auto":
        return ToolChoice("auto", None, parallel)
    if c.type == "any":
        return ToolChoice("required", None, parallel)
    if c.type == "none":
        return ToolChoice("none", None, parallel)
    raise WireError("tool_choice.type: expected auto, any, tool or none")


def _decode_format(config: OutputConfig | None) -> ResponseFormat | None:
    if config is None or config.format is None:
        return None
    if config.format.type != "json_schema" or not present(config.format.schema):
        raise WireError("output_config.format: expected json_schema with a schema")
    return ResponseFormat("json_schema", schema=Raw(bytes(config.format.schema)))


def _decode_reasoning(r: RequestIn) -> ReasoningRequest | None:
    effort = r.output_config.effort if r.output_config else None
    if r.thinking is None:
        return ReasoningRequest(effort) if effort else None
    t = r.thinking
    return ReasoningRequest(effort, t.budget_tokens, enabled=t.type != "disabled", adaptive=t.type == "adaptive")


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_request(chat: ChatRequest, wire: Wire) -> bytes:
    """Return the body for a provider, with the wire's renames and drops; WireError for what this wire cannot say.

    `seed` is left out (best effort by its definition), as are names of messages and metadata other than the user.
    A deployment whose model knows no effort puts `output_config` in `drop`; the effort then becomes a thinking budget.
    """
    _refuse(chat)
    version = wire.api_version or DEFAULT_VERSION
    limit = wire.default_max_output_tokens if chat.max_output_tokens is None else chat.max_output_tokens
    system, messages = _encode_messages(chat, version)
    body: dict[str, Any] = {"model": wire.model, "max_tokens": limit, "messages": messages}
    if system:
        body["system"] = system
    body |= _encode_tools(chat)
    body |= _encode_thinking(chat, "output_config" in wire.drop, limit)
    if version < NO_SAMPLING_VERSION:
        body |= _encode_sampling(chat, thinking=body.get("thinking", {}).get("type") in ("enabled", "adaptive"))
    if chat.response_format is not None and chat.response_format.kind == "json_schema":
        wanted = {"type": "json_schema", "schema": chat.response_format.schema}
        body["output_config"] = body.get("output_config", {}) | {"format": wanted}
    if chat.stop:
        body["stop_sequences"] = list(chat.stop)
    if chat.user is not None:
        body["metadata"] = {"user_id": chat.user}
    if chat.service_tier in SERVICE_TIERS:
        body["service_tier"] = SERVICE_TIERS[chat.service_tier]
    if chat.stream:
        body["stream"] = True
    if chat.wire == NAME:
        body |= chat.extra
    return encode({wire.rename.get(name, name): value for name, value in body.items() if name not in wire.drop})


def _refuse(chat: ChatRequest) -> None:
    """Raise WireError for what the Messages wire has no words for."""
    unsayable = {
        "n > 1": (chat.n or 1) > 1,
        "logprobs": bool(chat.logprobs),
        "presence_penalty": bool(chat.presence_penalty),
        "frequency_penalty": bool(chat.frequency_penalty),
        "response_format json_object (give a json_schema)": (
            chat.response_format is not None and chat.response_format.kind == "json_object"
        ),
        f"tools that only {chat.wire} has": chat.wire != NAME and "tools" in chat.extra,
    }
    for what, asked in unsayable.items():
        if asked:
            raise WireError(f"anthropic: {what} cannot be said in this wire")


def _encode_messages(chat: ChatRequest, version: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return (system blocks, messages): leading instructions merge into `system`, turns of one role into one message.

    Later instructions stay where they are as user text, or as role `system` if the client itself spoke this wire
    (platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages; only some models take it).
    """
    system: list[Any] = []
    turns: list[dict[str, Any]] = []
    for message in chat.messages:
        instruction = message.role in ("system", "developer")
        blocks = encode_parts(message)
        if instruction and not turns:
            system += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if instruction and chat.wire == NAME:
            role = "system"
        if role == "assistant" and version >= NO_SAMPLING_VERSION and any(isinstance(p, File) for p in message.parts):
            raise WireError(f"anthropic: API version {version} takes no documents in assistant messages")
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise WireError("anthropic: at least one message must come from the user")
    for turn in turns:  # a later tool result may have been merged behind text: results come first
        if turn["role"] == "user":
            turn["content"].sort(key=_is_not_result)
    return system, turns


def _is_not_result(block: object) -> bool:
    return not (isinstance(block, dict) and block.get("type") == "tool_result")


def _encode_tools(chat: ChatRequest) -> dict[str, Any]:
    if not chat.tools:
        return {}
    body: dict[str, Any] = {"tools": [_encode_tool(tool) for tool in chat.tools]}
    choice = chat.tool_choice
    if choice is not None:
        kind = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}[choice.mode]
        said: dict[str, Any] = {"type": kind}
        if choice.mode == "named":
            said["name"] = choice.name
        if choice.parallel is not None and choice.mode != "none":
            said["disable_parallel_tool_use"] = not choice.parallel
        body["tool_choice"] = said
    return body


def _encode_tool(tool: Tool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name, "input_schema": tool.schema}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.strict is not None:
        body["strict"] = tool.strict
    if tool.cache is not None:
        body["cache_control"] = mark(tool.cache)
    return body


def _encode_thinking(chat: ChatRequest, no_effort: bool, limit: int) -> dict[str, Any]:
    r = chat.reasoning
    if r is None:
        return {}
    body: dict[str, Any] = {}
    effort = EFFORTS.get(r.effort, r.effort) if r.effort else None
    if effort and not no_effort:
        body["output_config"] = {"effort": effort}
    budget = r.budget_tokens
    if budget is None and no_effort and r.effort:
        budget = min(BUDGET_OF_EFFORT.get(r.effort, BUDGET_OF_EFFORT["medium"]), limit - 1)
        budget = None if budget < MIN_BUDGET else budget
    if not r.enabled:
        body["thinking"] = {"type": "disabled"}
    elif r.adaptive:
        body["thinking"] = {"type": "adaptive"}
    elif budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return body


def _encode_sampling(chat: ChatRequest, *, thinking: bool) -> dict[str, Any]:
    """Return sampling members as version 2023-06-01 takes them: temperature in 0..1, only top_p while thinking."""
    body: dict[str, Any] = {}
    if chat.temperature is not None and not thinking:
        body["temperature"] = min(chat.temperature, 1.0)
    if chat.top_p is not None:
        body["top_p"] = chat.top_p
    if chat.top_k is not None and not thinking:
        body["top_k"] = chat.top_k
    return body

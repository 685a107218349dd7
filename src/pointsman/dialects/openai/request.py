"""The chat completions request body, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.chat import ChatRequest, ReasoningRequest, ResponseFormat, Tool, ToolChoice
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.openai.messages import decode_message, encode_messages
from pointsman.dialects.openai.parts import NAME
from pointsman.dialects.openai.shapes import CacheControl, Function
from pointsman.dialects.wirejson import NO_RAW, checked_utf8, decode, encode, members, present

NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
# Thinking budgets in tokens up to which an effort is named; above all of them: high. Our own reading, no provider's.
EFFORT_OF_BUDGET = ((2048, "low"), (12288, "medium"))


class FunctionSpec(msgspec.Struct):
    name: str = ""
    description: str | None = None
    parameters: Raw = NO_RAW
    strict: bool | None = None


class ToolIn(msgspec.Struct):
    type: str = "function"
    function: FunctionSpec | None = None
    cache_control: CacheControl | None = None


class Allowed(msgspec.Struct):
    mode: str = "auto"


class ChoiceObject(msgspec.Struct):
    type: str = ""
    function: Function | None = None
    allowed_tools: Allowed | None = None
    name: str | None = None  # the legacy function_call object


class JsonSchema(msgspec.Struct):
    name: str | None = None
    schema: Raw = NO_RAW
    strict: bool | None = None
    description: str | None = None


class FormatIn(msgspec.Struct):
    type: str = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ReasoningIn(msgspec.Struct):  # OpenRouter
    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None


class RequestIn(msgspec.Struct):
    model: str
    messages: list[Raw]
    tools: list[Raw] | None = None
    functions: list[FunctionSpec] | None = None
    tool_choice: str | ChoiceObject | None = None
    function_call: str | ChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: FormatIn | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningIn | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


REQUEST = msgspec.json.Decoder(RequestIn)
TOOL = msgspec.json.Decoder(ToolIn)
KNOWN = frozenset(RequestIn.__struct_fields__)
PLAIN = (  # members that mean the same here and in ChatRequest
    "temperature", "top_p", "top_k", "seed", "n", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty",
    "user", "service_tier",
)  # fmt: skip


def decode_request(body: bytes) -> ChatRequest:
    """Return the request in a chat completions body; WireError says which member is wrong."""
    r = decode(REQUEST, checked_utf8(body, "request"), "request")
    extra = {name: Raw(bytes(raw)) for name, raw in members(body, "request").items() if name not in KNOWN}
    tools = _decode_tools(r, members(body, "request"), extra)
    return ChatRequest(
        model=r.model,
        messages=tuple(decode_message(raw, f"messages[{number}]") for number, raw in enumerate(r.messages)),
        tools=tools,
        tool_choice=_decode_choice(r),
        max_output_tokens=r.max_tokens if r.max_completion_tokens is None else r.max_completion_tokens,
        stop=(r.stop,) if isinstance(r.stop, str) else tuple(r.stop or ()),
        response_format=_decode_format(r.response_format),
        reasoning=_decode_reasoning(r),
        metadata=r.metadata or {},
        stream=bool(r.stream),
        include_usage=bool(r.stream and r.stream_options and r.stream_options.include_usage),
        extra=extra,
        wire=NAME,
        **{name: getattr(r, name) for name in PLAIN},
    )


def _decode_tools(r: RequestIn, raw: dict[str, Raw], extra: dict[str, Raw]) -> tuple[Tool, ...]:
    """Return the function tools. Where there are others, the whole list also travels in `extra`, which wins."""
    found: list[Tool] = [_tool(f, None) for f in r.functions or []]
    for number, one in enumerate(r.tools or []):
        tool = decode(TOOL, one, f"tools[{number}]")
        if tool.type == "function" and tool.function is not None:
            found.append(_tool(tool.function, tool.cache_control))
        else:
            extra["tools"] = Raw(bytes(raw["tools"]))
    return tuple(found)


def _tool(f: FunctionSpec, mark: CacheControl | None) -> Tool:
    if not f.name:
        raise WireError("tools[].function.name: missing")
    schema = Raw(bytes(f.parameters)) if present(f.parameters) else NO_PARAMETERS
    return Tool(f.name, f.description, schema, f.strict, None if mark is None else "1h" if mark.ttl == "1h" else "5m")


def _decode_choice(r: RequestIn) -> ToolChoice | None:
    choice = r.tool_choice if r.tool_choice is not None else r.function_call
    if choice is None:
        return None if r.parallel_tool_calls is None else ToolChoice(parallel=r.parallel_tool_calls)
    if isinstance(choice, ChoiceObject):
        if choice.allowed_tools is not None:
            choice = choice.allowed_tools.mode
        else:
            name = choice.function.name if choice.function else choice.name
            if not name:
                raise WireError("tool_choice: names no function")
            return ToolChoice("named", name, r.parallel_tool_calls)
    for mode in ("auto", "none", "required"):
        if choice == mode:
            return ToolChoice(mode, None, r.parallel_tool_calls)
    raise WireError("tool_choice: expected auto, none, required or a function")


def _decode_format(f: FormatIn | None) -> ResponseFormat | None:
    if f is None:
        return None
    if f.type in ("text", "json_object"):
        return ResponseFormat("text" if f.type == "text" else "json_object")
    if f.type == "json_schema" and f.json_schema is not None and present(f.json_schema.schema):
        j = f.json_schema
        return ResponseFormat("json_schema", j.name, Raw(bytes(j.schema)), j.strict, j.description)
    raise WireError("response_format: expected text, json_object or json_schema with a schema")


def _decode_reasoning(r: RequestIn) -> ReasoningRequest | None:
    asked = r.reasoning or ReasoningIn()
    effort = r.reasoning_effort or asked.effort
    if effort == "none" or asked.enabled is False:
        return ReasoningRequest(enabled=False)
    if effort or asked.max_tokens or asked.enabled:
        return ReasoningRequest(effort, asked.max_tokens)
    return None


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_request(chat: ChatRequest, wire: Wire) -> bytes:
    """Return the body for a provider, with the wire's renames and drops; WireError for what this wire cannot say."""
    marks = chat.wire == NAME  # a client that speaks this wire knows whether its server reads cache marks
    body: dict[str, Any] = {
        "model": wire.model,
        "messages": encode_messages(chat.messages, wire.reasoning_field, marks),
    }
    body |= _encode_tools(chat, marks)
    for name in PLAIN:
        if (value := getattr(chat, name)) is not None:
            body[name] = value
    if chat.max_output_tokens is not None:
        body["max_completion_tokens"] = chat.max_output_tokens
    if chat.stop:
        body["stop"] = list(chat.stop)
    if chat.metadata:
        body["metadata"] = chat.metadata
    if chat.response_format is not None:
        body["response_format"] = _encode_format(chat.response_format)
    if chat.reasoning is not None and (effort := effort_of(chat.reasoning)):
        body["reasoning_effort"] = effort
    if chat.stream:
        body["stream"] = True
        if wire.stream_usage:  # always asked for: the books need it; the client's encoder hides it
            body["stream_options"] = {"include_usage": True}
    if chat.wire == NAME:
        body |= chat.extra
    elif "tools" in chat.extra:
        raise WireError(f"openai: the request uses tools that only {chat.wire} has")
    return encode({wire.rename.get(name, name): value for name, value in body.items() if name not in wire.drop})


def effort_of(reasoning: ReasoningRequest) -> str | None:
    """Return the effort word for a reasoning request; a budget in tokens becomes the nearest word."""
    if not reasoning.enabled:
        return "none"
    if reasoning.effort or reasoning.budget_tokens is None:
        return reasoning.effort
    return next((word for limit, word in EFFORT_OF_BUDGET if reasoning.budget_tokens <= limit), "high")


def _encode_tools(chat: ChatRequest, marks: bool) -> dict[str, Any]:
    if not chat.tools:
        return {}
    body: dict[str, Any] = {"tools": [_encode_tool(tool, marks) for tool in chat.tools]}
    choice = chat.tool_choice
    if choice is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.mode == "named" else choice.mode
        if choice.parallel is not None:
            body["parallel_tool_calls"] = choice.parallel
    return body


def _encode_tool(tool: Tool, marks: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    body: dict[str, Any] = {"type": "function", "function": function}
    if tool.cache and marks:
        body["cache_control"] = {"type": "ephemeral"} | ({"ttl": "1h"} if tool.cache == "1h" else {})
    return body


def _encode_format(f: ResponseFormat) -> dict[str, Any]:
    if f.kind != "json_schema":
        return {"type": f.kind}
    schema: dict[str, Any] = {"name": f.name or "reply", "schema": f.schema}
    if f.strict is not None:
        schema["strict"] = f.strict
    if f.description is not None:
        schema["description"] = f.description
    return {"type": "json_schema", "json_schema": schema}

"""The generateContent request body, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.chat import (
    ChatRequest,
    Message,
    Part,
    ReasoningRequest,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolResult,
)
from pointsman.dialects.base import Wire, WireError
from pointsman.dialects.gemini.facts import NAME
from pointsman.dialects.gemini.parts import Calls, decode_part, encode_parts
from pointsman.dialects.gemini.shapes import Content
from pointsman.dialects.wirejson import NO_RAW, checked_utf8, decode, encode, members, present

CONFIG = "generationConfig"
NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# Thinking budgets in tokens for models that know no level (2.5): ai.google.dev/gemini-api/docs/openai maps efforts so.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
PLAIN = {  # ChatRequest -> generationConfig
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "n": "candidateCount",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}


class Declaration(msgspec.Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: Raw = NO_RAW
    parameters_json_schema: Raw = NO_RAW


class ToolIn(msgspec.Struct, rename="camel"):
    function_declarations: list[Declaration] | None = None


class Calling(msgspec.Struct, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    function_calling_config: Calling | None = None


class Thinking(msgspec.Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class Config(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    seed: int | None = None
    candidate_count: int | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: Raw = NO_RAW
    response_json_schema: Raw = NO_RAW
    thinking_config: Thinking | None = None


class RequestIn(msgspec.Struct, rename="camel"):
    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[Raw] | None = None
    tool_config: ToolConfig | None = None
    generation_config: Raw = NO_RAW


REQUEST = msgspec.json.Decoder(RequestIn)
CONFIG_IN = msgspec.json.Decoder(Config)
TOOL = msgspec.json.Decoder(ToolIn)
KNOWN = frozenset(("contents", "systemInstruction", "tools", "toolConfig", CONFIG))
KNOWN_CONFIG = frozenset(field.encode_name for field in msgspec.structs.fields(Config))


def decode_request(body: bytes) -> ChatRequest:
    """Return the request in a generateContent body, its model and stream flag left empty: the path holds them.

    Members of `generationConfig` we do not read travel in `extra` as "generationConfig.name".
    """
    r = decode(REQUEST, checked_utf8(body, "request"), "request")
    raw = members(body, "request")
    extra = {name: Raw(bytes(value)) for name, value in raw.items() if name not in KNOWN}
    config = decode(CONFIG_IN, r.generation_config, CONFIG) if present(r.generation_config) else Config()
    for name, value in (members(r.generation_config, CONFIG) if present(r.generation_config) else {}).items():
        if name not in KNOWN_CONFIG:
            extra[f"{CONFIG}.{name}"] = Raw(bytes(value))
    calls = Calls()
    messages: list[Message] = []
    if r.system_instruction is not None and (parts := _decode_parts(r.system_instruction, calls, "systemInstruction")):
        messages.append(Message("system", tuple(parts)))
    for number, content in enumerate(r.contents):
        messages += _decode_content(content, calls, f"contents[{number}]")
    plain = {name: getattr(config, _SNAKE[there]) for name, there in PLAIN.items()}
    plain["top_k"] = None if config.top_k is None else int(config.top_k)
    return ChatRequest(
        model="",
        messages=tuple(messages),
        tools=_decode_tools(r, raw, extra),
        tool_choice=_decode_choice(r.tool_config),
        stop=tuple(config.stop_sequences or ()),
        response_format=_decode_format(config),
        reasoning=_decode_thinking(config.thinking_config),
        extra=extra,
        wire=NAME,
        **plain,
    )


_SNAKE = {field.encode_name: field.name for field in msgspec.structs.fields(Config)}


def _decode_parts(content: Content, calls: Calls, what: str) -> list[Part]:
    found: list[Part] = []
    for number, raw in enumerate(content.parts or ()):
        found += decode_part(raw, calls, f"{what}.parts[{number}]")
    return found


def _decode_content(content: Content, calls: Calls, what: str) -> list[Message]:
    parts = _decode_parts(content, calls, what)
    if content.role == "model":
        return [Message("assistant", tuple(parts))]
    if content.role not in (None, "", "user", "function"):
        raise WireError(f"{what}.role: expected user, model or function")
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    rest = tuple(part for part in parts if not isinstance(part, ToolResult))
    found = [Message("tool", results)] if results else []
    return [*found, Message("user", rest)] if rest or not results else found


def _decode_tools(r: RequestIn, raw: dict[str, Raw], extra: dict[str, Raw]) -> tuple[Tool, ...]:
    """Return the functions. Where there are other tools, the whole list also travels in `extra`, which wins."""
    found: list[Tool] = []
    for number, one in enumerate(r.tools or ()):
        tool = decode(TOOL, one, f"tools[{number}]")
        if set(members(one, f"tools[{number}]")) != {"functionDeclarations"}:
            extra["tools"] = Raw(bytes(raw["tools"]))
        for f in tool.function_declarations or ():
            schema = next((s for s in (f.parameters_json_schema, f.parameters) if present(s)), NO_PARAMETERS)
            found.append(Tool(f.name, f.description, Raw(bytes(schema))))
    return tuple(found)


def _decode_choice(config: ToolConfig | None) -> ToolChoice | None:
    calling = config.function_calling_config if config else None
    if calling is None or calling.mode is None:
        return None
    if calling.mode == "NONE":
        return ToolChoice("none")
    if calling.mode == "ANY":
        names = calling.allowed_function_names or []
        return ToolChoice("named", names[0]) if len(names) == 1 else ToolChoice("required")
    return ToolChoice("auto")


def _decode_format(config: Config) -> ResponseFormat | None:
    schema = next((s for s in (config.response_json_schema, config.response_schema) if present(s)), None)
    if schema is not None:
        return ResponseFormat("json_schema", schema=Raw(bytes(schema)))
    if config.response_mime_type == "application/json":
        return ResponseFormat("json_object")
    return None if config.response_mime_type is None else ResponseFormat("text")


def _decode_thinking(t: Thinking | None) -> ReasoningRequest | None:
    if t is None:
        return None
    if t.thinking_budget == 0:
        return ReasoningRequest(enabled=False)
    effort = t.thinking_level.lower() if t.thinking_level else None
    if t.thinking_budget is not None and t.thinking_budget < 0:
        return ReasoningRequest(effort, adaptive=True)
    return ReasoningRequest(effort, t.thinking_budget)


# --- outwards ---------------------------------------------------------------------------------------------------------


def encode_request(chat: ChatRequest, wire: Wire) -> bytes:
    """Return the body for a provider; `drop` and `rename` also reach into generationConfig. WireError for what this
    wire cannot say. A deployment whose model knows no thinkingLevel puts that in `drop`; effort then becomes a budget."""
    if chat.tool_choice is not None and chat.tool_choice.parallel is False and chat.tools:
        raise WireError("gemini: parallel tool calls cannot be switched off in this wire")
    if chat.wire != NAME and "tools" in chat.extra:
        raise WireError(f"gemini: tools that only {chat.wire} has cannot be said in this wire")
    system, contents = _encode_contents(chat)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    body |= _encode_tools(chat)
    config = _encode_config(chat, wire)
    if chat.wire == NAME:
        for name, value in chat.extra.items():
            holder, _, inner = name.partition(".")
            if holder == CONFIG and inner:
                config[inner] = value
            else:
                body[name] = value
    if config:
        body[CONFIG] = _fitted(config, wire)
    return encode(_fitted(body, wire))


def _fitted(body: dict[str, Any], wire: Wire) -> dict[str, Any]:
    return {wire.rename.get(name, name): value for name, value in body.items() if name not in wire.drop}


def _encode_contents(chat: ChatRequest) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return (system parts, contents): leading instructions apart, later ones as user text, turns of one role merged."""
    system: list[Any] = []
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in chat.messages:
        parts = encode_parts(message, names)
        if message.role in ("system", "developer") and not turns:
            system += parts
            continue
        role = "model" if message.role == "assistant" else "user"
        if not parts:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": role, "parts": parts})
    if not turns:
        raise WireError("gemini: at least one message must come from the user")
    return system, turns


def _encode_tools(chat: ChatRequest) -> dict[str, Any]:
    if not chat.tools:
        return {}
    declarations = [
        {"name": tool.name}
        | ({} if tool.description is None else {"description": tool.description})
        | {"parametersJsonSchema": tool.schema}
        for tool in chat.tools
    ]
    body: dict[str, Any] = {"tools": [{"functionDeclarations": declarations}]}
    if chat.tool_choice is not None:
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[chat.tool_choice.mode]
        calling: dict[str, Any] = {"mode": mode}
        if chat.tool_choice.mode == "named":
            calling["allowedFunctionNames"] = [chat.tool_choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _encode_config(chat: ChatRequest, wire: Wire) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, there in PLAIN.items():
        if (value := getattr(chat, name)) is not None:
            config[there] = value
    if chat.stop:
        config["stopSequences"] = list(chat.stop)
    if chat.response_format is not None:
        config |= _encode_format(chat.response_format)
    if chat.reasoning is not None:
        config["thinkingConfig"] = _encode_thinking(chat.reasoning, "thinkingLevel" in wire.drop)
    return config


def _encode_format(f: ResponseFormat) -> dict[str, Any]:
    if f.kind == "text":
        return {"responseMimeType": "text/plain"}
    schema = {"responseJsonSchema": f.schema} if f.kind == "json_schema" else {}
    return {"responseMimeType": "application/json"} | schema


def _encode_thinking(r: ReasoningRequest, no_level: bool) -> dict[str, Any]:
    if not r.enabled:
        return {"thinkingBudget": 0}
    body: dict[str, Any] = {"includeThoughts": True}
    if r.budget_tokens is not None:
        body["thinkingBudget"] = r.budget_tokens
    elif r.adaptive:
        body["thinkingBudget"] = -1
    elif r.effort and no_level:
        body["thinkingBudget"] = BUDGETS.get(r.effort, BUDGETS["medium"])
    elif r.effort:
        body["thinkingLevel"] = LEVELS.get(r.effort, "high")
    return body

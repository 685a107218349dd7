"""Reading of Anthropic Messages requests, with the checks of both API versions. Source: see `anthropic_wire`."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.lab.mock.ask import Ask, Received, Rejected, ToolMode, ToolSpec

OLD_VERSION, NEW_VERSION = "2023-06-01", "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")
_MODES: dict[str, ToolMode] = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    name: str | None = None
    input: Any = None
    content: Any = None
    citations: Any = None
    cache_control: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: Any = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[_Block] | None = None
    stream: bool | None = False
    tools: list[_Tool] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_decoder = msgspec.json.Decoder(_Body)


def parse(received: Received) -> Ask:
    """Return what a Messages or count_tokens request asks. Raises Rejected (400)."""
    version = received.headers.get("anthropic-version")
    if version is None:
        raise Rejected(400, "anthropic-version: header is required")
    if version not in (OLD_VERSION, NEW_VERSION):
        raise Rejected(400, f"anthropic-version: {version[:40]!r} is not a valid version")
    try:
        body = _decoder.decode(received.body)
    except msgspec.DecodeError as error:
        raise Rejected(400, str(error)) from error
    _check(body, version, counting=received.path.endswith("/count_tokens"))
    return _ask(body)


def _check(body: _Body, version: str, *, counting: bool) -> None:
    if not body.messages:
        raise Rejected(400, "messages: at least one message is required")
    if not counting and body.max_tokens is None:
        raise Rejected(400, "max_tokens: Field required")
    if body.max_tokens is not None and body.max_tokens < 1:
        raise Rejected(400, "max_tokens: must be at least 1")
    if any(message.role not in ("user", "assistant", "system") for message in body.messages):
        raise Rejected(400, "messages: role must be 'user' or 'assistant'")
    if version == NEW_VERSION:
        _check_new(body)


def _check_new(body: _Body) -> None:
    for name in _SAMPLING:
        if getattr(body, name) is not None:
            raise Rejected(400, f"{name}: this parameter is not supported in API version {NEW_VERSION}")
    for message in body.messages:
        for block in message.content if isinstance(message.content, list) else ():
            if message.role == "assistant" and block.type == "document":
                raise Rejected(400, "messages: document blocks are not allowed in assistant messages")
            if message.role == "user" and block.type == "text" and block.citations:
                raise Rejected(400, "messages: citations are not allowed on text blocks of user messages")


class _Texts:
    """Collect the texts of a request in order, the images, and the last cache mark."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images = 0
        self.marked = 0
        self.hour = False

    def add(self, content: Any) -> list[str]:
        """Take in a message's content; return its own plain texts."""
        if isinstance(content, str):
            self.texts.append(content)
            return [content]
        own: list[str] = []
        for block in content or ():
            if block.text is not None:
                own.append(block.text)
                self.texts.append(block.text)
            elif block.type == "tool_use":
                self.texts.append((block.name or "") + msgspec.json.encode(block.input).decode())
            elif block.type == "tool_result":
                self.texts += _result_texts(block.content)
            self.images += block.type == "image"
            if block.cache_control is not None:
                self.marked = len(self.texts)
                self.hour = self.hour or block.cache_control.get("ttl") == "1h"
        return own


def _result_texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part["text"]) for part in content or () if isinstance(part, dict) and part.get("type") == "text"]


def _ask(body: _Body) -> Ask:
    seen = _Texts()
    seen.add(body.system)
    last = ""
    for message in body.messages:
        own = seen.add(message.content)
        if message.role == "user" and own:
            last = "\n".join(own)
    newest = body.messages[-1].content
    choice = body.tool_choice or {}
    thinking = (body.thinking or {}).get("type", "disabled")
    shape = (body.output_config or {}).get("format") or body.output_format or {}
    return Ask(
        model=body.model,
        texts=tuple(seen.texts),
        last=last,
        stream=bool(body.stream),
        after_tool=isinstance(newest, list) and any(block.type == "tool_result" for block in newest),
        images=seen.images,
        max_tokens=body.max_tokens,
        tools=tuple(ToolSpec(tool.name, tool.input_schema) for tool in body.tools or ()),
        tool_mode=_MODES.get(str(choice.get("type", "auto")), "auto"),
        tool_name=choice.get("name"),
        parallel=not choice.get("disable_parallel_tool_use", False),
        json=shape.get("type") == "json_schema",
        schema=shape.get("schema"),
        include_usage=True,
        stop=tuple(body.stop_sequences or ()),
        think=thinking in ("enabled", "adaptive", "between_tools"),
        show_thinking=(body.thinking or {}).get("display") != "omitted",
        cache_texts=seen.marked,
        cache_1h=seen.hour,
    )

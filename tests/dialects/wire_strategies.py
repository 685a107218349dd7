"""What each wire can say, as hypothesis strategies: requests, replies and event streams in their normal form."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from pointsman.core.chat import (
    Audio,
    ChatRequest,
    Choice,
    End,
    Event,
    File,
    Finish,
    Image,
    Message,
    Reasoning,
    ReasoningDelta,
    ReasoningRequest,
    Refusal,
    RefusalDelta,
    Reply,
    ResponseFormat,
    Start,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolChoice,
    ToolResult,
    UsageReport,
)
from pointsman.core.usage import Usage

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
WORD = st.text("abcxyz_", min_size=1, max_size=8)
BASE64 = st.sampled_from(("iVBORw0KGgo=", "AAEC", "Zm9v"))
SCHEMA = st.sampled_from((Raw(b'{"type":"object"}'), Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')))
OBJECT = st.dictionaries(WORD, TEXT | st.integers(-9, 9) | st.booleans(), max_size=2).map(
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
)
CACHE = st.sampled_from((None, "5m", "1h"))
IMAGE_TYPE = st.sampled_from(("image/png", "image/webp"))
URL = st.sampled_from(("https://example.org/a.png", "https://example.org/b"))
FRACTION = st.sampled_from((0.0, 0.25, 1.0))

OPENAI, ANTHROPIC, GEMINI = "openai", "anthropic", "gemini"


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _user_part(wire: str) -> st.SearchStrategy[Any]:
    cache = st.none() if wire == GEMINI else CACHE
    text = st.builds(Text, TEXT, cache)
    if wire == OPENAI:
        detail = maybe(st.sampled_from(("low", "high")))
        image = st.builds(Image, url=URL, detail=detail, cache=cache) | st.builds(
            Image, data=BASE64, media_type=IMAGE_TYPE, detail=detail, cache=cache
        )
        file = st.builds(File, data=BASE64, media_type=st.just("application/pdf"), name=maybe(WORD)) | st.builds(
            File, id=WORD
        )
        return text | image | file | st.builds(Audio, BASE64, st.sampled_from(("wav", "mp3")))
    if wire == ANTHROPIC:
        image = st.builds(Image, url=URL, cache=cache) | st.builds(
            Image, data=BASE64, media_type=IMAGE_TYPE, cache=cache
        )
        file = (
            st.builds(File, data=BASE64, media_type=st.just("application/pdf"), name=maybe(WORD), cache=cache)
            | st.builds(File, url=URL, name=maybe(WORD))
            | st.builds(File, id=WORD)
            | st.just(File(data="R2xlaXM=", media_type="text/plain"))
        )
        return text | image | file
    image = st.builds(Image, url=URL, media_type=IMAGE_TYPE) | st.builds(Image, data=BASE64, media_type=IMAGE_TYPE)
    file = st.builds(File, data=BASE64, media_type=st.just("application/pdf")) | st.builds(
        File, url=URL, media_type=st.just("application/pdf")
    )
    return text | image | file | st.builds(Audio, BASE64, st.sampled_from(("wav", "mp3")))


def _reasoning(wire: str, *, to_client: bool) -> st.SearchStrategy[list[Reasoning]]:
    signed = st.builds(Reasoning, TEXT, WORD, signed_by=st.just(wire))
    plain = st.builds(Reasoning, TEXT)
    redacted = st.builds(Reasoning, redacted=WORD, signed_by=st.just(wire))
    if wire == OPENAI:
        signer = st.sampled_from((OPENAI, ANTHROPIC, GEMINI))
        signed = st.builds(Reasoning, TEXT, WORD, signed_by=signer)
        redacted = st.builds(Reasoning, redacted=WORD, signed_by=signer)
        return st.lists(signed | redacted, max_size=2) | plain.map(lambda one: [one])
    if wire == ANTHROPIC:
        return st.lists(signed | redacted | plain if to_client else signed | redacted, max_size=2)
    return st.lists(signed | plain if to_client else signed, max_size=2)


@st.composite
def assistant(draw: st.DrawFn, wire: str, ids: list[int], *, to_client: bool = False) -> Message:
    """Draw an assistant message that says something; call ids are unique through `ids`."""
    parts: list[Any] = list(draw(_reasoning(wire, to_client=to_client)))
    texts = draw(st.lists(TEXT, max_size=1 if wire == OPENAI else 2))
    parts += [Text(text) for text in texts]
    if wire == OPENAI and draw(st.booleans()):
        parts.append(Refusal(draw(TEXT)))
    for _ in range(draw(st.integers(0 if parts else 1, 2))):
        ids[0] += 1
        arguments = draw(OBJECT if wire != OPENAI else OBJECT | TEXT)
        signature = draw(maybe(WORD)) if wire != ANTHROPIC else None
        parts.append(ToolCall(f"call_x{ids[0]}", draw(WORD), arguments, signature))
    return Message("assistant", tuple(parts))


@st.composite
def _results(draw: st.DrawFn, wire: str, calls: list[ToolCall]) -> list[Message]:
    """Draw the answers to all calls: one message each for OpenAI, one for all elsewhere."""
    results = []
    for call in calls:
        content: tuple[Any, ...] = (Text(draw(TEXT)),)
        if wire != OPENAI and draw(st.booleans()):
            content += (Image(data="AAEC", media_type="image/png"),)
        cache = draw(CACHE) if wire == ANTHROPIC else None
        results.append(ToolResult(call.id, content, wire != OPENAI and draw(st.booleans()), cache))
    if wire == OPENAI:
        return [Message("tool", (result,)) for result in results]
    return [Message("tool", tuple(results))] if results else []


@st.composite
def messages(draw: st.DrawFn, wire: str) -> tuple[Message, ...]:
    """Draw a conversation in turns, so that merging equal roles changes nothing."""
    found: list[Message] = []
    ids = [0]
    if draw(st.booleans()):
        cache = st.none() if wire == GEMINI else CACHE
        role = draw(st.sampled_from(("system", "developer"))) if wire == OPENAI else "system"
        found.append(Message(role, tuple(draw(st.lists(st.builds(Text, TEXT, cache), min_size=1, max_size=2)))))
    for _ in range(draw(st.integers(1, 2))):
        name = draw(maybe(WORD)) if wire == OPENAI else None
        parts = draw(st.lists(_user_part(wire), min_size=1, max_size=3))
        found.append(Message("user", tuple(parts), name))
        found.append(draw(assistant(wire, ids)))
        found += draw(_results(wire, [part for part in found[-1].parts if isinstance(part, ToolCall)]))
    return tuple(found)


def _tools(wire: str) -> st.SearchStrategy[list[Tool]]:
    strict = st.none() if wire == GEMINI else maybe(st.booleans())
    cache = st.none() if wire == GEMINI else CACHE
    tool = st.builds(Tool, WORD, maybe(TEXT), SCHEMA, strict, cache)
    return st.lists(tool, max_size=2)


def _choice(wire: str) -> st.SearchStrategy[Any]:
    parallel = st.none() if wire == GEMINI else maybe(st.booleans())
    return maybe(
        st.builds(ToolChoice, st.sampled_from(("auto", "required")), st.none(), parallel)
        | st.builds(ToolChoice, st.just("named"), WORD, parallel)
        | st.just(ToolChoice("none"))
    )


def _members(wire: str) -> dict[str, st.SearchStrategy[Any]]:
    shared = {
        "stop": st.lists(TEXT, max_size=2).map(tuple),
        "extra": st.sampled_from(({}, {"x_unknown": Raw(b'{"a":[1, 2]}')})),
    }
    numbers = {"temperature": maybe(FRACTION), "top_p": maybe(FRACTION), "top_k": maybe(st.integers(1, 50))}
    broad = {
        "max_output_tokens": maybe(st.integers(1, 99)),
        "seed": maybe(st.integers(-5, 5)),
        "n": maybe(st.integers(1, 3)),
        "logprobs": maybe(st.booleans()),
        "top_logprobs": maybe(st.integers(0, 5)),
        "presence_penalty": maybe(FRACTION),
        "frequency_penalty": maybe(FRACTION),
    }
    named = st.builds(ResponseFormat, st.just("json_schema"), WORD, SCHEMA, maybe(st.booleans()), maybe(TEXT))
    schema = st.builds(ResponseFormat, st.just("json_schema"), schema=SCHEMA)
    plain = st.sampled_from((ResponseFormat("json_object"), ResponseFormat("text")))
    effort = st.builds(ReasoningRequest, st.sampled_from(("low", "medium", "high")))
    off = st.just(ReasoningRequest(enabled=False))
    budget = st.builds(ReasoningRequest, budget_tokens=st.integers(1024, 4096))
    adaptive = st.just(ReasoningRequest(adaptive=True))
    if wire == OPENAI:
        return {
            **shared,
            **numbers,
            **broad,
            "response_format": maybe(plain | named),
            "reasoning": maybe(effort | off),
            "user": maybe(WORD),
            "metadata": st.dictionaries(WORD, TEXT, max_size=2),
            "service_tier": maybe(st.sampled_from(("auto", "flex"))),
        }
    if wire == ANTHROPIC:
        return {
            **shared,
            "max_output_tokens": st.integers(1, 99999),
            "response_format": maybe(schema),
            "reasoning": maybe(effort | off | budget | adaptive),
            "user": maybe(WORD),
            "service_tier": maybe(st.sampled_from(("auto", "standard_only"))),
            "top_p": maybe(FRACTION),
        }
    return {
        **shared,
        **numbers,
        **broad,
        "response_format": maybe(plain | schema),
        "reasoning": maybe(effort | off | budget | adaptive),
    }


@st.composite
def chats(draw: st.DrawFn, wire: str) -> ChatRequest:
    """Draw a request that this wire can say in full."""
    tools = draw(_tools(wire))
    stream = wire != GEMINI and draw(st.booleans())
    members = {name: draw(strategy) for name, strategy in _members(wire).items()}
    return ChatRequest(
        model="" if wire == GEMINI else draw(WORD),
        messages=draw(messages(wire)),
        tools=tuple(tools),
        tool_choice=draw(_choice(wire)) if tools else None,
        stream=stream,
        include_usage=stream,
        wire=wire,
        **members,
    )


FINISHES = {
    OPENAI: [("stop", "stop"), ("length", "MAX"), ("tool_calls", "tool_calls"), ("content_filter", "SAFETY")],
    ANTHROPIC: [("stop", "end_turn"), ("length", "pause_turn"), ("tool_calls", "tool_use"), ("stop", "stop_sequence")],
    GEMINI: [("stop", "STOP"), ("length", "MAX_TOKENS"), ("content_filter", "SPII"), ("error", "OTHER")],
}


@st.composite
def usages(draw: st.DrawFn, wire: str) -> Usage:
    read, write_5m, write_1h = (draw(st.integers(0, 50)) for _ in range(3))
    write_5m = write_5m if wire != GEMINI else 0
    write_1h = write_1h if wire == ANTHROPIC else 0
    total_in, total_out = read + write_5m + write_1h + draw(st.integers(1, 50)), draw(st.integers(1, 50))
    audio = wire != ANTHROPIC
    return Usage(
        input_tokens=total_in,
        output_tokens=total_out,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=draw(st.integers(0, total_out)),
        input_audio_tokens=draw(st.integers(0, total_in)) if audio else 0,
        output_audio_tokens=draw(st.integers(0, total_out)) if audio else 0,
    )


def _finish(draw: st.DrawFn, wire: str, has_calls: bool) -> tuple[str, str]:
    reason, native = draw(st.sampled_from(FINISHES[wire]))
    return ("tool_calls", native) if wire == GEMINI and reason == "stop" and has_calls else (reason, native)


@st.composite
def replies(draw: st.DrawFn, wire: str) -> Reply:
    """Draw a whole reply that this wire can say in full."""
    choices = []
    for index in range(1 if wire == ANTHROPIC else draw(st.integers(1, 2))):
        message = draw(assistant(wire, [0], to_client=True))
        reason, native = _finish(draw, wire, any(isinstance(part, ToolCall) for part in message.parts))
        choices.append(Choice(index, message, reason, native_finish=native))
    return Reply(
        id=draw(WORD),
        model=draw(WORD),
        choices=tuple(choices),
        usage=draw(usages(wire)),
        created_s=draw(st.integers(1, 10**9)) if wire == OPENAI else 0,
        extra=draw(st.sampled_from(({}, {"x_unknown": Raw(b'"y"')}))),
        wire=wire,
    )


def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    cut = draw(st.integers(0, len(text)))
    return [piece for piece in (text[:cut], text[cut:]) if piece]


@st.composite
def streams(draw: st.DrawFn, wire: str) -> list[Event]:
    """Draw the events of a complete stream: content of each choice in pieces, finishes, usage, end."""
    events: list[Event] = [Start(draw(WORD), draw(WORD), 1 if wire == OPENAI else 0)]
    indexes = [0] if wire == ANTHROPIC else draw(st.sampled_from(([0], [0, 1], [0, 2])))
    for index in indexes:
        message = draw(assistant(wire, [index * 10], to_client=True))
        calls = 0
        for part in message.parts:
            if isinstance(part, Text):
                events += [TextDelta(piece, index) for piece in _pieces(draw, part.text)]
            elif isinstance(part, Refusal):
                events += [RefusalDelta(piece, index) for piece in _pieces(draw, part.text)]
            elif isinstance(part, Reasoning):
                delta = ReasoningDelta(part.text, index, part.signature, part.redacted, part.signed_by)
                events.append(delta)
            elif isinstance(part, ToolCall):
                events.append(ToolCallStart(calls, part.id, part.name, index, part.signature))
                events += [ToolCallDelta(calls, piece, index) for piece in _pieces(draw, part.arguments)]
                calls += 1
        reason, native = _finish(draw, wire, calls > 0)
        events.append(Finish(reason, index, native))
    return [*events, UsageReport(draw(usages(wire))), End()]

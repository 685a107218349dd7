"""The chat completions stream, both ways: data-only SSE events of `chat.completion.chunk`, ended by `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from pointsman.core.chat import (
    End,
    Event,
    Finish,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Start,
    StreamError,
    Text,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.errors import error_words, read_error, stream_error
from pointsman.dialects.openai.facts import ERRORS, finish_of, usage_body, usage_of
from pointsman.dialects.openai.parts import (
    arguments_of,
    decode_content,
    decode_reasoning,
    reasoning_members,
    signature_of,
)
from pointsman.dialects.openai.shapes import CHUNK, Chunk, ChunkChoice, Delta, ToolCallIn
from pointsman.dialects.sse import event_bytes
from pointsman.dialects.streaming import SseDecoder
from pointsman.dialects.wirejson import decode, encode, present

MAX_CALLS = 1024  # tool calls in one choice; more is a broken stream


class _ChoiceState:
    """Hold which tool calls a choice has opened: by the server's index, and how many."""

    __slots__ = ("calls", "count", "finished", "last")

    def __init__(self) -> None:
        self.finished = False
        self.calls: dict[int, tuple[int, str]] = {}  # server's index -> (our number, id)
        self.count = 0
        self.last = -1


class Decoder(SseDecoder):
    """Decode chunks. Tolerates servers that omit ids, repeat them, or number parallel calls alike."""

    def __init__(self) -> None:
        super().__init__(ERRORS)
        self._started = False
        self._choices: dict[int, _ChoiceState] = {}

    def _event(self, name: str, data: bytes, out: list[Event]) -> None:
        if data[:6] == b"[DONE]":
            self._stop(out, self._verdict())
            return
        chunk = decode(CHUNK, data, "stream event")
        if chunk.choices is None or present(chunk.error):
            facts = read_error(data)
            if facts is not None:
                self._stop(out, stream_error(ERRORS, facts))
                return
        if not self._started and (chunk.id or chunk.choices):
            self._started = True
            out.append(Start(chunk.id or "", chunk.model or "", int(chunk.created or 0)))
        for choice in chunk.choices or ():
            self._choice(choice, out)
        self._usage(chunk, out)

    def _verdict(self) -> End | StreamError:
        if not self._choices:
            return StreamError(Kind.EMPTY, "the stream ended without a choice")
        if not all(state.finished for state in self._choices.values()):
            return StreamError(Kind.TRUNCATED, "the stream ended without a finish reason")
        return End()

    def _usage(self, chunk: Chunk, out: list[Event]) -> None:
        usage = usage_of(chunk.usage)
        if usage is None and chunk.x_groq is not None:
            usage = usage_of(chunk.x_groq.usage)
        if usage is not None:
            if not self._started:
                self._started = True
                out.append(Start(chunk.id or "", chunk.model or "", int(chunk.created or 0)))
            out.append(UsageReport(usage))

    def _choice(self, choice: ChunkChoice, out: list[Event]) -> None:
        index = choice.index
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState()
        if state.finished:
            return
        if choice.delta is not None:
            self._delta(choice.delta, choice, state, out)
        if choice.finish_reason:
            state.finished = True
            native = choice.native_finish_reason or choice.finish_reason
            out.append(Finish(finish_of(choice.finish_reason), index, native))

    def _delta(self, delta: Delta, choice: ChunkChoice, state: _ChoiceState, out: list[Event]) -> None:
        index = choice.index
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            found = decode_reasoning(delta.reasoning_details, (delta.reasoning_content, delta.reasoning))
            out.extend(ReasoningDelta(r.text, index, r.signature, r.redacted, r.signed_by) for r in found)
        content = delta.content
        logprobs = Raw(bytes(choice.logprobs)) if present(choice.logprobs) else None
        if isinstance(content, str):
            if content or logprobs is not None:
                out.append(TextDelta(content, index, logprobs))
        elif content:
            _parts(content, index, out)
        elif logprobs is not None:
            out.append(TextDelta("", index, logprobs))
        if delta.refusal:
            out.append(RefusalDelta(delta.refusal, index))
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(call, state, index, out)
        elif delta.function_call is not None:
            self._call(ToolCallIn(index=0, function=delta.function_call), state, index, out)

    def _call(self, call: ToolCallIn, state: _ChoiceState, index: int, out: list[Event]) -> None:
        key = call.index if call.index is not None else (state.count if call.id else state.last)
        known = state.calls.get(key)
        if known is None or (call.id and known[1] and call.id != known[1]):
            known = self._open(call, key, state, index, out)
        state.last = key
        if call.function is not None and (arguments := arguments_of(call.function)):
            out.append(ToolCallDelta(known[0], arguments, index))

    def _open(self, call: ToolCallIn, key: int, state: _ChoiceState, index: int, out: list[Event]) -> tuple[int, str]:
        number = state.count
        if number >= MAX_CALLS:
            raise WireError(f"stream event: more than {MAX_CALLS} tool calls")
        state.count += 1
        opened = state.calls[key] = (number, call.id or "")
        name = (call.function.name if call.function else None) or ""
        out.append(ToolCallStart(number, call.id or f"call_{number}", name, index, signature_of(call)))
        return opened


def _parts(content: list[Raw], index: int, out: list[Event]) -> None:
    for part in decode_content(content, "delta"):
        if isinstance(part, Text):
            out.append(TextDelta(part.text, index))
        elif isinstance(part, Reasoning):
            out.append(ReasoningDelta(part.text, index))


class Encoder:
    """Encode events as chunks with one id; the role first in each choice, `[DONE]` or an error last, never both."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._roles: set[int] = set()
        self._done = False
        self._set_head(Start("", ""))

    def resumed(self, deployment: str) -> None:
        """Note that another deployment goes on from here: a member `pointsman` of each later chunk says so."""
        mark = b'"pointsman":' + encode({"continued_by": deployment}) + b","
        self._head = self._plain_head.replace(b'"choices":[', mark + b'"choices":[')

    def _set_head(self, start: Start) -> None:
        head = {"id": start.id, "object": "chat.completion.chunk", "created": start.created_s, "model": start.model}
        self._head = self._plain_head = b"data: " + encode(head)[:-1] + b',"choices":['

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return whole SSE events; nothing after the terminal one."""
        out: list[bytes] = []
        for event in events:
            if not self._done:
                self._encode(event, out)
        return b"".join(out)

    def _encode(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, TextDelta):
            self._role(event.index, out)
            self._add(event.index, b'{"content":' + encode(event.text) + b"}", out, logprobs=event.logprobs)
        elif isinstance(event, Start):
            self._set_head(event)
        elif isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, End):
            if self._include_usage and self._usage is not None:
                out.append(self._head + b'],"usage":' + encode(usage_body(self._usage)) + b"}\n\n")
            out.append(b"data: [DONE]\n\n")
            self._done = True
        elif isinstance(event, StreamError):
            out.append(event_bytes(encode({"error": error_body(event)})))
            self._done = True
        elif isinstance(event, Finish):
            self._role(event.index, out)
            self._add(event.index, b"{}", out, finish=event)
        else:
            self._role(event.index, out)
            self._add(event.index, encode(_delta_body(event)), out)

    def _role(self, index: int, out: list[bytes]) -> None:
        if index not in self._roles:
            self._roles.add(index)
            self._add(index, b'{"role":"assistant","content":""}', out)

    def _add(
        self, index: int, delta: bytes, out: list[bytes], *, logprobs: Raw | None = None, finish: Finish | None = None
    ) -> None:
        end = b"null"
        if finish is not None:
            end = encode(finish.reason)
            if finish.native and finish.native != finish.reason:
                end += b',"native_finish_reason":' + encode(finish.native)
        said = b"null" if logprobs is None else bytes(logprobs)
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]}\n\n' % (index, delta, said, end)
        out.append(self._head + choice)


def _delta_body(event: ReasoningDelta | RefusalDelta | ToolCallStart | ToolCallDelta) -> dict[str, Any]:
    if isinstance(event, ReasoningDelta):
        reasoning = Reasoning(event.text, event.signature, event.redacted, event.signed_by)
        return reasoning_members([reasoning], "reasoning_content")
    if isinstance(event, RefusalDelta):
        return {"refusal": event.text}
    if isinstance(event, ToolCallDelta):
        return {"tool_calls": [{"index": event.call, "function": {"arguments": event.arguments}}]}
    call: dict[str, Any] = {
        "index": event.call,
        "id": event.id,
        "type": "function",
        "function": {"name": event.name, "arguments": ""},
    }
    if event.signature:
        call["extra_content"] = {"google": {"thought_signature": event.signature}}
    return {"tool_calls": [call]}


def error_body(event: StreamError) -> dict[str, Any]:
    """Return the error object for a client; the kind decides type and code."""
    kind, code = error_words(event)
    return {"message": event.message, "type": kind, "param": None, "code": code, "origin": "provider"}

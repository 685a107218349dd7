"""The Messages stream from a provider.

Format: platform.claude.com/docs/en/build-with-claude/streaming. Events and blocks of unknown kind are
skipped, as it asks.
"""

from __future__ import annotations

from msgspec import Raw

from pointsman.core.chat import (
    End,
    Event,
    Finish,
    ReasoningDelta,
    Start,
    StreamError,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.outcome import Kind
from pointsman.dialects.anthropic.facts import ERRORS, NAME, finish_of, merged, usage_of
from pointsman.dialects.anthropic.shapes import EVENT, USAGE, Block, StreamEvent, UsageIn
from pointsman.dialects.errors import ErrorFacts, read_error, stream_error
from pointsman.dialects.streaming import SseDecoder
from pointsman.dialects.wirejson import decode, lenient, present, text_of


class _Tool:
    """Hold an open tool_use block: our number for it, and whether any argument text came."""

    __slots__ = ("number", "said")

    def __init__(self, number: int) -> None:
        self.number = number
        self.said = False


class Decoder(SseDecoder):
    """Decode a Messages stream; the end is `message_stop` after a stop reason."""

    def __init__(self) -> None:
        super().__init__(ERRORS)
        self._tools: dict[int, _Tool] = {}
        self._tool_count = 0
        self._usage = UsageIn()
        self._started = False
        self._finished = False

    def _event(self, name: str, data: bytes, out: list[Event]) -> None:
        event = decode(EVENT, data, "stream event")
        if event.type == "content_block_delta":
            self._delta(event, out)
        elif event.type == "content_block_start" and event.content_block is not None:
            self._open(event.index, event.content_block, out)
        elif event.type == "content_block_stop":
            self._close_block(event.index, out)
        elif event.type == "message_start" and event.message is not None:
            self._start(event.message.id or "", event.message.model or "", out)
            self._count(event.message.usage, out)
        elif event.type == "message_delta":
            self._finish(event, out)
        elif event.type == "message_stop":
            missing = StreamError(Kind.TRUNCATED, "the stream ended without a stop reason")
            self._stop(out, End() if self._finished else missing)
        elif event.type == "error":
            self._stop(out, stream_error(ERRORS, read_error(data) or ErrorFacts(())))

    def _start(self, message_id: str, model: str, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(Start(message_id, model))

    def _count(self, raw: Raw, out: list[Event]) -> None:
        new = lenient(USAGE, raw)
        if new is not None:
            self._usage = merged(self._usage, new)
            if (usage := usage_of(self._usage)) is not None:
                out.append(UsageReport(usage))

    def _delta(self, event: StreamEvent, out: list[Event]) -> None:
        delta = event.delta
        if delta is None or self._finished:
            return
        self._start("", "", out)
        if delta.type == "text_delta":
            if delta.text:
                out.append(TextDelta(delta.text))
        elif delta.type == "input_json_delta":
            tool = self._tools.get(event.index)
            if tool is not None and delta.partial_json:
                tool.said = True
                out.append(ToolCallDelta(tool.number, delta.partial_json))
        elif delta.type == "thinking_delta":
            if delta.thinking:
                out.append(ReasoningDelta(delta.thinking))
        elif delta.type == "signature_delta" and delta.signature:
            out.append(ReasoningDelta(signature=delta.signature, signed_by=NAME))

    def _open(self, index: int, block: Block, out: list[Event]) -> None:
        if self._finished:
            return
        self._start("", "", out)
        if block.type == "text" and block.text:
            out.append(TextDelta(block.text))
        elif block.type == "tool_use":
            tool = self._tools[index] = _Tool(self._tool_count)
            self._tool_count += 1
            out.append(ToolCallStart(tool.number, block.id or f"call_{tool.number}", block.name or ""))
            if present(block.input) and (given := text_of(block.input, "stream event").strip()) != "{}":
                tool.said = True
                out.append(ToolCallDelta(tool.number, given))
        elif block.type == "thinking" and (block.thinking or block.signature):
            signed_by = NAME if block.signature else ""
            out.append(ReasoningDelta(block.thinking or "", signature=block.signature or None, signed_by=signed_by))
        elif block.type == "redacted_thinking" and block.data:
            out.append(ReasoningDelta(redacted=block.data, signed_by=NAME))

    def _close_block(self, index: int, out: list[Event]) -> None:
        """End a block: a call without arguments says `{}`, since no other wire takes nothing for that."""
        tool = self._tools.pop(index, None)
        if tool is not None and not tool.said and not self._finished:
            out.append(ToolCallDelta(tool.number, "{}"))

    def _finish(self, event: StreamEvent, out: list[Event]) -> None:
        word = event.delta.stop_reason if event.delta else None
        if word and not self._finished:
            self._start("", "", out)
            for index in list(self._tools):
                self._close_block(index, out)
            self._finished = True
            out.append(Finish(finish_of(word), 0, word))
        self._count(event.usage, out)

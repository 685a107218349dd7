"""The Messages stream towards a client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pointsman.core.chat import (
    End,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    Start,
    StreamError,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage
from pointsman.dialects.anthropic.facts import ERROR_TYPES, NAME, stop_reason_of, usage_body
from pointsman.dialects.sse import event_bytes
from pointsman.dialects.wirejson import encode

_EMPTY = {"text": {"type": "text", "text": ""}, "thinking": {"type": "thinking", "thinking": "", "signature": ""}}


class Encoder:
    """Encode events as a Messages stream. The stop reason waits for the end, since usage comes with it.

    Text and thinking stand in one open block each time they change; tool blocks stay open until the finish, so that
    interleaved calls of other wires keep their order.
    """

    def __init__(self) -> None:
        self._start = Start("", "")
        self._begun = False
        self._done = False
        self._open = ""  # text | thinking: the block `_index` is open
        self._index = 0  # of that block
        self._blocks = 0
        self._tools: dict[int, int] = {}  # our call number -> block index
        self._finish: Finish | None = None
        self._usage = Usage()

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return whole SSE events; nothing after the terminal one."""
        out: list[bytes] = []
        for event in events:
            if not self._done:
                self._encode(event, out)
        return b"".join(out)

    def resumed(self, deployment: str) -> None:
        """Say nothing: this wire has no place for it."""

    def _encode(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, Start):
            self._start = event
            self._begin(out)
        elif isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, End):
            self._end(out)
        elif isinstance(event, StreamError):
            self._fail(event, out)
        elif event.index != 0:
            self._fail(StreamError(Kind.UNSUPPORTED, "this wire carries one choice only"), out)
        elif isinstance(event, Finish):
            self._finish = self._finish or event
        else:
            self._begin(out)
            self._content(event, out)

    def _begin(self, out: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        message: dict[str, Any] = {
            "id": self._start.id,
            "type": "message",
            "role": "assistant",
            "model": self._start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_body(self._usage),
        }
        self._say({"type": "message_start", "message": message}, out)

    def _content(
        self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallStart | ToolCallDelta, out: list[bytes]
    ) -> None:
        if isinstance(event, TextDelta | RefusalDelta):
            if event.text:
                self._turn_to("text", out)
                self._delta(self._index, {"type": "text_delta", "text": event.text}, out)
        elif isinstance(event, ToolCallStart):
            self._close_block(out)
            block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
            self._tools[event.call] = self._new_block(block, out)
        elif isinstance(event, ToolCallDelta):
            if event.call in self._tools:
                delta = {"type": "input_json_delta", "partial_json": event.arguments}
                self._delta(self._tools[event.call], delta, out)
        elif event.redacted is not None:
            if event.signed_by == NAME:
                self._close_block(out)
                index = self._new_block({"type": "redacted_thinking", "data": event.redacted}, out)
                self._say({"type": "content_block_stop", "index": index}, out)
        else:
            self._think(event, out)

    def _think(self, event: ReasoningDelta, out: list[bytes]) -> None:
        ours = event.signature is not None and event.signed_by == NAME
        if event.text or ours:
            self._turn_to("thinking", out)
        if event.text:
            self._delta(self._index, {"type": "thinking_delta", "thinking": event.text}, out)
        if ours:  # a signature ends its block
            self._delta(self._index, {"type": "signature_delta", "signature": event.signature}, out)
            self._close_block(out)

    def _turn_to(self, kind: str, out: list[bytes]) -> None:
        if self._open != kind:
            self._close_block(out)
            self._index = self._new_block(_EMPTY[kind], out)
            self._open = kind

    def _new_block(self, block: dict[str, Any], out: list[bytes]) -> int:
        index = self._blocks
        self._blocks += 1
        self._say({"type": "content_block_start", "index": index, "content_block": block}, out)
        return index

    def _close_block(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            self._say({"type": "content_block_stop", "index": self._index}, out)

    def _delta(self, index: int, delta: dict[str, Any], out: list[bytes]) -> None:
        self._say({"type": "content_block_delta", "index": index, "delta": delta}, out)

    def _end(self, out: list[bytes]) -> None:
        finish = self._finish
        reason = None if finish is None else stop_reason_of(finish.reason, finish.native)
        if reason is None:
            self._fail(StreamError(Kind.TRUNCATED, "the reply ended without a reason this wire can say"), out)
            return
        self._begin(out)
        self._close_block(out)
        for index in self._tools.values():
            self._say({"type": "content_block_stop", "index": index}, out)
        delta = {"stop_reason": reason, "stop_sequence": None}
        self._say({"type": "message_delta", "delta": delta, "usage": usage_body(self._usage)}, out)
        self._say({"type": "message_stop"}, out)
        self._done = True

    def _fail(self, error: StreamError, out: list[bytes]) -> None:
        kind = Kind(error.kind) if error.kind in Kind.__members__.values() else Kind.BROKEN
        said = {"type": ERROR_TYPES.get(kind, "api_error"), "message": error.message, "origin": "provider"}
        self._say({"type": "error", "error": said}, out)
        self._done = True

    def _say(self, event: dict[str, Any], out: list[bytes]) -> None:
        out.append(event_bytes(encode(event), event["type"]))

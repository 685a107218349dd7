"""The streamGenerateContent stream (alt=sse), both ways: each event is a partial reply, and the end is the end of bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from pointsman.core.chat import (
    Audio,
    End,
    Event,
    File,
    Finish,
    Image,
    Part,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Start,
    StreamError,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage
from pointsman.dialects.base import WireError
from pointsman.dialects.errors import ErrorFacts, read_error, stream_error
from pointsman.dialects.gemini.facts import (
    ERRORS,
    NAME,
    STATUSES,
    finish_of,
    is_finish,
    logprobs_body,
    logprobs_of,
    usage_body,
    usage_of,
    word_of,
)
from pointsman.dialects.gemini.parts import Calls, decode_part, encode_call
from pointsman.dialects.gemini.reply import call_prefix
from pointsman.dialects.gemini.shapes import REPLY, Candidate
from pointsman.dialects.sse import event_bytes
from pointsman.dialects.streaming import SseDecoder
from pointsman.dialects.wirejson import decode, encode, present


class _State:
    """Hold what a candidate has said: its calls, and the finish word of its last event."""

    __slots__ = ("call_count", "calls", "word")

    def __init__(self, prefix: str) -> None:
        self.calls = Calls(prefix)
        self.call_count = 0
        self.word: str | None = None


class Decoder(SseDecoder):
    """Decode partial replies. A finish reason counts if it stands on a candidate's last event, so it is told at the end."""

    def __init__(self) -> None:
        super().__init__(ERRORS)
        self._id: str | None = None
        self._states: dict[int, _State] = {}

    def _event(self, name: str, data: bytes, out: list[Event]) -> None:
        event = decode(REPLY, data, "stream event")
        if present(event.error):
            self._stop(out, stream_error(ERRORS, read_error(data) or ErrorFacts(())))
            return
        if not event.candidates and event.prompt_feedback is not None and event.prompt_feedback.block_reason:
            blocked = f"the prompt was blocked: {event.prompt_feedback.block_reason}"
            self._stop(out, StreamError(Kind.CONTENT_FILTER, blocked[:500], event.prompt_feedback.block_reason[:100]))
            return
        if self._id is None:
            self._id = event.response_id or ""
            out.append(Start(self._id, event.model_version or ""))
        for candidate in event.candidates or ():
            self._candidate(candidate, out)
        if (usage := usage_of(event.usage_metadata)) is not None:
            out.append(UsageReport(usage))

    def _candidate(self, c: Candidate, out: list[Event]) -> None:
        state = self._states.get(c.index)
        if state is None:
            state = self._states[c.index] = _State(call_prefix(self._id or "", c.index))
        logprobs = logprobs_of(c.logprobs_result)
        for raw in (c.content.parts if c.content else None) or ():
            for part in decode_part(raw, state.calls, "stream event"):
                self._part(part, c.index, logprobs, out)
                logprobs = None if isinstance(part, Text) else logprobs
        state.word = c.finish_reason if is_finish(c.finish_reason) else None

    def _part(self, part: Part, index: int, logprobs: Raw | None, out: list[Event]) -> None:
        if isinstance(part, Text):
            out.append(TextDelta(part.text, index, logprobs))
        elif isinstance(part, Reasoning):
            out.append(ReasoningDelta(part.text, index, part.signature, None, part.signed_by))
        elif isinstance(part, ToolCall):
            state = self._states[index]
            number = state.call_count
            state.call_count += 1
            out.append(ToolCallStart(number, part.id, part.name, index, part.signature))
            out.append(ToolCallDelta(number, part.arguments, index))
        elif isinstance(part, Image | File | Audio):
            raise WireError("stream event: media in a stream cannot be said in another wire")

    def _end(self, out: list[Event]) -> None:
        if self._id is None:
            return
        if not self._states:
            self._stop(out, StreamError(Kind.EMPTY, "the stream ended without a candidate"))
        elif all(state.word is not None for state in self._states.values()):
            for index, state in sorted(self._states.items()):
                word = state.word or ""
                out.append(Finish(finish_of(word, state.call_count > 0), index, word))
            self._stop(out, End())


class Encoder:
    """Encode events as partial replies. Calls wait for their whole arguments; finish reasons for the end, with usage."""

    def __init__(self) -> None:
        self._start = Start("", "")
        self._usage: Usage | None = None
        self._finishes: dict[int, Finish] = {}
        self._calls: dict[tuple[int, int], tuple[ToolCallStart, list[str]]] = {}
        self._done = False

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
        if isinstance(event, TextDelta):
            said = logprobs_body(event.logprobs) if event.logprobs is not None else None
            if event.text or said:
                self._say(event.index, {"text": event.text}, out, {"logprobsResult": said} if said else {})
        elif isinstance(event, RefusalDelta):
            self._say(event.index, {"text": event.text}, out)
        elif isinstance(event, ReasoningDelta):
            self._think(event, out)
        elif isinstance(event, ToolCallStart):
            self._calls[event.index, event.call] = (event, [])
        elif isinstance(event, ToolCallDelta):
            if held := self._calls.get((event.index, event.call)):
                held[1].append(event.arguments)
        elif isinstance(event, Start):
            self._start = event
        elif isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, Finish):
            self._finishes.setdefault(event.index, event)
            self._flush_calls(event, out)
        elif isinstance(event, StreamError):
            self._fail(event, out)
        else:
            self._end(out)

    def _flush_calls(self, finish: Finish, out: list[bytes]) -> None:
        """Say the calls of a finished choice; one whose arguments are no JSON can only be left out where a limit cut it."""
        for key in [key for key in self._calls if key[0] == finish.index]:
            start, pieces = self._calls.pop(key)
            call = ToolCall(start.id, start.name, "".join(pieces), start.signature)
            try:
                body = encode_call(call)
            except WireError as error:
                if finish.reason in ("length", "content_filter", "error"):
                    continue
                self._fail(StreamError(Kind.BROKEN, str(error)), out)
                return
            self._say(finish.index, body, out)

    def _think(self, event: ReasoningDelta, out: list[bytes]) -> None:
        signature = event.signature if event.signed_by == NAME else None
        part: dict[str, Any] = {"text": event.text}
        if event.text:
            part["thought"] = True
        if signature:
            part["thoughtSignature"] = signature
        if event.text or signature:
            self._say(event.index, part, out)

    def _say(self, index: int, part: dict[str, Any], out: list[bytes], members: dict[str, Any] | None = None) -> None:
        content = {"role": "model", "parts": [part]}
        self._reply([{"content": content, "index": index} | (members or {})], out)

    def _reply(self, candidates: list[dict[str, Any]], out: list[bytes]) -> None:
        body: dict[str, Any] = {"candidates": candidates}
        if self._usage is not None:
            body["usageMetadata"] = usage_body(self._usage)
        body |= {"modelVersion": self._start.model, "responseId": self._start.id}
        out.append(event_bytes(encode(body)))

    def _end(self, out: list[bytes]) -> None:
        if not self._finishes:
            self._fail(StreamError(Kind.TRUNCATED, "the reply ended without a finish reason"), out)
            return
        candidates = [
            {"content": {"role": "model", "parts": []}, "index": index, "finishReason": word_of(f.reason, f.native)}
            for index, f in sorted(self._finishes.items())
        ]
        self._reply(candidates, out)
        self._done = True

    def _fail(self, error: StreamError, out: list[bytes]) -> None:
        kind = Kind(error.kind) if error.kind in Kind.__members__.values() else Kind.BROKEN
        code, status = STATUSES.get(kind, (500, "INTERNAL"))
        said = {"code": code, "message": error.message, "status": status, "origin": "provider"}
        out.append(event_bytes(encode({"error": said})))
        self._done = True

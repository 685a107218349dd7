"""Forms: a whole answer of one wire as a reply or as a stream, one made of the other by way of the nouns.

What the nouns do not hold is not carried over: the caller asks only where nothing of that kind was asked for.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from pointsman.core.chat import (
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    Message,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Reply,
    Start,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.usage import Usage
from pointsman.dialects.base import Dialect, WireError

Form = Literal["whole", "stream", "stream_usage"]  # a JSON body, events, events with a usage chunk


def remade(dialect: Dialect, body: bytes, form: str, wanted: Form, usage: Usage) -> bytes | None:
    """Return a whole answer in another form, with `usage`; None when that cannot be done without loss."""
    try:
        if form == "whole":
            events = _events_of(dialect.decode_reply(body))
        else:
            decoder = dialect.stream_decoder()
            events = [*decoder.feed(body), *decoder.close()]
        if not events or not isinstance(events[-1], End):
            return None
        if wanted != "whole":
            counted = [event for event in events[:-1] if not isinstance(event, UsageReport)]
            encoder = dialect.stream_encoder(include_usage=wanted == "stream_usage")
            return encoder.encode([*counted, UsageReport(usage), End()])
        reply = _reply_of(events, usage)
        return None if reply is None else dialect.encode_reply(reply)
    except WireError:
        return None


def _events_of(reply: Reply) -> list[Event]:
    """Return the events of a reply; [] when it holds what they do not."""
    events: list[Event] = [Start(reply.id, reply.model, reply.created_s)]
    for choice in reply.choices:
        at, calls = choice.index, 0
        if choice.finish is None or choice.logprobs is not None:
            return []
        for part in choice.message.parts:
            if isinstance(part, Text):
                events.append(TextDelta(part.text, at))
            elif isinstance(part, Reasoning):
                events.append(ReasoningDelta(part.text, at, part.signature, part.redacted, part.signed_by))
            elif isinstance(part, Refusal):
                events.append(RefusalDelta(part.text, at))
            elif isinstance(part, ToolCall):
                events.append(ToolCallStart(calls, part.id, part.name, at, part.signature))
                events.append(ToolCallDelta(calls, part.arguments, at))
                calls += 1
            else:
                return []
        events.append(Finish(choice.finish, at, choice.native_finish))
    return [*events, End()]


class _Told:
    """Collect what a stream says of one choice."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thought: list[str] = []
        self.refused: list[str] = []
        self.calls: dict[int, tuple[ToolCallStart, list[str]]] = {}
        self.finish: FinishReason | None = None
        self.native: str | None = None

    def choice(self, index: int) -> Choice:
        parts: list[Reasoning | Text | Refusal | ToolCall] = []
        if self.thought:
            parts.append(Reasoning("".join(self.thought)))
        if self.text:
            parts.append(Text("".join(self.text)))
        if self.refused:
            parts.append(Refusal("".join(self.refused)))
        parts += [ToolCall(s.id, s.name, "".join(pieces), s.signature) for s, pieces in self.calls.values()]
        return Choice(index, Message("assistant", tuple(parts)), self.finish, native_finish=self.native)


def _reply_of(events: list[Event], usage: Usage) -> Reply | None:
    """Return the reply that a stream's events say; None when it holds what that does not."""
    start = Start("", "")
    told: dict[int, _Told] = defaultdict(_Told)
    for event in events:
        if isinstance(event, Start):
            start = event
        elif isinstance(event, TextDelta):
            if event.logprobs is not None:
                return None
            told[event.index].text.append(event.text)
        elif isinstance(event, ReasoningDelta):
            if event.signature or event.redacted:
                return None  # proofs belong to pieces, and pieces are joined here
            told[event.index].thought.append(event.text)
        elif isinstance(event, RefusalDelta):
            told[event.index].refused.append(event.text)
        elif isinstance(event, ToolCallStart):
            told[event.index].calls[event.call] = (event, [])
        elif isinstance(event, ToolCallDelta):
            told[event.index].calls[event.call][1].append(event.arguments)
        elif isinstance(event, Finish):
            told[event.index].finish, told[event.index].native = event.reason, event.native
    if not told or any(one.finish is None for one in told.values()):
        return None
    choices = tuple(told[index].choice(index) for index in sorted(told))
    return Reply(id=start.id, model=start.model, choices=choices, usage=usage, created_s=start.created_s)

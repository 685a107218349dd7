"""One wire in, another out: the same interface as the relay, by decoding to nouns and encoding again."""

from __future__ import annotations

from pointsman.core.chat import (
    CONTENT_EVENTS,
    End,
    Event,
    Finish,
    Start,
    StreamError,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.usage import NO_USAGE, clamp
from pointsman.dialects.base import Dialect


class TranslateStream:
    """Translate one stream. `feed` returns bytes for the client; see RelayStream for the attributes."""

    __slots__ = (
        "_decoder", "_encoder", "content", "done", "events", "failure", "finishes", "served_model", "text_bytes", "usage",
    )  # fmt: skip

    def __init__(self, provider: Dialect, caller: Dialect, *, show_usage: bool) -> None:
        self._decoder = provider.stream_decoder()
        self._encoder = caller.stream_encoder(include_usage=show_usage)
        self.text_bytes = 0
        self.content = False
        self.done = False
        self.failure: Outcome | None = None
        self.usage = NO_USAGE
        self.served_model = ""
        self.events = 0
        self.finishes: set[str] = set()

    def feed(self, data: bytes) -> bytes:
        return self._pass(self._decoder.feed(data))

    def close(self) -> tuple[bytes, Outcome]:
        """Return the last bytes to forward and the Outcome that the end of the provider's bytes means: Ok only behind the
        wire's terminal marker."""
        out = b""
        if self.failure is None and not self.done:
            out = self._pass(self._decoder.close())
        if self.failure is not None:
            return out, self.failure
        if self.done:
            return out, Outcome(Kind.OK, 200)
        kind = Kind.TRUNCATED if self.events else Kind.EMPTY
        return out, Outcome(kind, 200, "the stream ended before its terminal marker")

    def _pass(self, events: list[Event]) -> bytes:
        kept: list[Event] = []
        for event in events:
            if self.done or self.failure is not None:
                break
            self.events += 1
            if isinstance(event, StreamError):
                self.failure = Outcome(
                    Kind(event.kind), 200, event.message[:500], event.retry_after_ms, code=event.code or ""
                )
                break
            self._note(event)
            kept.append(event)
        return self._encoded(kept) if kept else b""

    def _encoded(self, events: list[Event]) -> bytes:
        return self._encoder.encode(events)

    def _note(self, event: Event) -> None:
        if isinstance(event, CONTENT_EVENTS):
            self.content = True
            if isinstance(event, TextDelta):
                self.text_bytes += len(event.text.encode())
            elif isinstance(event, ToolCallDelta):
                self.text_bytes += len(event.arguments.encode())
        elif isinstance(event, UsageReport):
            self.usage = clamp(event.usage)
        elif isinstance(event, Start):
            self.served_model = event.model
        elif isinstance(event, Finish):
            self.finishes.add(event.reason)
        elif isinstance(event, End):
            self.done = True

"""Continued: a stream that another provider may take up where it breaks off, in one answer for the client."""

from __future__ import annotations

from pointsman.core.chat import End, Event, Finish, Start, TextDelta, UsageReport
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.dialects.base import Dialect
from pointsman.dialects.translate import TranslateStream

MOST_TEXT = 256 * 1024  # characters; a longer answer is not taken up again


class Continued(TranslateStream):
    """Translate one stream; `before` is the one that broke off, whose text this one goes on from.

    `text` is all that the client has been told, over all of them. `resumable` says whether text alone was told, so that
    another model can go on: not inside a tool call, and not behind the end. `used` is what the broken ones have used.
    """

    __slots__ = ("_at_seam", "_is_first", "_said", "_told", "resumable", "used")

    def __init__(self, provider: Dialect, caller: Dialect, before: Continued | None, *, show_usage: bool) -> None:
        super().__init__(provider, caller, show_usage=show_usage)
        self.resumable = True
        self.used = NO_USAGE
        self._is_first = before is None
        self._said: list[str] = []
        self._told = 0
        self._at_seam = False
        if before is not None:
            self._encoder = before._encoder  # the client reads one stream: one id, one model, one end
            self.used = before.used
            self._said = [before.text]
            self._told = len(before.text)
            self._at_seam = before.text != before.text.rstrip()

    @property
    def text(self) -> str:
        return "".join(self._said)

    def resumed_by(self, deployment: str) -> None:
        """Mark what the client is told from here on as said by another deployment."""
        self._encoder.resumed(deployment)

    def _encoded(self, events: list[Event]) -> bytes:
        if self._is_first:
            return super()._encoded(events)
        return super()._encoded([self._joined(event) for event in events if not isinstance(event, Start)])

    def _joined(self, event: Event) -> Event:
        if isinstance(event, UsageReport):
            return UsageReport(summed(self.used, event.usage))
        if isinstance(event, TextDelta) and self._at_seam:
            # What was told ended in white space, which the other model was not shown: it may say it again.
            text = event.text.lstrip()
            self._at_seam = not text
            return TextDelta(text, event.index, event.logprobs)
        return event

    def _note(self, event: Event) -> None:
        super()._note(event)
        if isinstance(event, TextDelta):
            self._told += len(event.text)
            self._said.append(event.text)
            self.resumable = self.resumable and self._told <= MOST_TEXT
        elif not isinstance(event, Start | UsageReport | End):
            self.resumable = False  # thinking, a tool call, a refusal, or the end of the answer
        if isinstance(event, Finish | End):
            self.resumable = False


def summed(one: Usage, other: Usage) -> Usage:
    """Return the sum of what two attempts have used: measured only if both are."""
    if one.source == "unknown":
        return other
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cache_read_tokens + other.cache_read_tokens,
        one.cache_write_5m_tokens + other.cache_write_5m_tokens,
        one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.input_audio_tokens + other.input_audio_tokens,
        one.output_audio_tokens + other.output_audio_tokens,
        "measured" if one.source == other.source == "measured" else "estimated",
    )

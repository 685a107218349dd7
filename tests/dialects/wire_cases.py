"""Golden fixtures, and what two event sequences must share to say the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

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
from pointsman.dialects.base import Dialect
from pointsman.dialects.registry import DIALECTS

GOLDEN = Path(__file__).parent / "golden"


def cases(*kinds: str) -> list[Any]:
    """Return (dialect, file) parameters for golden files whose name begins with one of `kinds`."""
    return [
        pytest.param(DIALECTS[name], path, id=f"{name}/{path.name}")
        for name in DIALECTS
        for path in sorted((GOLDEN / name).iterdir())
        if path.name.partition("-")[0] in kinds
    ]


def decoded(dialect: Dialect, pieces: Iterable[bytes]) -> list[Event]:
    """Return all events of a stream that comes in these pieces."""
    decoder = dialect.stream_decoder()
    events: list[Event] = []
    for piece in pieces:
        events += decoder.feed(piece)
    return events + decoder.close()


def summary(events: list[Event]) -> dict[str, Any]:
    """Return what a stream said, with deltas merged: what re-encoding in another rhythm must not change."""
    said: dict[str, Any] = {"content": {}, "calls": {}, "finish": {}, "usage": None, "end": None, "start": None}
    for event in events:
        if isinstance(event, Start):
            said["start"] = event
        elif isinstance(event, UsageReport):
            said["usage"] = event.usage
        elif isinstance(event, End | StreamError):
            assert said["end"] is None, "two terminal events"
            said["end"] = event
        elif isinstance(event, Finish):
            assert event.index not in said["finish"], "a choice finished twice"
            said["finish"][event.index] = (event.reason, event.native)
        else:
            _content(event, said)
    return said


def _content(event: Event, said: dict[str, Any]) -> None:
    content = said["content"].setdefault(getattr(event, "index", 0), [])
    calls = said["calls"].setdefault(getattr(event, "index", 0), {})
    if isinstance(event, ToolCallStart):
        assert event.call not in calls, "a call opened twice"
        calls[event.call] = [event.id, event.name, event.signature, ""]
    elif isinstance(event, ToolCallDelta):
        calls[event.call][3] += event.arguments
    elif isinstance(event, TextDelta | RefusalDelta):
        if content and content[-1][0] == event.__struct_config__.tag:
            content[-1][1] += event.text
        else:
            content.append([event.__struct_config__.tag, event.text])
    elif isinstance(event, ReasoningDelta):
        last = content[-1] if content else ["", "", None, None]
        if last[0] == "reasoning" and last[2] is None and last[3] is None and event.redacted is None:
            last[1] += event.text
            last[2] = event.signature
        else:
            content.append(["reasoning", event.text, event.signature, event.redacted])

"""An event that fits the stream's template leaves at once: what leaves and what is noted is as if each event was decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.dialects import relay_stream
from pointsman.dialects.relay_stream import RelayStream

FINISH = b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def event(text: str, padding: str | None, **more: Any) -> bytes:
    body: dict[str, Any] = {
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}],
    }
    if padding is not None:
        body["obfuscation"] = padding
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def relayed(parts: list[bytes]) -> tuple[object, ...]:
    """Return what left, and what the stream says at its end."""
    relay = RelayStream(show_usage=True)
    out = b""
    for part in parts:
        out += relay.feed(part)
        if relay.failure is not None:
            break
    rest, end = relay.close()
    return out + rest, end, relay.content, relay.done, relay.failure, relay.usage, relay.served_model


TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "word ", '"', "\\", "\n", '","obfuscation":"', "\r", "é", "[DONE]", '"error"']),
)
EVENTS = st.one_of(
    st.builds(event, TEXTS, st.one_of(st.none(), st.sampled_from(["", "x", "xyz"]))),
    st.sampled_from([
        FINISH, DONE, event("a", None) + event("b", None), event("a", "x") + FINISH, event("a", "x") + DONE,
        event("a", None, tool_calls=[{"index": 0}]), event("a", None)[:-3] + b',"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"error":{"message":"late"}}\n\n', b": ping\n\n", event("a", "x").replace(b"\n\n", b"\r\n\r\n"), b"\0\0",
    ]),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.booleans(), st.lists(EVENTS, max_size=10), st.booleans())
@example(True, [event("a", "x"), event("b", "\n\ndata: x")], False)
@example(False, [event("a", None), event("b", None)[:-2], b"\n\n"], False)
@example(False, [b"\0\0"], False)
def test_i19_the_template_changes_nothing(padded: bool, events: list[bytes], glued: bool) -> None:
    parts = [event("first", "xx" if padded else None), *events, FINISH, DONE]
    if glued:
        parts = [b"".join(parts[at : at + 2]) for at in range(0, len(parts), 2)]
    got = relayed(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RelayStream, "_learn", lambda *_: None)
        patch.setattr(relay_stream, "_is_plain", lambda _: False)
        assert got == relayed(parts)


def test_events_of_the_template_leave_as_the_bytes_that_came() -> None:
    for padding in (None, "xyz"):
        relay = RelayStream(show_usage=True)
        relay.feed(event("first", padding))
        events = relay.events
        for text in ("a", "longer than that", ""):
            data = event(text, padding)
            assert relay.feed(data) is data
        assert relay.events == events  # none of them was decoded

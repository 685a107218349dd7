"""What passes through a tap is what the stream itself would have passed on: nothing less, nothing more."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.dialects.relay_stream import RelayStream, Watched
from pointsman.gateway.chunks import MAX_PLAIN_CHUNK, SIZE_LINES

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", '"', "\n", "\\", '","x":"', "é", "\r", '"},"finish_reason":"stop"}]}', "a" * 300]),
)


def event(text: str, **more: Any) -> bytes:
    delta = {"delta": {"content": text}, "index": 0, "finish_reason": None} | more
    body = {"id": "chatcmpl-1", "model": "m", "choices": [delta]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def padded(text: str) -> bytes:
    body = {
        "id": "c",
        "choices": [{"delta": {"content": text}, "finish_reason": None}],
        "obfuscation": "x" * (len(text) % 7),
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ODD = st.sampled_from([
    b": ping\n\n", b"data: [DONE]\n\n", b"data: {}\n\n", b"data: {", b'"x"}\n\n', b"\n\n", b"data: nonsense\n\n",
    event("", finish_reason="stop"), event("x", finish_reason="stop"), b"data: " + b"y" * 5000 + b"\n\n",
    b'data: {"error":{"message":"m"}}\n\n', event("a")[:-1], event("a") + event("b"), event("a").replace(b"\n\n", b"\r\n\r\n"),
])  # fmt: skip
PAYLOADS = st.one_of(TEXTS.map(event), TEXTS.map(padded), ODD)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


@given(st.sampled_from([event("first"), padded("first")]), st.lists(PAYLOADS, max_size=14))
@example(event("first"), [event("a"), b"data: [DONE]\n\n", event("late")])
@example(event("first"), [event("a"), b"data: {", event("b"), b"}\n\n"])
@example(padded("first"), [padded("abc"), padded('q"'), padded("")])
def test_i19_a_tap_passes_only_what_the_stream_passes(first: bytes, payloads: list[bytes]) -> None:
    plain, tapped, seen = RelayStream(show_usage=False), RelayStream(show_usage=False), Watched()
    sent: list[bytes] = []
    tap = None
    for payload in [first, *payloads]:
        expected = plain.feed(payload)
        passed = tap is not None and tap.passes(chunk(payload))
        if passed:
            assert sent.pop() == chunk(payload) and expected == payload
        else:
            assert tapped.feed(payload) == expected
        tap = tap or tapped.tap(SIZE_LINES, sent.append, seen)
        assert (tapped.text_bytes, tapped.done, tapped.content) == (plain.text_bytes, plain.done, plain.content)
        assert (tapped.failure is None) == (plain.failure is None)
        if plain.failure is not None:
            return


def test_what_fits_passes_and_is_noticed() -> None:
    stream, sent, seen = RelayStream(show_usage=False), list[bytes](), Watched()
    assert stream.tap(SIZE_LINES, sent.append, seen) is None  # there is no template yet
    stream.feed(event("first"))
    tap = stream.tap(SIZE_LINES, sent.append, seen)
    assert tap is not None
    for text in ("a", "another word", "a"):
        assert tap.passes(chunk(event(text)))
    assert sent == [chunk(event(text)) for text in ("a", "another word", "a")] and seen.progress
    assert stream.text_bytes == len("first" + "a" + "another word" + "a")
    for other in (event("a"), chunk(event("a")) * 2, chunk(event("a"))[:-1], chunk(b"x" * MAX_PLAIN_CHUNK)):
        assert not tap.passes(other)


def test_a_first_event_that_also_tells_the_role_is_no_template_but_the_second_is() -> None:
    stream, sent, seen = RelayStream(show_usage=False), list[bytes](), Watched()
    first = event("x", delta={"role": "assistant", "content": "first"})
    assert stream.feed(first) == first and stream.content
    assert stream.tap(SIZE_LINES, sent.append, seen) is None
    stream.feed(event("second"))
    tap = stream.tap(SIZE_LINES, sent.append, seen)
    assert tap is not None and tap.passes(chunk(event("third"))) and sent == [chunk(event("third"))]

"""The event stream parser against the WHATWG rules, its bound, and any chunking."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.dialects.base import WireError
from pointsman.dialects.sse import SseParser, event_bytes


def parsed(*chunks: bytes, bound: int = 1000) -> list[tuple[str, bytes]]:
    parser = SseParser(bound)
    events: list[tuple[str, bytes]] = []
    for chunk in chunks:
        events += parser.feed(chunk)
    return events + parser.close()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [("message", b"a"), ("message", b"b")]),
        (b"data:a\r\n\r\n", [("message", b"a")]),
        (b"data: a\r\rdata: b\r\r", [("message", b"a"), ("message", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
        (b"data: a\ndata:b\ndata\n\n", [("message", b"a\nb\n")]),
        (b"data:  a\n\n", [("message", b" a")]),
        (b": comment\n\n:\ndata: a\n\n", [("message", b"a")]),
        (b"event: ping\nid: 7\nretry: 10\nfuture: x\ndata: {}\n\n", [("ping", b"{}")]),
        (b"event: ping\n\ndata: a\n\n", [("message", b"a")]),
        (b"event:x\ndata\n\n", [("x", b"")]),
        (b"database: a\ndata : b\n\n", []),
        (b"data: a", [("message", b"a")]),
        (b"data: a\n", [("message", b"a")]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_f49_events_are_read_as_the_specification_says(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert parsed(stream) == expected
    assert parsed(*[stream[at : at + 1] for at in range(len(stream))]) == expected


def test_f48_a_character_cut_by_a_chunk_border_stays_whole() -> None:
    text = "東京 🚂 ü".encode()
    for cut in range(len(text)):
        assert parsed(b"data: " + text[:cut], text[cut:] + b"\n\n") == [("message", text)]


LINES = st.lists(
    st.sampled_from(
        (b"data: x", b"data:y", b"event: e", b": c", b"id: 1", b"", b"data", b"\xf0\x9f", b"data: " + b"z" * 30)
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, ends=st.sampled_from((b"\n", b"\r", b"\r\n")), cuts=st.lists(st.integers(0, 200), max_size=9))
def test_i19_chunking_changes_nothing(lines: list[bytes], ends: bytes, cuts: list[int]) -> None:
    stream = b"".join(line + ends for line in lines)
    marks = sorted(min(cut, len(stream)) for cut in cuts)
    pieces = [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True)]
    assert parsed(*pieces) == parsed(stream)


def feed_all(parser: SseParser, stream: bytes, size: int) -> list[tuple[str, bytes]]:
    """Return the events before the parser failed, and check that it goes on failing."""
    events: list[tuple[str, bytes]] = []
    with contextlib.suppress(WireError):
        for at in range(0, len(stream), size):
            events += parser.feed(stream[at : at + size])
    with pytest.raises(WireError, match="larger than 100"):
        parser.close()
    return events


def test_f57_an_oversized_event_fails_after_the_events_before_it() -> None:
    small, large = b"data: ok\n\n", b"data: " + b"x" * 200 + b"\n\n"
    for size in (1, 7, 1000):
        assert feed_all(SseParser(100), small + large + small, size) == [("message", b"ok")]


def test_f57_an_endless_line_without_a_break_fails_at_the_bound() -> None:
    assert feed_all(SseParser(100), b"x" * 2000, 20) == []


def test_many_small_events_do_not_add_up_to_the_bound() -> None:
    assert len(parsed(b"data: 0123456789\n\n" * 500, bound=100)) == 500


def test_written_events_are_read_back() -> None:
    assert parsed(event_bytes(b"{}") + event_bytes(b"1", "ping")) == [("message", b"{}"), ("ping", b"1")]

"""A whole chunk need not go through the parser: what a connection makes of any bytes is what it makes of them if it does."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.core.outcome import Outcome
from pointsman.core.policy import Limits
from pointsman.gateway import upstream
from pointsman.gateway.chunks import MAX_PLAIN_CHUNK, NEVER
from pointsman.gateway.upstream import Connection, Origin, RawHeaders

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Transport(asyncio.Transport):
    """Send nothing; know whether the connection still stands."""

    ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody reads what is asked."""

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)


class Listener:
    """Note what a connection tells its Sink."""

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.heard: list[object] = []
        self.chunks: list[bytes] = []

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self.heard.append((status, dict(headers), body))

    def on_stream(self, data: bytes, chunk: bytes) -> None:
        self.heard.append(data)
        self.chunks.append(chunk)
        assert chunk in (b"", b"%x\r\n%b\r\n" % (len(data), data))

    def on_stream_end(self) -> None:
        self.heard.append("end")

    def on_lost(self, outcome: Outcome) -> None:
        self.heard.append(outcome)


def carried(calls: list[tuple[bool, list[bytes]]]) -> tuple[list[list[object]], str, int, int]:
    """Return what was heard of each call, how the connection ended, how often it is idle in its pool, and how many chunks
    came as they are."""
    origin = Origin(("nowhere", 1), None, Limits(), lambda: 0.0)
    origin.open = 1
    connection, transport = Connection(origin), Transport()
    connection.connection_made(transport)
    listeners = []
    for streams, parts in calls:
        listener = Listener(streams=streams)
        listeners.append(listener)
        if transport.ended or connection.sink is not None:
            break
        taken = origin.take(0.0)
        assert taken in (None, connection)
        connection.call(listener, b"")
        for part in parts:
            if not transport.ended:
                connection.data_received(part)
    idle = len(origin._idle)
    connection.connection_lost(None)
    whole = sum(chunk != b"" for listener in listeners for chunk in listener.chunks)
    return [listener.heard for listener in listeners], transport.ended, idle, whole


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PAYLOADS = st.one_of(
    st.sampled_from(
        [b"data: {}\n\n", b"\r\n", b"\n", b"5\r\nhello\r\n", LAST, bytes(3), b"0123456789abcdef", b"x" * 15, b"y" * 300]
    ),
    st.binary(min_size=1, max_size=20),
)  # fmt: skip
FRAMINGS = st.sampled_from([chunk] * 12 + [
    lambda data: b"0%x\r\n%b\r\n" % (len(data), data),
    lambda data: b"%X\r\n%b\r\n" % (len(data), data),
    lambda data: b"%x;a=b\r\n%b\r\n" % (len(data), data),
    lambda data: b"%x \r\n%b\r\n" % (len(data), data),
    lambda data: b"%x\n%b\r\n" % (len(data), data),
    lambda data: b"%x\r\n%b\n" % (len(data), data),
    lambda data: b"%x\r\n%b\r\n" % (len(data) + 1, data),
    lambda data: b"\0%b\r\n" % data,
    lambda data: data,
])  # fmt: skip


@st.composite
def replies(draw: st.DrawFn) -> tuple[bool, list[bytes]]:
    """Return one reply, cut as it was written, glued in places, or cut anywhere; and whether a stream was asked for."""
    head = draw(st.sampled_from([CHUNKED] * 8 + [UNTIL_CLOSE, WHOLE, SIZED]))
    payloads = draw(st.lists(PAYLOADS, min_size=1, max_size=8))
    if head == SIZED:
        writes = [SIZED % sum(map(len, map(chunk, payloads))), *map(chunk, payloads)]
    else:
        writes = [head, *[draw(FRAMINGS)(payload) for payload in payloads]]
        writes.append(draw(st.sampled_from([LAST] * 6 + [b"0\r\nx-trailer: 1\r\n\r\n", b"", LAST + chunk(b"late")])))
    if draw(st.booleans()):
        writes[0:2] = [writes[0] + writes[1]]
    if draw(st.integers(0, 2)) == 0:
        data = b"".join(writes)
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
        writes = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return draw(st.integers(0, 9)) > 0, [part for part in writes if part]


@settings(max_examples=1500, deadline=None)
@given(st.lists(replies(), min_size=1, max_size=3))
@example([(True, [CHUNKED, chunk(b"a"), b"1", b"\r\n", b"b\r\n", chunk(b"c"), LAST])])
@example([(True, [CHUNKED, chunk(b"a\n"), b"2", chunk(b"b\n"), LAST])])
@example([(True, [CHUNKED + chunk(b"a\n"), LAST]), (True, [SIZED % 7, chunk(b"a\n"), b"."])])
@example([(True, [CHUNKED + chunk(b"a"), chunk(b"b"), b"\0\0\r\n", LAST])])
def test_i19_a_chunk_that_passes_the_parser_by_changes_nothing(calls: list[tuple[bool, list[bytes]]]) -> None:
    heard, ended, idle, _ = carried(calls)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "SIZE_LINES", [NEVER] * MAX_PLAIN_CHUNK)
        expected, expected_end, expected_idle, none = carried(calls)
    assert none == 0
    assert (heard, ended, idle) == (expected, expected_end, expected_idle)


def test_every_chunk_that_comes_by_itself_passes_the_parser_by() -> None:
    payloads = [b"p" * size for size in range(1, 4200)]
    heard, _, idle, whole = carried([(True, [CHUNKED + chunk(b"first"), *map(chunk, payloads), LAST])])
    assert heard == [[b"first", *payloads, "end"]]
    assert idle == 1
    assert whole == len([p for p in payloads if len(chunk(p)) < MAX_PLAIN_CHUNK])
    assert cast(int, whole) > 4000

"""A head that is known need not be read again: what the edge makes of any bytes is what it makes of them without that."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.core.policy import Limits
from pointsman.gateway import edge as edge_module
from pointsman.gateway.edge import LESSONS, Edge, Incoming
from pointsman.gateway.headers import wanted_of
from pointsman.gateway.known import Known

Seen = tuple[bytes, bytes, dict[str, bytes], bytes, bool, object, bool]
CREDENTIAL = b"Bearer known"


class Transport(asyncio.Transport):
    """Keep what is written, and whether the connection still stands."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.open = False

    def abort(self) -> None:
        self.open = False
        self.written.append(b"aborted")

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered here."""


class Clerk:
    """Stand in for the worker: note each request, answer it at once or when told to."""

    draining = False
    wanted = wanted_of()

    def __init__(self, limits: Limits, *, at_once: bool = True) -> None:
        self.limits = limits
        self.generation: object = "first"
        self.at_once = at_once
        self.seen: list[Seen] = []
        self.looked_up = 0

    def now_ms(self) -> float:
        return 1.0

    def admit(self, incoming: Incoming, edge: Edge | None = None, *, close: bool = False) -> bytes | None:
        self.looked_up += 1
        if incoming.headers.get("authorization") != CREDENTIAL:
            return b"HTTP/1.1 401 No\r\n\r\n"
        incoming.caller = ("caller", self.generation)
        return None

    def pressed(self) -> bool:
        return False

    def refuse_body(self, incoming: Incoming, *, close: bool) -> bytes | None:
        return None

    def refusal(self, status: int, message: str, code: str, *, close: bool) -> bytes:
        return b"HTTP/1.1 %d %b\r\n\r\n" % (status, code.encode())

    def dispatch(self, edge: Edge, incoming: Incoming) -> None:
        i = incoming
        self.seen.append((i.method, i.target, i.headers, i.body, i.close, i.caller, edge.takes_chunks()))
        if self.at_once:
            edge.answer(b"HTTP/1.1 200 OK\r\n\r\n" + i.body)

    def opened(self, edge: Edge) -> bool:
        return True

    def closed(self, edge: Edge) -> None:
        pass


def opened(clerk: Clerk) -> tuple[Edge, Transport]:
    edge, transport = Edge(clerk), Transport()
    edge.connection_made(transport)
    return edge, transport


Outcome = tuple[list[Seen], list[bytes], bool, bool, float]


def outcome(parts: list[bytes], limits: Limits, *, at_once: bool) -> Outcome:
    """Return all that can be seen from outside of an edge that got these parts; those that wait are answered between."""
    clerk = Clerk(limits, at_once=at_once)
    edge, transport = opened(clerk)
    for part in parts:
        edge.data_received(part)
        if not at_once and edge.current is not None and len(clerk.seen) % 2:
            edge.answer(b"HTTP/1.1 200 Late\r\n\r\n")
    return clerk.seen, transport.written, transport.open, edge.idle(), edge.due_ms


def request(length: bytes, body: bytes, *lines: bytes, first: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    head = (first, b"Host: router", b"Authorization: " + CREDENTIAL, b"Content-Length: " + length, *lines)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


BODIES = st.sampled_from(
    [b"", b"{}", b"x" * 9, b"y" * 10, b"z" * 200, b"\r\n", b"\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"]
)
LINES = st.sampled_from([
    (b"X-Request-Id: 1",), (b"X-Request-Id: 2",), (b"Connection: close",), (b"Transfer-Encoding: chunked",),
    (b"Expect: 100-continue",), (b"content-length: 1",), (b"Connection: upgrade", b"Upgrade: x"), (b"X: content-length: 2",),
    (b"Content-Encoding: gzip",), (b"Authorization: Bearer other",), (b"X: " + b"l" * 300,), (b"Connection: keep-alive",),
])  # fmt: skip
FIRSTS = st.sampled_from([
    b"POST /other HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.0", b"\r\nPOST / HTTP/1.1", b"post / HTTP/1.1",
])  # fmt: skip
SPELLINGS = (
    "0%d",
    "00000000000%d",
    "+%d",
    " %d",
    "%d ",
    "-%d",
    "%d_0",
    "0x%d",
    "\t%d",
    "%d,%d",
    "%d\r",
    "1%d",
    "\n%d",
    "",
)
LENGTHS = st.sampled_from(SPELLINGS)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return one request: most are alike but for the body, some differ from those in one thing."""
    body, odd = draw(BODIES), draw(st.integers(0, 15))
    length = b"%d" % len(body)
    if odd == 0:
        return request(length, body, *draw(LINES))
    if odd == 1:
        return request(length, body, first=draw(FIRSTS))
    if odd == 2:
        return request(draw(LENGTHS).replace("%d", length.decode()).encode(), body)
    if odd == 3:
        return request(length, body) + draw(st.sampled_from([b"\r\n", b"\r\n\r\n", b"P", b"more"]))
    return request(length, body)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return the bytes of some requests, as their client writes them, or cut and glued anywhere."""
    written = draw(st.lists(messages(), min_size=1, max_size=12))
    if draw(st.booleans()):
        return written
    parts: list[bytes] = []
    for message in written:
        at = draw(st.integers(0, len(message)))
        glued = parts.pop() if parts and draw(st.booleans()) else b""
        parts += [part for part in (glued + message[:at], message[at:]) if part]
    return parts


PLAIN = request(b"2", b"{}")
LIMITS = Limits(header_bytes=512, body_bytes=150)


@settings(max_examples=1500, deadline=None)
@given(streams(), st.booleans())
@example([PLAIN, PLAIN, PLAIN + b"P", PLAIN, PLAIN], True)
@example([PLAIN, PLAIN, PLAIN + PLAIN + b"P", PLAIN, PLAIN], True)
@example([PLAIN, PLAIN + b"\r\n", PLAIN + b"\r\n", PLAIN], True)
@example([PLAIN, PLAIN, request(b"+2", b"{}"), PLAIN], True)
@example([request(b"2", b"{}", b"Connection: keep-alive", first=b"POST / HTTP/1.0")] * 4, True)
@example([PLAIN, PLAIN + b"\r\n", PLAIN, PLAIN[:-1], b"}", PLAIN], True)
@example([PLAIN, PLAIN, request(b"2", b"{}", first=b"POST / HTTP/1.0"), PLAIN, PLAIN], True)
@example([PLAIN, PLAIN, request(b"200", b"z" * 200), PLAIN], False)
@example([PLAIN, PLAIN, b"\r\n", PLAIN], True)
def test_s3_a_known_head_changes_nothing_that_can_be_seen(parts: list[bytes], at_once: bool) -> None:
    got = outcome(parts, LIMITS, at_once=at_once)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_module, "known_of", lambda *_: None)
        expected = outcome(parts, LIMITS, at_once=at_once)
    assert got == expected


def count_known(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that grows with each request a known head is tried on: whether it was read."""
    tried: list[bool] = []
    read = Known.read

    def noted(known: Known, data: bytes, limits: Limits) -> Incoming | None:
        incoming = read(known, data, limits)
        tried.append(incoming is not None)
        return incoming

    monkeypatch.setattr(Known, "read", noted)
    return tried


@pytest.mark.interpreted
def test_the_head_of_a_connection_is_known_from_its_third_request_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = count_known(monkeypatch)
    clerk = Clerk(LIMITS)
    edge, _ = opened(clerk)
    for size in (2, 3, 3, 120, 0, 7):
        edge.data_received(request(b"%d" % size, b"b" * size))
    assert tried == [True] * 4
    assert [(len(seen[3]), seen[2]["content-length"]) for seen in clerk.seen] == [
        (size, b"%d" % size) for size in (2, 3, 3, 120, 0, 7)
    ]


def test_a_head_that_comes_before_its_body_is_known_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    clerk = Clerk(LIMITS)
    edge, _ = opened(clerk)
    for size in (2, 3, 4, 5):
        whole = request(b"%d" % size, b"b" * size)
        edge.data_received(whole[:-size])
        assert not edge.idle() and edge.due_ms > 1.0  # it is waited for, with a bound
        edge.data_received(whole[-size:])
        if size == 3:
            assert edge._known is not None
            monkeypatch.setattr(edge, "_parser", None)  # the next heads must not need it
    assert [len(seen[3]) for seen in clerk.seen] == [2, 3, 4, 5]


def test_other_keys_mean_another_look_at_who_calls() -> None:
    clerk = Clerk(LIMITS)
    edge, _ = opened(clerk)
    for _ in range(5):
        edge.data_received(PLAIN)
    before = clerk.looked_up
    clerk.generation = "second"
    edge.data_received(PLAIN)
    edge.data_received(PLAIN)
    assert clerk.looked_up == before + 1
    assert [cast(tuple[str, object], seen[5])[1] for seen in clerk.seen[-2:]] == ["second"] * 2


@pytest.mark.interpreted
def test_a_client_whose_heads_all_differ_soon_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = count_known(monkeypatch)
    clerk = Clerk(LIMITS)
    edge, _ = opened(clerk)
    for number in range(50):
        edge.data_received(request(b"2", b"{}", b"X-Request-Id: %d" % number))
    assert len(clerk.seen) == 50
    assert tried == [False] * (LESSONS - 1)

"""One suite for every dialect: golden fixtures and generated values, the same assertions for all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_cases import GOLDEN, cases, decoded, summary
from wire_strategies import chats, replies, streams

from pointsman.core.chat import ChatRequest, End, Reply, StreamError
from pointsman.core.outcome import CLASSES, Kind
from pointsman.dialects.base import Dialect, Wire, WireError
from pointsman.dialects.registry import DIALECTS

EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EVERY
def test_golden_fixtures_exist_and_name_their_source(dialect: Dialect) -> None:
    kinds = {path.name.partition("-")[0] for path in (GOLDEN / dialect.name).iterdir()}
    assert {"request", "reply", "stream", "bad", "error", "source.md"} <= kinds


@pytest.mark.parametrize(("dialect", "path"), cases("request"))
def test_golden_request_survives_its_own_wire(dialect: Dialect, path: Path) -> None:
    chat = dialect.decode_request(path.read_bytes())
    assert chat.messages and chat.wire == dialect.name
    assert dialect.decode_request(dialect.encode_request(chat, Wire(model=chat.model))) == chat


@pytest.mark.parametrize(("dialect", "path"), cases("reply"))
def test_golden_reply_survives_its_own_wire(dialect: Dialect, path: Path) -> None:
    reply = dialect.decode_reply(path.read_bytes())
    assert reply.choices and reply.usage is not None
    assert dialect.decode_reply(dialect.encode_reply(reply)) == reply


@pytest.mark.parametrize(("dialect", "path"), cases("stream"))
def test_golden_stream_ends_once_and_survives_its_own_wire(dialect: Dialect, path: Path) -> None:
    events = decoded(dialect, [path.read_bytes()])
    assert events[-1] == End() and summary(events)["finish"]
    again = decoded(dialect, [dialect.stream_encoder(include_usage=True).encode(events)])
    assert summary(again) == summary(events)


@pytest.mark.parametrize(("dialect", "path"), cases("bad"))
def test_i18_broken_golden_stream_is_never_called_complete(dialect: Dialect, path: Path) -> None:
    events = decoded(dialect, [path.read_bytes()])
    last = events[-1]
    assert isinstance(last, StreamError) and last.kind == path.stem.split("-")[1]
    assert Kind(last.kind) in CLASSES
    assert not any(isinstance(event, End) for event in events)


@pytest.mark.parametrize(("dialect", "path"), cases("stream", "bad"))
def test_i19_any_rechunking_of_golden_stream_gives_same_events(dialect: Dialect, path: Path) -> None:
    data = path.read_bytes()
    whole = decoded(dialect, [data])
    for size in (1, 2, 3, 7, 64, 1000):
        assert decoded(dialect, [data[at : at + size] for at in range(0, len(data), size)]) == whole


@pytest.mark.parametrize(("dialect", "path"), cases("error"))
def test_golden_error_is_classified(dialect: Dialect, path: Path) -> None:
    _, status, kind = path.stem.split("-")[:3]
    outcome = dialect.classify(int(status), {}, path.read_bytes(), 0.0)
    assert outcome.kind == kind
    assert len(outcome.message) <= 500


@pytest.mark.parametrize(("dialect", "path"), cases("request"))
@pytest.mark.parametrize("other", DIALECTS.values(), ids=list(DIALECTS))
def test_golden_request_is_said_in_another_wire_or_refused_with_a_reason(
    dialect: Dialect, path: Path, other: Dialect
) -> None:
    chat = dialect.decode_request(path.read_bytes())
    refusal = ""
    try:
        body = other.encode_request(chat, Wire(model="m"))
    except WireError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(other.name) and other is not dialect
        return
    again = other.decode_request(body)
    assert [tool.name for tool in again.tools] == [tool.name for tool in chat.tools]
    if other is not dialect:
        assert not again.extra


@pytest.mark.parametrize(("dialect", "path"), cases("reply", "stream"))
@pytest.mark.parametrize("other", DIALECTS.values(), ids=list(DIALECTS))
def test_golden_answers_keep_text_calls_and_totals_in_every_wire(dialect: Dialect, path: Path, other: Dialect) -> None:
    if path.suffix == ".json":
        reply = dialect.decode_reply(path.read_bytes())
        if other.name == "anthropic" and len(reply.choices) > 1:
            pytest.skip("one choice only in this wire")
        again = other.decode_reply(other.encode_reply(reply))
        assert [c.finish for c in again.choices] == [c.finish for c in reply.choices]
        assert again.usage is not None and reply.usage is not None
        assert again.usage.total_tokens == reply.usage.total_tokens
        return
    events = decoded(dialect, [path.read_bytes()])
    said = summary(events)
    if other.name == "anthropic" and len(said["finish"]) > 1:
        pytest.skip("one choice only in this wire")
    heard = summary(decoded(other, [other.stream_encoder(include_usage=True).encode(events)]))
    assert heard["end"] == End()
    assert {i: f[0] for i, f in heard["finish"].items()} == {i: f[0] for i, f in said["finish"].items()}
    for index, calls in said["calls"].items():
        mine = [[call[0], call[1], msgspec.json.decode(call[3])] for call in calls.values()]
        theirs = [[call[0], call[1], msgspec.json.decode(call[3])] for call in heard["calls"][index].values()]
        assert theirs == mine


@EVERY
@QUICK
@given(data=st.data())
def test_request_round_trip(dialect: Dialect, data: st.DataObject) -> None:
    chat: ChatRequest = data.draw(chats(dialect.name))
    assert dialect.decode_request(dialect.encode_request(chat, Wire(model=chat.model))) == chat


@EVERY
@QUICK
@given(data=st.data())
def test_reply_round_trip(dialect: Dialect, data: st.DataObject) -> None:
    reply: Reply = data.draw(replies(dialect.name))
    assert dialect.decode_reply(dialect.encode_reply(reply)) == reply


@EVERY
@QUICK
@given(data=st.data())
def test_i19_stream_round_trip_in_any_chunks(dialect: Dialect, data: st.DataObject) -> None:
    events = data.draw(streams(dialect.name))
    encoder = dialect.stream_encoder(include_usage=True)
    body = b"".join(encoder.encode([event]) for event in events)
    whole = decoded(dialect, [body])
    assert summary(whole) == summary(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert decoded(dialect, pieces) == whole
    assert b"\nid:" not in body and not body.startswith(b"id:")


@EVERY
@QUICK
@given(data=st.data())
def test_i18_stream_cut_anywhere_before_its_end_is_an_error(dialect: Dialect, data: st.DataObject) -> None:
    events = data.draw(streams(dialect.name))
    whole = [dialect.stream_encoder(include_usage=True)]
    pieces = [whole[0].encode([event]) for event in events]
    body = b"".join(pieces[:-1])
    cut = data.draw(st.integers(0, len(body)))
    last = decoded(dialect, [body[:cut]])[-1]
    assert isinstance(last, StreamError)


def _call(method: Any, *args: Any) -> None:
    with contextlib.suppress(WireError):
        method(*args)


def _mangled(data: st.DataObject, dialect: Dialect) -> bytes:
    """Draw random bytes, or a golden file with a few bytes changed."""
    paths = sorted((GOLDEN / dialect.name).glob("*.*"))
    body = bytearray(data.draw(st.sampled_from(paths)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6) | st.sampled_from(_SPICE))
    return data.draw(st.sampled_from((bytes(body), data.draw(st.binary(max_size=60)))))


_SPICE = (b"null", b"{}", b"[]", b'""', b"1e400", b"-1", b"[" * 2000, b'{"a":' * 2000, b"true", b'"\\ud800"', b"\xff")


@EVERY
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_f29_random_bytes_give_nouns_or_a_wire_error(dialect: Dialect, data: st.DataObject) -> None:
    body = _mangled(data, dialect)
    _call(dialect.decode_request, body)
    _call(dialect.decode_reply, body)
    status = data.draw(st.sampled_from((200, 301, 400, 404, 429, 500, 529)))
    assert dialect.classify(status, {"retry-after": "x"}, body, 0.0).kind in Kind
    for stream in (body, b"data: " + body.replace(b"\n", b" ") + b"\n\n"):
        events = decoded(dialect, [stream])
        assert isinstance(events[-1], End | StreamError)
        assert decoded(dialect, [stream[at : at + 1] for at in range(len(stream))]) == events
        for other in DIALECTS.values():
            other.stream_encoder(include_usage=True).encode(events)


@EVERY
def test_auth_and_path_are_complete(dialect: Dialect) -> None:
    wire = Wire(model="m")
    headers = dialect.auth_headers("k", wire)
    assert any("k" in value for value in headers.values())
    assert all(name == name.lower() for name in headers)
    assert dialect.path(wire, stream=False).startswith("/") and dialect.path(wire, stream=True).startswith("/")

"""Faults of section C (streams) and B (bad answers) of the fault catalogue, as far as a dialect decides them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_cases import GOLDEN, decoded, summary

from pointsman.core.chat import (
    CONTENT_EVENTS,
    End,
    Finish,
    Start,
    StreamError,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    UsageReport,
)
from pointsman.core.outcome import Kind
from pointsman.core.usage import MAX_TOKENS, Usage
from pointsman.dialects.base import Dialect, WireError
from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.sse import MAX_EVENT_BYTES

EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
OPENAI, ANTHROPIC, GEMINI = (DIALECTS[name] for name in ("openai", "anthropic", "gemini"))


def sse(*events: object) -> bytes:
    return b"".join(
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n" for event in events
    )


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


DONE = b"[DONE]"


def golden(dialect: Dialect, name: str = "stream-text.sse") -> bytes:
    return (GOLDEN / dialect.name / name).read_bytes()


# --- B: the answer as a whole ----------------------------------------------------------------------------------------


@EVERY
def test_f24_a_200_with_an_error_body_is_classified_by_the_body(dialect: Dialect) -> None:
    body = b'{"error":{"message":"Overloaded","type":"overloaded_error","code":503,"status":"UNAVAILABLE"}}'
    assert dialect.classify(200, {}, body, 0.0).kind == Kind.OVERLOADED
    assert decoded(dialect, [body])[-1].kind == Kind.OVERLOADED  # type: ignore[union-attr]


@EVERY
def test_f25_a_200_with_a_page_is_broken_and_not_relayed(dialect: Dialect) -> None:
    outcome = dialect.classify(200, {}, b"<html><b>Please log in</b></html>", 0.0)
    assert outcome.kind == Kind.BROKEN and "log in" not in outcome.message
    outcome = dialect.classify(502, {}, b"<html><b>Bad gateway</b></html>", 0.0)
    assert outcome.kind == Kind.SERVER_ERROR and "gateway" not in outcome.message


@EVERY
@pytest.mark.parametrize("body", [b"", b"  \n", b'{"id":"x","choices":[],"candidates":[],"content":[]}'])
def test_f26_an_empty_body_or_no_choices_is_empty(dialect: Dialect, body: bytes) -> None:
    assert dialect.classify(200, {}, body, 0.0).kind == Kind.EMPTY


EMPTY_STOP = {
    "openai": {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
    },
    "anthropic": {"id": "x", "type": "message", "content": [], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [], "role": "model"}, "finishReason": "STOP"}]},
}


@EVERY
def test_f27_stop_without_content_or_call_is_empty_but_a_limit_is_not(dialect: Dialect) -> None:
    body = json.dumps(EMPTY_STOP[dialect.name])
    assert dialect.classify(200, {}, body.encode(), 0.0).kind == Kind.EMPTY
    limit = body.replace('"stop"', '"length"').replace("end_turn", "max_tokens").replace("STOP", "MAX_TOKENS")
    assert dialect.classify(200, {}, limit.encode(), 0.0).kind == Kind.OK


def reply_with_usage(dialect: Dialect, usage: object) -> bytes:
    body = json.loads((GOLDEN / dialect.name / "reply-text.json").read_bytes())
    body["usageMetadata" if dialect.name == "gemini" else "usage"] = usage
    return json.dumps(body).encode()


NAMES = {
    "openai": ("prompt_tokens", "completion_tokens"),
    "anthropic": ("input_tokens", "output_tokens"),
    "gemini": ("promptTokenCount", "candidatesTokenCount"),
}


@EVERY
@pytest.mark.parametrize("usage", [None, {}, "n/a", [], 7, {"prompt_tokens": "many", "input_tokens": "many"}])
def test_f28_missing_or_unreadable_usage_is_unknown_not_zero(dialect: Dialect, usage: object) -> None:
    body = reply_with_usage(dialect, usage)
    assert dialect.decode_reply(body).usage is None
    outcome = dialect.classify(200, {}, body, 0.0)
    assert outcome.kind == Kind.OK and outcome.usage.source == "unknown"


@EVERY
def test_f28_zero_usage_is_unknown_and_nonsense_is_clamped(dialect: Dialect) -> None:
    into, out = NAMES[dialect.name]
    assert dialect.decode_reply(reply_with_usage(dialect, {into: 0, out: 0})).usage is None
    for bad in (-5, 10**12, 1e15):
        usage = dialect.decode_reply(reply_with_usage(dialect, {into: bad, out: 3})).usage
        assert usage is not None and usage.source == "estimated"
        assert 0 <= usage.input_tokens <= MAX_TOKENS and usage.output_tokens == 3


@EVERY
def test_f29_new_members_are_kept_and_a_changed_type_is_broken(dialect: Dialect) -> None:
    body = json.loads((GOLDEN / dialect.name / "reply-text.json").read_bytes())
    reply = dialect.decode_reply(json.dumps(body | {"x_new": {"a": [1]}}).encode())
    assert b'"x_new":{"a":[1]}' in dialect.encode_reply(reply).replace(b" ", b"")
    changed = {"openai": "choices", "anthropic": "content", "gemini": "candidates"}[dialect.name]
    assert dialect.classify(200, {}, json.dumps(body | {changed: 7}).encode(), 0.0).kind == Kind.BROKEN


@EVERY
def test_f30_the_served_model_is_told(dialect: Dialect) -> None:
    body = (GOLDEN / dialect.name / "reply-text.json").read_bytes()
    assert dialect.classify(200, {}, body, 0.0).served_model == dialect.decode_reply(body).model != ""


def test_f31_invalid_tool_arguments_of_a_whole_reply_are_passed_on() -> None:
    body = json.loads((GOLDEN / "openai" / "reply-tools.json").read_bytes())
    body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"city": Bern'
    reply = OPENAI.decode_reply(json.dumps(body).encode())
    call = reply.choices[0].message.parts[0]
    assert isinstance(call, ToolCall) and call.arguments == '{"city": Bern'
    assert OPENAI.decode_reply(OPENAI.encode_reply(reply)) == reply
    for other in (ANTHROPIC, GEMINI):
        with pytest.raises(WireError, match="arguments: not a JSON object"):
            other.encode_reply(reply)


# --- C: streams ------------------------------------------------------------------------------------------------------


@EVERY
def test_f41_eof_without_an_event_is_truncated(dialect: Dialect) -> None:
    for body in (b"", b": ping\n\n", b"\n"):
        events = decoded(dialect, [body])
        assert len(events) == 1 and isinstance(events[0], StreamError) and events[0].kind == Kind.TRUNCATED


@EVERY
def test_f42_an_error_as_first_event_is_told_with_its_kind_and_no_content_before(dialect: Dialect) -> None:
    error = {
        "type": "error",
        "error": {"message": "busy", "type": "overloaded_error", "status": "UNAVAILABLE", "code": 503},
    }
    events = decoded(dialect, [sse(error)])
    assert len(events) == 1 and isinstance(events[0], StreamError) and events[0].kind == Kind.OVERLOADED
    assert events[0].message == "busy"


@EVERY
def test_f43_role_and_pings_before_an_error_are_no_content(dialect: Dialect) -> None:
    before = {
        "openai": b": ping\n\n" + sse(chunk({"role": "assistant", "content": ""})),
        "anthropic": golden(ANTHROPIC).split(b"event: content_block_delta")[0],
        "gemini": b": ping\n\n" + sse({"candidates": [], "responseId": "r"}),
    }[dialect.name]
    error = sse(
        {"type": "error", "error": {"message": "x", "type": "overloaded_error", "status": "UNAVAILABLE", "code": 503}}
    )
    events = decoded(dialect, [before, error])
    assert not any(isinstance(event, CONTENT_EVENTS) for event in events)
    assert isinstance(events[-1], StreamError) and events[-1].kind == Kind.OVERLOADED


@EVERY
def test_f47_one_malformed_event_breaks_a_translated_stream(dialect: Dialect) -> None:
    events = decoded(dialect, [golden(dialect, "bad-broken-event.sse")])
    assert isinstance(events[-1], StreamError) and events[-1].kind == Kind.BROKEN
    assert any(isinstance(event, TextDelta) for event in events)


@EVERY
def test_f48_text_survives_any_cut(dialect: Dialect) -> None:
    data = golden(dialect)
    for cut in range(len(data)):
        text = "".join(e.text for e in decoded(dialect, [data[:cut], data[cut:]]) if isinstance(e, TextDelta))
        assert text == "Zürich – 東京 🚂"


def test_f49_line_ends_bom_and_unknown_fields_change_nothing() -> None:
    plain = decoded(OPENAI, [golden(OPENAI)])
    assert decoded(OPENAI, [golden(OPENAI, "stream-crlf.sse")]) == plain
    assert decoded(OPENAI, [golden(OPENAI, "stream-no-space.sse")]) == plain
    assert decoded(OPENAI, [golden(OPENAI).replace(b"\n", b"\r")]) == plain


def test_f50_upstream_comments_are_consumed() -> None:
    body = b": OPENROUTER PROCESSING\n\n" + golden(OPENAI).replace(b"data: {", b": OPENROUTER PROCESSING\n\ndata: {")
    assert decoded(OPENAI, [body]) == decoded(OPENAI, [golden(OPENAI)])


def test_f53_done_without_finish_reason_and_no_done_are_errors() -> None:
    for body in (sse(chunk({"content": "a"}), DONE), sse(chunk({"content": "a"}), chunk({}, "stop"))):
        last = decoded(OPENAI, [body])[-1]
        assert isinstance(last, StreamError) and last.kind == Kind.TRUNCATED


def test_f53_a_second_finish_and_data_after_the_end_are_ignored() -> None:
    body = sse(
        chunk({"content": "a"}),
        chunk({}, "stop"),
        chunk({"content": "late"}, "length"),
        DONE,
        chunk({"content": "x"}),
        DONE,
    )
    assert decoded(OPENAI, [body]) == [Start("c", "m"), TextDelta("a"), Finish("stop", 0, "stop"), End()]


def test_f53_anthropic_data_after_the_stop_is_ignored() -> None:
    data = golden(ANTHROPIC)
    assert decoded(ANTHROPIC, [data, data]) == decoded(ANTHROPIC, [data])


@EVERY
def test_f53_an_encoder_writes_one_terminal_and_nothing_after_it(dialect: Dialect) -> None:
    events = decoded(dialect, [golden(dialect)])
    whole = dialect.stream_encoder(include_usage=True).encode(events)
    assert dialect.stream_encoder(include_usage=True).encode([*events, *events]) == whole
    encoder = dialect.stream_encoder(include_usage=True)
    broken = encoder.encode([*events[:-1], StreamError("stalled", "no more came")])
    assert encoder.encode(events) == b""
    last = decoded(dialect, [broken])[-1]
    assert isinstance(last, StreamError) and last.message == "no more came"
    assert b"[DONE]" not in broken and b"message_stop" not in broken and b"finishReason" not in broken


def test_f54_usage_is_the_last_non_null_one_of_any_chunk() -> None:
    first, last = {"prompt_tokens": 5, "completion_tokens": 1}, {"prompt_tokens": 5, "completion_tokens": 9}
    body = sse(
        chunk({"content": "a"}, usage=first),
        chunk({}, "stop", usage=last),
        {"id": "c", "choices": [], "usage": None},
        DONE,
    )
    assert summary(decoded(OPENAI, [body]))["usage"] == Usage(input_tokens=5, output_tokens=9)


def test_f54_usage_absent_is_not_reported_and_not_shown() -> None:
    events = decoded(OPENAI, [sse(chunk({"content": "a"}), chunk({}, "stop"), DONE)])
    assert not any(isinstance(event, UsageReport) for event in events)
    assert b"usage" not in OPENAI.stream_encoder(include_usage=True).encode(events)


def test_f54_usage_is_hidden_from_a_client_that_did_not_ask() -> None:
    events = decoded(OPENAI, [golden(OPENAI)])
    assert b"usage" not in OPENAI.stream_encoder(include_usage=False).encode(events)
    shown = OPENAI.stream_encoder(include_usage=True).encode(events)
    assert shown.count(b'"usage"') == 1 and b'"choices":[],"usage":{' in shown


def test_f54_anthropic_counts_are_cumulative_and_cached_tokens_part_of_the_input() -> None:
    usage = summary(decoded(ANTHROPIC, [golden(ANTHROPIC)]))["usage"]
    assert usage == Usage(
        input_tokens=1320,
        output_tokens=50,
        cache_read_tokens=1000,
        cache_write_5m_tokens=100,
        cache_write_1h_tokens=200,
    )


def test_f55_a_call_cut_by_the_limit_stays_length_and_one_cut_by_the_network_is_an_error() -> None:
    start = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"ci'}}]})
    limit = decoded(OPENAI, [sse(start, chunk({}, "length"), DONE)])
    assert limit[1:] == [ToolCallStart(0, "a", "f"), ToolCallDelta(0, '{"ci'), Finish("length", 0, "length"), End()]
    assert isinstance(decoded(OPENAI, [sse(start)])[-1], StreamError)
    for other in (ANTHROPIC, GEMINI):
        heard = decoded(other, [other.stream_encoder(include_usage=True).encode(limit)])
        assert summary(heard)["finish"][0][0] == "length" and heard[-1] == End()


def test_f56_choices_with_index_gaps_are_kept_apart() -> None:
    said = summary(decoded(OPENAI, [golden(OPENAI, "stream-two-choices.sse")]))
    assert said["content"] == {0: [["text", "AB"]], 2: [["text", "xy"]]}
    assert said["finish"] == {0: ("length", "length"), 2: ("stop", "stop")}
    unfinished = sse(chunk({"content": "a"}), chunk({"content": "b"}, index=2), chunk({}, "stop"), DONE)
    assert isinstance(decoded(OPENAI, [unfinished])[-1], StreamError)


@EVERY
def test_f57_an_event_of_20_mib_is_broken(dialect: Dialect) -> None:
    piece = b"x" * (1024 * 1024)
    decoder = dialect.stream_decoder()
    events = decoder.feed(b'data: {"a":"')
    for _ in range(20):
        events += decoder.feed(piece)
    assert 20 * len(piece) > MAX_EVENT_BYTES
    assert len(events) == 1 and isinstance(events[0], StreamError) and events[0].kind == Kind.BROKEN
    assert decoder.feed(b"more") == [] and decoder.close() == []

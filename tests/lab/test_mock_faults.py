"""Every fault the mock can play, observed from a raw client. Numbers are those of the fault catalogue."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from pointsman.lab.faults import Facts, FaultError, Match, Rule, Script, rules_of
from pointsman.lab.mock import MockServer

WIRES = ("oa", "an", "ge")


def contents(answer: Any) -> list[Any]:
    """Return the events that carry text or a call, of any of the three wires."""
    found = []
    for event in answer.events:
        if not isinstance(event, dict):
            continue
        delta = (event.get("choices") or [{}])[0].get("delta", {})
        parts = (event.get("candidates") or [{}])[0].get("content", {}).get("parts", [{}])
        if delta.get("content") or event.get("type") == "content_block_delta" or parts[0].get("text"):
            found.append(event)
    return found


def terminal(name: str, answer: Any) -> bool:
    last = answer.events[-1] if answer.events else {}
    if name == "oa":
        return last == "[DONE]"
    if name == "an":
        return last.get("type") == "message_stop"
    return "finishReason" in (last.get("candidates") or [{}])[0]


# --- reaching the provider


async def test_f07_a_connection_is_closed_after_a_good_answer(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "close_after"}])
    answer = await ask("oa", stream=False)
    assert answer.whole
    assert "connection" not in answer.headers
    assert mock.log[-1].outcome == "complete"


@pytest.mark.parametrize(
    ("do", "reset", "eof"), [("reset", True, False), ("eof", False, True), ("stall", False, False)]
)
async def test_f03_f34_the_connection_itself_fails(ask: Any, mock: MockServer, do: str, reset: bool, eof: bool) -> None:
    mock.script([{"do": do, "at": "accept", "match": {"provider": "oa", "times": 1}}])
    answer = await ask("oa", wait_s=0.2)
    assert (answer.raw, answer.reset, answer.eof) == (b"", reset, eof)
    assert (mock.log[-1].fault, mock.log[-1].number) == (f"{do}@accept", 0)
    assert (await ask("oa")).status == 200


async def test_f36_a_connection_is_read_late(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "delay", "at": "accept", "ms": 120}])
    start = time.monotonic()
    assert (await ask("oa")).status == 200
    assert 0.1 < time.monotonic() - start < 1


# --- bad answers


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 529])
async def test_f18_a_status_comes_in_the_shape_of_the_wire(ask: Any, mock: MockServer, name: str, status: int) -> None:
    mock.script([{"do": "status", "status": status, "headers": {"x-extra": "1"}}])
    answer = await ask(name)
    body = json.loads(answer.body)
    assert (answer.status, answer.headers["x-extra"]) == (status, "1")
    assert body["error"]["message"]
    assert ("request_id" in body, body["error"].get("code") == status) == (name == "an", name == "ge")


async def test_f15_retry_after_takes_all_its_forms(ask: Any, mock: MockServer) -> None:
    for text in ("2", "1.5", "-1", "NaN", "86400"):
        mock.script([{"do": "status", "status": 429, "retry_after": text}])
        assert (await ask("oa")).headers["retry-after"] == text
    mock.script([{"do": "status", "status": 429, "retry_after_ms": "250"}])
    assert (await ask("oa")).headers["retry-after-ms"] == "250"
    mock.script([{"do": "status", "status": 429, "retry_after_date_s": 30}])
    told = parsedate_to_datetime((await ask("oa")).headers["retry-after"]).timestamp()
    assert 25 < told - time.time() < 35


async def test_f24_f25_f26_two_hundred_with_the_wrong_body(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "body", "text": '{"error": {"message": "no"}}'}])
    assert json.loads((await ask("oa")).body) == {"error": {"message": "no"}}
    mock.script([{"do": "html"}])
    answer = await ask("oa")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
    mock.script([{"do": "empty"}])
    answer = await ask("oa")
    assert (answer.status, answer.body) == (200, b"")


async def test_f40_a_redirect_names_another_host(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "status", "status": 307, "headers": {"location": "http://elsewhere.example/v1"}}])
    assert (await ask("oa")).headers["location"] == "http://elsewhere.example/v1"


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("stream", [False, True])
async def test_f28_usage_is_missing_or_nonsense(ask: Any, mock: MockServer, name: str, stream: bool) -> None:
    more = {"stream_options": {"include_usage": True}} if name == "oa" and stream else {}
    mock.script([{"do": "no_usage"}])
    body = (await ask(name, stream=stream, **more)).body
    assert b"_tokens" not in body
    assert b"TokenCount" not in body
    mock.script([{"do": "bad_usage"}])
    body = (await ask(name, stream=stream, **more)).body
    assert b"1000000000000" in body
    assert b"-1" in body


async def test_f23_f27_f30_f31_what_is_said_is_wrong(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "content_filter"}])
    assert b'"finish_reason":"content_filter"' in (await ask("oa")).body
    assert b'"stop_reason":"refusal"' in (await ask("an")).body
    assert b'"finishReason":"SAFETY"' in (await ask("ge")).body
    mock.script([{"do": "no_content"}])
    for name in WIRES:
        assert contents(await ask(name)) == []
    mock.script([{"do": "other_model", "text": "m0"}])
    assert json.loads((await ask("oa", stream=False)).body)["model"] == "m0"
    mock.script([{"do": "bad_tool_json"}])
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    reply = json.loads((await ask("oa", stream=False, tools=tools, tool_choice="required")).body)
    with pytest.raises(ValueError):
        json.loads(reply["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])


async def test_f32_f57_an_answer_or_event_is_huge(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "big_event", "bytes": 400_000}])
    for name in WIRES:
        answer = await ask(name)
        assert max(map(len, answer.body.split(b"\n"))) > 400_000
        assert terminal(name, answer)
    answer = await ask("oa", stream=False)
    assert len(answer.body) > 400_000
    assert json.loads(answer.body)["choices"]


async def test_f33_a_body_is_shorter_than_declared(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "truncate"}])
    answer = await ask("oa", stream=False)
    assert answer.eof and not answer.whole
    assert 0 < len(answer.payload) < int(answer.headers["content-length"])
    mock.script([{"do": "wrong_content_length", "bytes": 7}])
    answer = await ask("oa", stream=False)
    assert answer.eof
    assert int(answer.headers["content-length"]) == len(answer.payload) + 7
    assert mock.log[-1].outcome == "cut"


async def test_f34_silence_before_the_headers(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "stall"}])
    answer = await ask("oa", wait_s=0.2)
    assert (answer.raw, answer.eof, answer.reset) == (b"", False, False)


async def test_f35_bytes_come_one_at_a_time(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "drip", "ms": 20}])
    answer = await ask("oa", wait_s=0.5)
    assert 10 <= len(answer.raw) <= 30
    assert len(answer.reads_s) >= 10


async def test_f36_a_delay_before_headers_and_between_events(ask: Any, mock: MockServer) -> None:
    for at in ("headers", "event:0", "content:0", "content:4", "end"):
        mock.script([{"do": "delay", "at": at, "ms": 100}])
        start = time.monotonic()
        answer = await ask("oa")
        assert 0.09 < time.monotonic() - start < 1, at
        assert answer.whole


@pytest.mark.parametrize("at", ["event:0", "content:3", "end"])
async def test_a_reply_that_is_no_stream_is_cut_in_the_middle_or_after_it(ask: Any, mock: MockServer, at: str) -> None:
    mock.script([{"do": "reset", "at": at}])
    answer = await ask("oa", stream=False)
    assert answer.whole is (at == "end")
    assert answer.reset or at == "end"


# --- streams


@pytest.mark.parametrize("name", WIRES)
async def test_f41_two_hundred_then_nothing(ask: Any, mock: MockServer, name: str) -> None:
    mock.script([{"do": "eof", "at": "event:0"}])
    answer = await ask(name)
    assert (answer.status, answer.body, answer.eof, answer.whole) == (200, b"", True, False)


@pytest.mark.parametrize("name", WIRES)
async def test_f42_the_first_event_is_an_error(ask: Any, mock: MockServer, name: str) -> None:
    mock.script([{"do": "error_event", "status": 429, "message": "slow down"}])
    answer = await ask(name)
    assert answer.status == 200
    assert len(answer.events) == 1
    assert answer.events[0]["error"]["message"] == "slow down"
    assert mock.log[-1].outcome == "cut"


@pytest.mark.parametrize("name", WIRES)
async def test_f43_preamble_and_comment_then_an_error(ask: Any, mock: MockServer, name: str) -> None:
    mock.script([{"do": "role_then_error"}])
    answer = await ask(name)
    assert contents(answer) == []
    assert b": OPENROUTER PROCESSING\n\n" in answer.body
    assert "error" in answer.events[-1]
    assert not terminal(name, answer)


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("do", ["reset", "eof", "stall"])
async def test_f44_f45_a_stream_breaks_after_k_contents(ask: Any, mock: MockServer, name: str, do: str) -> None:
    mock.script([{"do": do, "at": "content:5"}])
    answer = await ask(name, wait_s=0.3)
    assert len(contents(answer)) == 5
    assert (answer.reset, answer.eof) == (do == "reset", do == "eof")
    assert not terminal(name, answer)
    entry = mock.log[-1] if do != "stall" else None
    if entry is not None:
        assert (entry.written_tokens, entry.completion_tokens, entry.outcome) == (5, 20, "cut")
        assert entry.fault == f"{do}@content:5"


async def test_f46_pings_and_never_content(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "comments", "count": -1, "ms": 10}])
    answer = await ask("oa", wait_s=0.3)
    assert answer.body.count(b": OPENROUTER PROCESSING\n\n") > 10
    assert answer.events == []


async def test_f47_one_event_is_garbage_and_the_rest_is_fine(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "garbage", "at": "content:2"}])
    answer = await ask("oa")
    odd = [event for event in answer.events if isinstance(event, str)]
    assert len(odd) == 2
    assert odd[1] == "[DONE]"
    assert len(contents(answer)) == 20


async def test_f48_bytes_are_written_one_by_one(ask: Any, mock: MockServer) -> None:
    whole = (await ask("oa", text="你好")).body
    mock.script([{"do": "slices"}])
    answer = await ask("oa", text="你好")
    assert len(answer.events) == whole.count(b"data:")
    assert len(answer.reads_s) > 50


@pytest.mark.parametrize("style", ["crlf", "cr", "bom", "multiline", "nospace", "fields"])
async def test_f49_legal_but_unusual_line_forms(ask: Any, mock: MockServer, style: str) -> None:
    mock.script([{"do": "crlf", "text": style}])
    body = (await ask("oa")).body
    marks = {
        "crlf": b"\r\n\r\ndata: [DONE]\r\n\r\n",
        "cr": b"\r\rdata: [DONE]\r\r",
        "bom": b"\xef\xbb\xbfdata: ",
        "multiline": b',\ndata: "',
        "nospace": b"data:{",
        "fields": b"retry: 5000\nx-unknown: 1\ndata: ",
    }
    assert marks[style] in body


async def test_f50_comments_stand_before_the_first_event(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "comments", "count": 2}])
    answer = await ask("oa")
    assert answer.body.startswith(b": OPENROUTER PROCESSING\n\n" * 2)
    assert len(contents(answer)) == 20


@pytest.mark.parametrize("name", WIRES)
async def test_f53_the_end_of_a_stream_is_missing_or_doubled(ask: Any, mock: MockServer, name: str) -> None:
    finish = {"oa": b'"finish_reason":"stop"', "an": b'"stop_reason":"end_turn"', "ge": b'"finishReason":"STOP"'}[name]
    mock.script([{"do": "no_done"}])
    answer = await ask(name)
    assert answer.whole and not terminal(name, answer)
    mock.script([{"do": "no_finish"}])
    assert finish not in (await ask(name)).body
    mock.script([{"do": "double_finish"}])
    assert (await ask(name)).body.count(finish) == 2


async def test_f61_an_error_comes_after_the_end(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "error_event", "at": "end"}])
    answer = await ask("oa")
    assert answer.events[-2] == "[DONE]"
    assert "error" in answer.events[-1]
    assert mock.log[-1].outcome == "complete"


async def test_f35_a_stream_begins_to_drip_after_k_contents(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "drip", "at": "content:3", "ms": 15}])
    answer = await ask("oa", wait_s=0.4)
    assert len(contents(answer)) == 3


async def test_f33_a_stream_is_cut_in_the_middle_of_an_event(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "truncate", "bytes": 700}])
    answer = await ask("oa")
    assert (len(answer.body), answer.eof, answer.whole) == (700, True, False)


async def test_rules_combine(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "comments", "count": 1}, {"do": "reset", "at": "content:2"}, {"do": "no_usage"}])
    answer = await ask("oa")
    assert answer.reset
    assert mock.log[-1].fault == "no_usage@headers+comments@event:0+reset@content:2"


# --- capacity


async def test_f39_capacity_turns_away_what_is_too_much(ask: Any, mock: MockServer, make_config: Any, raw: Any) -> None:
    config = make_config()
    config["providers"][0]["capacity"] = {"per_s": 2, "retry_after_s": 3}
    async with MockServer(config) as server:
        body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": "Bearer sk-oa"}
        answers = [await raw(server.port("oa"), "/chat/completions", body, headers) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "3"


# --- matching


async def test_a_rule_is_chosen_by_header_model_and_stream(ask: Any, mock: MockServer) -> None:
    mock.script([{"do": "status", "status": 503, "match": {"header": "boom", "model": "m1", "stream": False}}])
    headers = {"x-mock-fault": "boom"}
    assert (await ask("oa", stream=False, headers=headers)).status == 503
    assert (await ask("oa", stream=True, headers=headers)).status == 200
    assert (await ask("oa", stream=False)).status == 200


def hits(match: Match, count: int, *, seed: int = 1) -> list[int]:
    script = Script([Rule(do="reset", match=match)], seed, 0.0)
    return [n for n in range(1, count + 1) if script.pick(Facts("p"), 0.0)]


def test_rules_count_what_they_meet() -> None:
    assert hits(Match(nth=3), 9) == [3]
    assert hits(Match(every=4), 9) == [4, 8]
    assert hits(Match(times=2), 9) == [1, 2]
    assert hits(Match(probability=0.3), 400) == hits(Match(probability=0.3), 400)
    assert 80 < len(hits(Match(probability=0.3), 400)) < 160
    assert hits(Match(probability=0.3), 400) != hits(Match(probability=0.3), 400, seed=2)


def test_a_window_counts_from_the_installation() -> None:
    script = Script([Rule(do="reset", match=Match(after_s=1, before_s=2))], 1, 100.0)
    assert [bool(script.pick(Facts("p"), now)) for now in (100.5, 101.0, 101.9, 102.0)] == [False, True, True, False]


@pytest.mark.parametrize(
    "rule",
    [
        {"do": "explode"},
        {"do": "reset", "at": "content"},
        {"do": "reset", "at": "content:x"},
        {"do": "status", "at": "content:3"},
        {"do": "reset", "at": "accept", "match": {"model": "m1"}},
        {"do": "status", "status": 9},
        {"do": "reset", "match": {"probability": 2}},
        {"do": "reset", "matches": {}},
    ],
)
def test_a_rule_that_cannot_be_played_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(FaultError):
        rules_of([rule])

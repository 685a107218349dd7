"""How a stream may end once content has left: completely, or with one error event; never with a false label (I8, I17, I18)."""

from __future__ import annotations

import pytest
from gateway_faults import CUTS, DIALECTS
from gateway_lab import Lab
from gateway_raw import Response, ask
from gateway_router import Router, until


def _check_cut(answer: Response) -> None:
    """The stream is a prefix of an answer and ends with exactly one error event."""
    assert answer.status == 200
    *before, last = answer.events
    assert "error" in last and "choices" not in last
    assert last["error"]["code"] and last["error"]["request_id"] == answer.id
    assert last["error"]["origin"] == "provider"
    assert not [e for e in before if e == "[DONE]" or "error" in e]
    assert answer.finishes == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("number", "name", "rule", "outcomes"), CUTS, ids=[c[1] for c in CUTS])
def test_f44_a_stream_cut_after_content_ends_with_one_error_and_is_not_sent_again(
    router: Router, lab: Lab, dialect: str, number: int, name: str, rule: object, outcomes: tuple[str, ...]
) -> None:
    answer = ask(router, f"{dialect}/cut-{name}", stream=True)
    _check_cut(answer)
    assert answer.text
    booked = router.settled(answer.id)
    assert booked.outcome in outcomes
    assert booked.status == 200
    (attempt,) = booked.attempts  # I8
    assert attempt.outcome in outcomes
    assert attempt.usage.source == "estimated" and attempt.charge_state == "estimated"
    assert attempt.usage.output_tokens > 0 and attempt.charge_nano > 0
    assert len(lab.served(answer.id)) == 1


def test_f45_the_idle_limit_ends_a_stalled_stream_in_time(router: Router) -> None:
    answer = ask(router, "openai/cut-stall", stream=True)
    booked = router.settled(answer.id)
    assert booked.outcome == "stalled"
    assert 250 <= booked.total_ms < 700  # the route's idle_ms is 300


@pytest.mark.parametrize("dialect", DIALECTS)
def test_i06_an_interrupted_stream_is_booked_near_what_the_provider_made(
    router: Router, lab: Lab, dialect: str
) -> None:
    answer = ask(router, f"{dialect}/cut-late", stream=True)
    (attempt,) = router.settled(answer.id).attempts
    (served,) = lab.served(answer.id)
    assert attempt.usage.source == "estimated"
    assert served.written_tokens == 60
    assert abs(attempt.usage.output_tokens - served.written_tokens) <= max(2, 0.05 * served.written_tokens)


def test_f47_one_malformed_event_is_relayed_as_it_came_on_the_same_wire(router: Router) -> None:
    answer = ask(router, "openai/late-garbage", stream=True)
    assert answer.done and answer.finishes == ["stop"]
    assert b'data: {"id": "chatcmpl-1", "cho\n\n' in answer.body
    assert router.settled(answer.id).outcome == "ok"


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_f47_one_malformed_event_is_an_error_when_the_wires_differ(router: Router, dialect: str) -> None:
    answer = ask(router, f"{dialect}/late-garbage", stream=True)
    _check_cut(answer)
    assert router.settled(answer.id).outcome == "broken"


def test_f49_any_legal_line_ends_give_the_same_answer(router: Router) -> None:
    plain = ask(router, "openai-m", stream=True)
    for style in ("crlf", "cr", "bom", "comments"):
        answer = ask(router, f"openai/{style}", stream=True)
        assert answer.done and answer.finishes == ["stop"], style
        assert [e.keys() for e in answer.events[:3]] == [e.keys() for e in plain.events[:3]], style
        assert b"\r" not in answer.body and b"\xef\xbb\xbf" not in answer.body, style
        booked = router.settled(answer.id)
        assert (booked.outcome, booked.charge_state) == ("ok", "measured"), style


def test_f48_bytes_that_come_one_by_one_give_the_same_answer(router: Router, lab: Lab) -> None:
    for dialect in DIALECTS:
        answer = ask(router, f"{dialect}/slices", stream=True, text="Привет, как дела? 你好")
        assert answer.done and answer.finishes == ["stop"]
        attempt = router.settled(answer.id).attempts[-1]  # a pooled connection may have been gone (f07)
        (served,) = until(lambda id=answer.id: lab.served(id))  # the provider's last bytes come behind [DONE]
        assert attempt.usage.output_tokens == served.completion_tokens
        assert "\ufffd" not in answer.text


def test_f50_upstream_comments_never_become_data(router: Router) -> None:
    for dialect in DIALECTS:
        answer = ask(router, f"{dialect}/comments", stream=True)
        assert answer.done
        assert b"PROCESSING" not in answer.body


def test_f51_no_id_field_and_only_whole_events_leave(router: Router) -> None:
    for model in ("openai-m", "anthropic-m", "gemini-m"):
        answer = ask(router, model, stream=True)
        assert b"\nid:" not in answer.body and not answer.body.startswith(b"id:")
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert all(chunk.endswith(b"\n\n") for chunk in answer.chunks)  # I17: whole events only


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_f53_a_stream_without_its_terminal_marker_is_not_complete(router: Router, dialect: str) -> None:
    answer = ask(router, f"{dialect}/no-done", stream=True)
    assert not answer.done and "error" in answer.events[-1]
    assert router.settled(answer.id).outcome == "truncated"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_f53_a_stream_without_a_finish_reason_is_an_error_and_not_stop(router: Router, dialect: str) -> None:
    answer = ask(router, f"{dialect}/no-finish", stream=True)
    _check_cut(answer)
    assert router.settled(answer.id).outcome in ("truncated", "broken")


def test_f53_a_second_finish_does_not_give_a_second_end(router: Router) -> None:
    for dialect in DIALECTS:
        answer = ask(router, f"{dialect}/double-finish", stream=True)
        assert answer.events.count("[DONE]") == 1 and answer.done
        assert router.settled(answer.id).outcome == "ok"


def test_f55_a_limit_reached_stays_length(router: Router) -> None:
    for model in ("openai-m", "anthropic-m", "gemini-m"):
        answer = ask(router, model, stream=True, max_tokens=5)
        assert answer.finishes == ["length"] and answer.done
        whole = ask(router, model, max_tokens=5)
        assert whole.json["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["no-usage", "bad-usage"])
def test_f28_usage_that_is_missing_or_impossible_is_estimated_and_never_free(
    router: Router, dialect: str, name: str, stream: bool
) -> None:
    answer = ask(router, f"{dialect}/{name}", stream=stream)
    assert answer.status == 200
    booked = router.settled(answer.id)
    (attempt,) = booked.attempts
    assert attempt.usage.source == "estimated"
    assert booked.charge_state == "estimated"
    assert booked.charge_nano > 0
    assert attempt.usage.output_tokens <= 100_000_000


def test_f23_a_reply_cut_by_the_providers_filter_says_so(router: Router) -> None:
    for dialect in DIALECTS:
        whole = ask(router, f"{dialect}/filtered")
        assert whole.json["choices"][0]["finish_reason"] == "content_filter"
        stream = ask(router, f"{dialect}/filtered", stream=True)
        assert stream.finishes == ["content_filter"]


def test_f30_the_model_that_really_served_is_booked(router: Router) -> None:
    for dialect in ("openai", "anthropic", "gemini"):
        for stream in (False, True):
            answer = ask(router, f"{dialect}/other-model", stream=stream)
            (attempt,) = router.settled(answer.id).attempts
            assert attempt.served_model == "another-model"
            assert attempt.model == "other-model"


def test_f31_tool_arguments_that_are_not_json_pass_as_they_are(router: Router) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    answer = ask(router, "openai/bad-tool-json", text="use the tool look", tools=tools)
    (call,) = answer.json["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"].endswith("oops")
    assert router.settled(answer.id).outcome == "ok"


def test_f07_a_stale_pooled_connection_is_sent_again_once_and_booked(router: Router, lab: Lab, start_router) -> None:  # type: ignore[no-untyped-def]
    answer = ask(router, "openai-m")
    assert answer.status == 200
    lab.down("openai")
    lab.up("openai")
    again = ask(router, "openai-m")
    assert again.status == 200
    booked = router.settled(again.id)
    assert booked.outcome == "ok"
    assert [a.outcome for a in booked.attempts] in (["ok"], ["stale", "ok"])
    assert all(a.charge_nano == 0 for a in booked.attempts if a.outcome == "stale")

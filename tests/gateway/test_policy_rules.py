"""Rules at the front door: the dry run says what happens, what fails is booked, and whoever asks is told why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gateway_lab import Lab
from gateway_policy import CODE, PROSE, dry, routes, settled, went
from gateway_raw import Wire, ask, chat_body, fetch, post
from gateway_router import Router

from pointsman.core.entry import decision_of
from pointsman.core.options import options_of
from pointsman.strategies import STRATEGIES

Start = Callable[..., Router]
# Holds for nobody the probes know, and cannot be evaluated for who has a long name that is no key of the metadata.
FAILS = 'size(request.user) > 40 && request.metadata[request.user] == "x"'
NAME = "n" * 41
CONFIG: dict[str, Any] = {
    "inner": {"candidates": ["good"], "rules": [{"when": FAILS, "use": "free"}]},
    "outer": {"rules": [{"when": 'request.user == "ann"', "use": "free"}, {"use": "inner"}]},
    "helped": {"candidates": ["good"], "rules": [{"when": FAILS, "use": "free"}], "degrade": [{"reply": "Sorry."}]},
    "tagged": {
        "candidates": ["cheap"],
        "tags": ["route"],
        "rules": [{"when": '"vip" in request.tags', "candidates": ["good"], "tags": ["by-rule"]}],
    },
    "auto": {
        "rules": [
            {"when": "features.code", "use": "good"},
            {"when": "features.input_tokens > 2000", "candidates": ["cheap"], "strategy": "cheapest"},
            {"when": 'request.temperature > 1.0 || request.user == "ann"', "use": "weighed"},
            {"use": "floor"},
        ]
    },
    "weighed": {"candidates": ["good", "cheap", "free"], "objective": {"quality": 1, "cost": 1, "half_usd": 0.001}},
    "floor": {"candidates": ["free", "cheap"], "strategy": "best", "quality_floor": 0.9, "relax": ["quality_floor"]},
    "sticky": {"candidates": ["cheap", "good"], "sticky": "conversation", "split": {
        "by": "user", "arms": {"a": {"weight": 1}, "b": {"weight": 1, "use": "floor"}}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Router(routes(lab, CONFIG), tmp_path_factory.mktemp("rules")) as running:
        yield running
        running.check_quiet()


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_rule_that_fails_refuses_the_request_names_itself_and_is_booked(router: Router, stream: bool) -> None:
    answer = ask(router, "outer", user=NAME, stream=stream)
    assert (answer.status, answer.error["code"], answer.error["origin"]) == (500, "rule_failed", "router")
    assert "rule 1 of `inner`" in answer.error["message"] and answer.headers["x-should-retry"] == "false"
    booked = settled(router, answer)
    assert (booked.outcome, booked.status, booked.attempts) == ("rule_failed", 500, ())
    decision, hold = decision_of(router.admitted(answer.id), options_of(router.policy, STRATEGIES, _ruleset()))
    assert (decision.order, decision.reason, hold) == ((), "nobody:rule", 0)
    assert went(ask(router, "outer", user="ann")) == "free"  # a rule above it is not touched
    assert went(ask(router, "outer", user=NAME, metadata={NAME: "x"})) == "free"
    assert went(ask(router, "outer", user=NAME, metadata={NAME: "y"})) == "good"


def _ruleset() -> Any:
    from pointsman.config.expressions import ruleset

    return ruleset


def test_a_rule_that_fails_may_be_answered_by_the_ladder_but_is_booked_as_what_it_was(router: Router) -> None:
    answer = ask(router, "helped", user=NAME)
    booked = settled(router, answer)
    assert booked.attempts == () and answer.headers["x-pointsman-degraded"] in ("reply", "no")
    decision, _ = decision_of(router.admitted(answer.id), options_of(router.policy, STRATEGIES, _ruleset()))
    assert decision.reason == "nobody:rule"


def test_no_text_of_a_client_becomes_a_header_of_ours(router: Router) -> None:
    evil = NAME + "\r\nx-evil: 1\r\n\r\n<html>\u2028"
    answer = ask(router, "inner", user=evil, pointsman={"explain": True})
    assert answer.status == 500 and "x-evil" not in answer.headers
    assert answer.headers["x-pointsman-why"].isascii()
    for session in ("a\r\nb", "é\u2028"):
        assert ask(router, "sticky", pointsman={"session": session, "explain": True}).status == 200


def test_tags_and_session_stand_in_the_books(router: Router) -> None:
    plain = ask(router, "tagged", pointsman={"tags": ["mine", "other"], "session": "s-9"})
    vip = ask(router, "tagged", pointsman={"tags": ["vip"]})
    assert (went(plain), went(vip)) == ("cheap", "good")
    record = router.admitted(plain.id)
    assert (record.tags, record.session) == (("route", "mine", "other"), "s-9")
    assert router.admitted(vip.id).tags == ("by-rule", "vip")


@pytest.mark.parametrize(
    "options",
    [
        {"tags": "one"}, {"tags": ["x"] * 17}, {"tags": [""]}, {"tags": [1]}, {"session": "s" * 257}, {"session": 1},
        {"explain": "yes"}, {"sesion": "s"}, {"tags": ["x" * 1_000]},
    ],
    ids=str,
)  # fmt: skip
def test_router_options_that_are_none_are_refused_by_name(router: Router, options: dict[str, Any]) -> None:
    answer = ask(router, "tagged", pointsman=options)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")
    assert "pointsman" in answer.error["message"]


def test_the_long_reason_is_told_on_request_only(router: Router) -> None:
    assert "x-pointsman-why" not in ask(router, "auto", text=CODE).headers
    for stream in (False, True):
        why = ask(router, "auto", text=CODE, stream=stream, pointsman={"explain": True}).headers["x-pointsman-why"]
        assert why.startswith("auto rule 1. Route good: priority chose good") and "1 eligible of 1 candidate" in why
    why = ask(router, "auto", pointsman={"explain": True}).headers["x-pointsman-why"]
    assert "auto rule 4" in why and "gave up quality_floor" in why
    plain = ask(router, "weighed", pointsman={"explain": True}).headers["x-pointsman-why"]
    assert plain.startswith("Route weighed: objective chose")


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("auto", {"text": CODE}),
    ("auto", {"text": "sea " * 3_000}),
    ("auto", {"text": PROSE, "temperature": 1.5}),
    ("auto", {"text": PROSE, "user": "ann"}),
    ("auto", {"text": PROSE, "stream": True}),
    ("weighed", {"text": PROSE, "max_tokens": 900}),
    ("floor", {"text": CODE}),
    ("tagged", {"pointsman": {"tags": ["vip"]}}),
    ("sticky", {"user": "u1"}),
    ("sticky", {"user": "u2", "text": "again"}),
    ("inner", {"user": NAME}),
    ("outer", {"user": "ann"}),
    ("good", {}),
    ("openai/m", {}),
]


@pytest.mark.parametrize(("model", "more"), ASKED, ids=[f"{i}-{name}" for i, (name, _) in enumerate(ASKED)])
def test_the_dry_run_says_exactly_what_a_request_then_does(
    router: Router, lab: Lab, model: str, more: dict[str, Any]
) -> None:
    records, served = len(router.records()), len(lab.served())
    told = dry(router, model, **more)
    assert (len(router.records()), len(lab.served())) == (records, served)  # nobody called, nothing booked
    answer = ask(router, model, **more)
    headers = answer.headers
    assert told["asked"] == model and told["route"] == headers["x-pointsman-route"]
    assert told["deployment"] == headers.get("x-pointsman-deployment")
    assert told["arm"] == headers.get("x-pointsman-arm", "")
    decision, hold_nano = decision_of(router.admitted(answer.id), options_of(router.policy, STRATEGIES, _ruleset()))
    assert told["path"] == list(decision.path) and told["reason"] == decision.reason
    assert told["plan"] == [decision.candidates[p] for p in decision.order]
    assert told["relaxed"] == [name.replace("quality_min", "quality_floor") for name in decision.relaxed]
    assert told["facts"]["config"] == headers["x-pointsman-config"]
    if told["deployment"] is not None:
        assert told["predicted_usd"] == pytest.approx(hold_nano / 1e9)
        short = decision.reason if not decision.path else f"{', '.join(decision.path)}, {decision.reason}"
        assert headers["x-pointsman-reason"] == short
    else:
        assert told["refused"] == "rule" and told["attempts"] == 0 and told["predicted_usd"] is None


def test_the_dry_run_asks_for_a_key_and_minds_what_it_may_use(router: Router, start_router: Start, lab: Lab) -> None:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("auto"), path="/v1/route", auth=""))
        assert wire.response().status == 401
    for path in ("/route", "/v1/route"):
        with Wire(router.port) as wire:
            wire.send(post(chat_body("nothing"), path=path))
            assert wire.response().error["code"] == "model_not_found"
            wire.send(post(b"{}", path=path))
            assert wire.response().error["code"] == "invalid_request"
    assert fetch(router, "/v1/route").status == 405


def test_the_dry_run_shows_what_the_ladder_would_do(router: Router) -> None:
    told = dry(router, "helped")
    assert told["ladder"] == ["reply"] and told["degraded"] == ""

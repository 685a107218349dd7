"""`on` in the file: who goes on after which end, by name of a deployment or a route; what cannot be meant is told."""

from __future__ import annotations

import pytest

from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError
from pointsman.core.policy import Policy

HEAD = """deployments:
  a: {provider: openai, model: gpt-4o}
  b: {provider: openai, model: gpt-4o-mini}
  c: {provider: openai, model: gpt-4.1}
routes:
"""
ENV = {"OPENAI_API_KEY": "sk-canary-1"}


def load(routes: str) -> Policy:
    return load_text(HEAD + routes, "t.yaml", ENV).policy


def problems(routes: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(routes)
    return [str(problem).partition("t.yaml:")[2] for problem in caught.value.problems]


def test_a_route_stands_for_its_candidates_and_each_name_is_taken_once() -> None:
    policy = load(
        "  r: {candidates: [a], on: {content_filter: [spare, c], rate_limited: [b]}}\n  spare: {candidates: [c, b]}\n"
    )
    assert policy.routes["r"].on == {"content_filter": ("c", "b"), "rate_limited": ("b",)}


def test_a_rule_has_it_from_its_route_or_sets_its_own() -> None:
    policy = load(
        "  r:\n    candidates: [a]\n    on: {timeout: [b]}\n    rules:\n"
        "      - {when: request.stream, strategy: fastest}\n"
        "      - {when: 'request.model == \"x\"', on: {timeout: [c]}}\n"
    )
    assert [policy.routes[name].on["timeout"] for name in ("r", "r#1", "r#2")] == [("b",), ("b",), ("c",)]


def test_what_only_on_names_is_used() -> None:
    text = HEAD + "  r: {candidates: [a, b], on: {timeout: [c]}}\n"
    assert not [one for one in load_text(text, "t.yaml", ENV).warnings if "unused" in one.message]


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ("  r: {candidates: [a], on: {timeout: [nobody]}}", "6:39: routes.r.on.timeout[0]: unknown deployment or route"),
        ("  r: {candidates: [a], on: {timeout: [b, b]}}", '6:42: routes.r.on.timeout[1]: "b" is listed twice.'),
        ("  r: {candidates: [a], on: {timeout: [r]}}", "6:39: routes.r.on.timeout[0]: is the route itself."),
        ("  r: {candidates: [a], on: {timeout: []}}", "6:38: routes.r.on.timeout: "),
        ("  r: {candidates: [a], on: {tired: [b]}}", "6:29: routes.r.on.tired: "),
        (
            "  r: {candidates: [a], on: {timeout: [s]}}\n  s: {rules: [{use: a}]}",
            '6:39: routes.r.on.timeout[0]: route "s" has no candidates of its own. Name deployments.',
        ),
        (
            "  r: {rules: [{use: a}], on: {timeout: [b]}}",
            "6:26: routes.r.on: needs candidates of the route itself, whose ends it is about.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told_with_its_place(routes: str, said: str) -> None:
    found = problems(routes + "\n")
    assert any(one.startswith(said) for one in found), found

"""Conditions: judged at load, evaluated in order, the same answer for the same facts, quick."""

from __future__ import annotations

import subprocess
import sys
import timeit
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.config.conditions import Surroundings, faults, needs_of
from pointsman.config.expressions import ExpressionError, ruleset
from pointsman.core.facts import BY_DEPLOYMENT, FACTS, RuleError

AROUND = Surroundings(("sonnet", "luna"), ("x-team",))

# (condition, what is said of it)
FAULTY = [
    ('caller.tem == "a"', 'unknown fact "caller.tem" at character 1. Did you mean "caller.team"?'),
    ('"Ä" == caller.tem', 'unknown fact "caller.tem" at character 8. Did you mean "caller.team"?'),
    ('features.code &&\n caller.tem == "x"', 'unknown fact "caller.tem" at character 19. Did you mean "caller.team"?'),
    (
        'caller == "a"',
        'unknown fact "caller" at character 1. '
        "Its facts: caller.key, caller.project, caller.team, caller.organisation, caller.tier.",
    ),
    ("foo > 3", 'unknown fact "foo" at character 1. docs/policies.md lists the facts.'),
    ("caller.team.contain('a')", 'there is no function "contain" at character 13. Did you mean "contains"?'),
    (
        "now() > 3",
        'there is no function "now" at character 1. '
        "There are size, matches, startsWith, endsWith, contains, has, exists and the others of CEL.",
    ),
    ('caller.team.startsWith("a", "b")', '"startsWith" at character 13 does not take these values.'),
    (
        "features.input_tokens > 1.5",
        '">" at character 23 does not go with int and double. '
        "Write 1000 with whole numbers and 1000.0 with others, or double(...) around one.",
    ),
    (
        'features.code == "yes"',
        '"==" at character 15 does not go with bool and string. '
        "A fact that is true or false stands for itself, with ! before it for the contrary.",
    ),
    ("features.code and true", 'unexpected "and" at character 15. Write &&.'),
    ('caller.team = "a"', 'unexpected "=" at character 13. Write == to compare.'),
    ('caller.team == "a', "the text at character 16 is not closed."),
    ("features.code &&", "ends too early."),
    ("if features.code", '"if" at character 1 is a reserved word.'),
    ('caller.team.x == "a"', "a string at character 12 has no members."),
    ("caller.team", "is of type string; a condition must be true or false."),
    ("dyn(features.code)", "is of type dyn; a condition must be true or false."),
    ("(" * 40 + "features.code" + ")" * 40, "is nested too deeply: at most 32 levels."),
    ("features.code\0", "has a control character."),
    ('features.category == "coding"', 'features.category is never "coding". Did you mean "code"?'),
    ("true", "holds always. Leave `when` out."),
    ("false", "is a dead rule: it never holds."),
    ("1 == 1", "is a dead rule: it looks at no fact, so it never holds or always does."),
    (
        'request.metadata["x"] == "y"',
        'fails when request.metadata has no "x". Write "x" in request.metadata && ... before it.',
    ),
    (
        'caller.team == "support" && request.metadata.x == "y"',
        'fails when request.metadata has no "x". Write "x" in request.metadata && ... before it.',
    ),
    (
        'request.tags[2] == "a"',
        "fails when request.tags has no element 2. Write size(request.tags) > 2 && ... before it.",
    ),
    ("10 / time.hour > 2", "fails on some requests: division by zero. Test that the divisor is not 0 before it."),
    ("int(request.user) > 3", "fails on some requests: cannot convert string to int."),
    ("features.turns * 9223372036854775807 > 3", "fails on some requests: integer overflow."),
    ("caller.team.matches(caller.key)", "the pattern of matches at character 13 must be a text in quotes."),
    ('matches(caller.team, "a" + caller.key)', "the pattern of matches at character 1 must be a text in quotes."),
    ('caller.team.matches("a(")', "the pattern at character 21 is no regular expression (RE2): missing ): a(."),
    ('health.breaker["sonet"] == "open"', 'unknown deployment "sonet" at character 16. Did you mean "sonnet"?'),
    ("health.ttft_ms.sonet > 1.0", 'unknown deployment "sonet" at character 16. Did you mean "sonnet"?'),
    (
        '"x-tem" in request.headers',
        'the header "x-tem" at character 1 is not among server.rule_headers. Did you mean "x-team"?',
    ),
    (
        'request.headers["X-Team"] == "a"',
        'the header "X-Team" at character 17 is not among server.rule_headers. Names of headers are lower-case here.',
    ),
]
FINE = [
    'caller.team in ["a", "b"] && !features.code',
    "caller . team == 'a' // with a comment",
    '"x" in request.metadata && request.metadata["x"] == "y"',
    'has(request.metadata.x) && request.metadata.x == "y"',
    'size(request.tags) > 0 && request.tags[0] == "a"',
    'request.tags.exists(tag, tag.startsWith("team-"))',
    'caller.team.matches("^(a|b).*$") || matches(caller.key, r"\\d+")',
    'health.breaker["sonnet"] == "open" || health.ttft_ms_p95.luna > 800.0',
    '"x-team" in request.headers && request.headers["x-team"] == "core"',
    "time.hour >= 9 && time.hour < 17 && time.weekday <= 5",
    'request.temperature > 1.0 ? features.turns > 3 : request.kind == "chat"',
    "time.hour != 0 && 24 / time.hour > 2",
    "budget.day_used > 0.9 || budget.day_usd >= double(features.turns)",
    'request.metadata.exists(key, request.metadata[key] == "a")',
]


def said_of(when: str) -> str:
    found = faults([when], AROUND)
    return f"{found[0].message} {found[0].hint}".strip() if found else ""


@pytest.mark.parametrize(("when", "said"), FAULTY, ids=[when[:40] for when, _ in FAULTY])
def test_a_condition_that_may_fail_is_refused_at_load(when: str, said: str) -> None:
    assert said_of(when) == said


@pytest.mark.parametrize("when", FINE)
def test_a_condition_that_cannot_fail_is_taken(when: str) -> None:
    assert said_of(when) == ""


def test_what_stands_behind_a_rule_that_takes_all_is_dead() -> None:
    found = faults(["features.code", "features.code // again", "", 'caller.team == "a"'], AROUND)
    assert [(fault.index, fault.message) for fault in found] == [
        (1, "is a dead rule: rule 1 above it has the same condition."),
        (3, "is a dead rule: rule 3 above it holds always."),
    ]


@pytest.mark.parametrize(
    ("when", "needs"),
    [
        ("features.images", ["features.images"]),
        ("features.tools && features.turns > 2 && features.audio", ["features.tools", "features.audio"]),
        ("features.images || features.code", []),
        ("!features.images", []),
        ("features.images ? features.code : true", []),
        ("(features.images || features.code) && features.files", ["features.files"]),
        ('caller.team == "a && features.images"', []),
    ],
)
def test_the_capabilities_a_condition_demands(when: str, needs: list[str]) -> None:
    assert needs_of(when) == needs


def test_the_first_condition_that_holds_decides() -> None:
    rules = ruleset(("features.code", 'caller.team == "a"', ""))
    assert rules.names == {"features.code", "caller.team"}
    assert rules.match({"features.code": True, "caller.team": "a"}) == 0
    assert rules.match({"features.code": False, "caller.team": "a"}) == 1
    assert rules.match({"features.code": False, "caller.team": "b"}) == 2
    assert ruleset(("features.code",)).match({"features.code": False}) == -1


def test_many_conditions_and_deep_ones_are_asked_in_order() -> None:
    deep = [f"{'!' * 2}({'(' * 20}features.turns == {i}{')' * 20})" for i in range(40)]
    plain = [f"features.turns == {i}" for i in range(40, 100)]
    rules = ruleset((*deep, *plain))
    assert [rules.match({"features.turns": i}) for i in (0, 39, 40, 77, 99, 100)] == [0, 39, 40, 77, 99, -1]


def test_a_rule_that_holds_always_needs_no_library_and_no_facts() -> None:
    code = (
        "import sys; from pointsman.config.expressions import ruleset; r = ruleset(('',)); "
        "print(r.match({}), sorted(r.names), [m for m in ('cel_expr_python', 'pydantic', 'yaml') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "0 [] []\n"
    assert ruleset(()).match({}) == -1


def test_whole_numbers_do_for_facts_that_are_none() -> None:
    rules = ruleset(('budget.day_used > 0.5 || health.ttft_ms["a"] > 1.0',))
    assert rules.match({"budget.day_used": 1, "health.ttft_ms": {"a": 0}}) == 0
    assert rules.match({"budget.day_used": 0, "health.ttft_ms": {"a": 2}}) == 0


@pytest.mark.parametrize(
    ("facts", "index"),
    [
        ({"features.turns": 2, "request.metadata": {}}, 1),
        ({"features.turns": "many", "request.metadata": {"x": "y"}}, 0),
        ({"features.turns": 1 << 70, "request.metadata": {"x": "y"}}, 0),
        ({"features.turns": 2, "request.metadata": {"x": 3}}, 1),
        ({"features.turns": 2, "request.metadata": {"x": "\ud800"}}, 1),
        ({"request.metadata": {"x": "y"}}, 0),
    ],
)
def test_facts_that_do_not_fit_are_an_error_with_the_rule(facts: dict[str, Any], index: int) -> None:
    rules = ruleset(("features.turns == 1", 'request.metadata["x"] == "z"', ""))
    with pytest.raises(RuleError) as caught:
        rules.match(facts)
    assert caught.value.index == index and str(caught.value)


def test_a_text_with_a_nul_is_not_another_text() -> None:
    rules = ruleset(('request.user == "admin"', '"a" in request.tags', 'request.metadata == {"a": "b"}'))
    facts = {"request.user": "admin\0x", "request.tags": ["a\0"], "request.metadata": {"a": "b\0", "a\0": "b"}}
    assert rules.match(facts) == -1


def test_a_text_that_is_no_condition_is_not_compiled() -> None:
    for when in ("features.code)", "features.code) ? 0 : (true", "features.turns"):
        with pytest.raises(ExpressionError):
            ruleset((when,))


TEXTS = st.sampled_from(["", "a", "b", "x", "support", "team-1", "core"]) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=20
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "bool": st.booleans(),
    "int": st.integers(0, 100_000_000),
    "double": st.floats(allow_nan=True) | st.integers(-9, 9),
    "list(string)": st.lists(TEXTS, max_size=5),
    "map(string, string)": st.dictionaries(TEXTS, TEXTS, max_size=5),
    "map(string, double)": st.fixed_dictionaries(dict.fromkeys(AROUND.deployments, st.floats())),
}
BREAKERS = st.fixed_dictionaries(dict.fromkeys(AROUND.deployments, st.sampled_from(["closed", "open", "cooling"])))


def any_facts() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: BREAKERS if name == "health.breaker" else VALUES[fact.type] for name, fact in FACTS.items()}
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FINE), max_size=8), any_facts())
def test_conditions_that_were_taken_answer_any_request_and_always_alike(
    whens: list[str], facts: dict[str, Any]
) -> None:
    rules = ruleset(tuple(whens))
    asked = {name: facts[name] for name in rules.names}
    index = rules.match(asked)
    assert -1 <= index < len(whens)
    assert rules.match(dict(asked)) == ruleset(tuple(whens)).match(asked) == index
    alone = [ruleset((when,)) for when in whens]
    holds = [one.match({name: facts[name] for name in one.names}) == 0 for one in alone]
    assert index == (holds.index(True) if True in holds else -1)


WORDS = st.sampled_from(
    [*FACTS, "&&", "||", "!", "(", ")", "==", "<", '"a"', "1", "1.0", "[", "]", "?", ":", "in", "."]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=40))
def test_any_text_is_judged(when: str) -> None:
    found = faults([when], AROUND)
    if not found:
        ruleset((when,)).match({name: FACTS[name].empty for name in ruleset((when,)).names - BY_DEPLOYMENT})


def twenty() -> tuple[Any, dict[str, Any]]:
    kinds = [
        'caller.team == "support%d"',
        "features.code && features.input_tokens > %d000",
        'caller.tier == "gold%d" || features.images',
        "budget.day_used > 0.9%d",
        '"k%d" in request.metadata',
    ]
    rules = ruleset(tuple(kinds[i % 5] % i for i in range(20)))
    facts = {name: FACTS[name].empty for name in rules.names} | {
        "caller.team": "research",
        "request.metadata": {"x": "y"},
    }
    return rules, facts


def test_twenty_conditions_cost_little() -> None:
    rules, facts = twenty()
    assert rules.match(facts) == -1
    us = min(timeit.repeat(lambda: rules.match(facts), number=500, repeat=9)) / 500 * 1e6
    print(f"20 conditions over {len(facts)} facts: {us:.1f} us")
    assert us < 100  # some 10 us on a machine of its own

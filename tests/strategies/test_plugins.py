"""Plug-ins: found by entry points, tried when a policy is loaded, and watched while they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_plugins import Installed
from policy_makers import deployment, options, request, snapshot

from pointsman.core.decide import decide, first_noted
from pointsman.core.facts import Fact
from pointsman.core.health import State
from pointsman.core.options import Options
from pointsman.core.policy import Policy, Provider, Route
from pointsman.core.strategy import Ranking, Strategy
from pointsman.strategies import STRATEGIES, guard, plugins
from pointsman.strategies.guard import Failed, Guards
from pointsman.strategies.plugins import PluginError, check, check_fact, strategies_of

CONFIG = """
providers:
  up: {dialect: openai, base_url: "http://127.0.0.1:9/v1"}
deployments:
  a: {provider: up, model: a}
  b: {provider: up, model: b}
routes:
"""


# --- what authors call
def ranks(change: Callable[[tuple[int, ...]], Any]) -> Callable[..., Any]:
    return lambda options, eligible, features, snapshot: change(eligible)


def good(eligible: tuple[int, ...]) -> Ranking:
    return Ranking(eligible, (1.0,) + (0.0,) * (len(eligible) - 1), (0.0,) * len(eligible))


def zeros(eligible: tuple[int, ...]) -> tuple[float, ...]:
    return (0.0,) * len(eligible)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_our_own_strategies_pass_the_check_of_plug_ins(name: str) -> None:
    check(STRATEGIES[name].rank, most_ms=100.0)


BAD: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "answered tuple, not a Ranking": lambda e: e,
    "are not a tuple": lambda e: Ranking(list(e), good(e).probabilities, zeros(e)),  # type: ignore[arg-type]
    "each once": lambda e: good((e[0],) * len(e)) if len(e) > 1 else good(e),
    "eligible positions": lambda e: good((*e, 4)) if 4 not in e else good(e),
    "stand beside the order": lambda e: Ranking(e, (1.0,), zeros(e)),
    "no number": lambda e: Ranking(e, good(e).probabilities, (float("nan"),) * len(e)),
    "do not sum to 1": lambda e: Ranking(e, (0.5,) * len(e), zeros(e)) if len(e) != 2 else good(e),
    "are negative": lambda e: Ranking(e, (2.0, -1.0), zeros(e)) if len(e) == 2 else good(e),
    "no chance of being first": lambda e: Ranking(e, (0.0, 1.0), zeros(e)) if len(e) == 2 else good(e),
    "raised ZeroDivisionError": lambda e: 1 / 0,
    "raised SystemExit": lambda e: exit(1),
}


@pytest.mark.parametrize("said", BAD)
def test_the_check_says_what_a_strategy_did_wrong(said: str) -> None:
    with pytest.raises(PluginError, match=said):
        check(ranks(BAD[said]))


def test_the_check_refuses_chance_of_its_own_and_slowness() -> None:
    turn = iter(range(10**6))
    moody = ranks(lambda e: Ranking(e, good(e).probabilities, (float(next(turn)),) * len(e)))
    with pytest.raises(PluginError, match="otherwise when asked the same again"):
        check(moody)
    with pytest.raises(PluginError, match="ms is the most"):
        check(STRATEGIES["priority"].rank, most_ms=0.0)


class Given:
    """A fact that always has one value."""

    def __init__(self, fact: Any, value: Any) -> None:
        self.fact, self._value = fact, value

    def value(self, case: object) -> Any:
        return self._value


FACT_VALUES = [
    ("string", "x", 7),
    ("string", "x", "\ud800"),
    ("string", "x", "x" * 5000),
    ("bool", True, 1),
    ("int", -3, 2**63),
    ("int", 3, True),
    ("double", 1, float("inf")),
    ("list(string)", ["a"], ("a",)),
    ("map(string, string)", {"a": "b"}, {"a": 1}),
    ("map(string, double)", {"a": 1.5}, {"a": "b"}),
]


@pytest.mark.parametrize(("kind", "right", "wrong"), FACT_VALUES)
def test_the_check_holds_a_fact_to_its_type(kind: Any, right: Any, wrong: Any) -> None:
    check_fact(Given(Fact(kind, right, "Sample."), right))
    with pytest.raises(PluginError, match="gave a value"):
        check_fact(Given(Fact(kind, right, "Sample."), wrong))
    with pytest.raises(PluginError, match="`empty` is wrong"):
        check_fact(Given(Fact(kind, wrong, "Sample."), right))


def test_the_check_refuses_what_is_no_fact() -> None:
    with pytest.raises(PluginError, match="no `fact`"):
        check_fact(object())
    with pytest.raises(PluginError, match="its type is none of"):
        check_fact(Given(Fact("number", 1, "Sample."), 1))  # type: ignore[arg-type]


# --- the guard
class Clock:
    now_s = 0.0
    cpu_s = 0.0
    waits = 0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def guarded(capfd: pytest.CaptureFixture[str]) -> tuple[Guards, Clock]:
    clock = Clock()
    found = Guards(clock, lambda: (clock.cpu_s, clock.waits))
    found.enforced = True
    return found, clock


def fails() -> int:
    raise ValueError("secret")


def calls(found: Guards, ask: Callable[[], int]) -> str:
    try:
        return str(found.call("acme", ask, lambda answer: "answered 0" if answer == 0 else ""))
    except Failed as error:
        return str(error)


def test_three_strikes_disable_a_plug_in_for_a_minute_and_then_it_is_tried_again(
    guarded: tuple[Guards, Clock], capfd: pytest.CaptureFixture[str]
) -> None:
    found, clock = guarded

    def slow() -> int:
        clock.now_s += 0.006
        clock.cpu_s += 0.006
        return 5

    assert [calls(found, ask) for ask in (fails, lambda: 0, slow)] == ["acme raised ValueError", "acme answered 0", "5"]
    assert calls(found, lambda: 1) == "acme is disabled" and found.states() == {"acme": "disabled"}
    clock.now_s += 59.0
    assert calls(found, lambda: 1) == "acme is disabled"
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "acme is disabled for 60 s" in said and "took 6.0 ms" in said
    clock.now_s += 2.0
    assert calls(found, lambda: 1) == "1" and found.states() == {"acme": "ok"}
    assert found.failures == {"acme": 3}
    for _ in range(3):
        calls(found, fails)
    said = capfd.readouterr().err
    assert "raised ValueError at test_plugins.py:" in said and "secret" not in said


def test_a_machine_that_is_busy_with_other_work_is_not_the_plug_ins_fault(guarded: tuple[Guards, Clock]) -> None:
    found, clock = guarded

    def preempted() -> int:
        clock.now_s += 0.05
        return 1

    def asleep() -> int:
        clock.now_s += 0.05
        clock.waits += 1
        return 1

    assert [calls(found, preempted) for _ in range(5)] == ["1"] * 5 and found.failures == {"acme": 0}
    assert [calls(found, asleep) for _ in range(4)] == ["1", "1", "1", "acme is disabled"]


def test_strikes_that_are_far_apart_do_not_disable(guarded: tuple[Guards, Clock]) -> None:
    found, clock = guarded
    for _ in range(10):
        calls(found, fails)
        clock.now_s += 31.0
    assert found.states() == {"acme": "ok"} and found.failures == {"acme": 10}


def test_nothing_is_counted_where_nobody_waits() -> None:
    found = Guards(Clock())
    for _ in range(10):
        assert calls(found, fails) == "acme raised ValueError"
    assert found.failures == {} and not found.resting("acme")


# --- decisions
def route_of(rank: Any, monkeypatch: pytest.MonkeyPatch, fallback: str = "priority") -> tuple[Options, Policy]:
    """Return a route of three candidates whose strategy is a plug-in."""
    monkeypatch.setattr(plugins, "_loaded", lambda kind, name: rank)
    made = [deployment(name) for name in ("a", "b", "c")]
    route = Route(name="r", candidates=("a", "b", "c"), strategy="acme", fallback=fallback, weights=(1.0, 5.0, 1.0))
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    policy = Policy(version="v1", source="t", providers={"p": provider}, deployments=tuple(made), routes={"r": route})
    from pointsman.core.options import options_of

    return options_of(policy, strategies_of(policy))["r"], policy


def again(policy: Policy, rank: Any, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Return the route as a process has it that makes decisions from records."""
    from pointsman.core.options import options_of

    def loaded(kind: str, name: str) -> Any:
        if rank is None:
            raise PluginError("no package that is installed brings it")
        return rank

    monkeypatch.setattr(plugins, "_loaded", loaded)
    return options_of(policy, strategies_of(policy, again=True))["r"]


CALM = (State(), State(), State())


@pytest.mark.parametrize(("fallback", "chosen"), [("priority", 0), ("weighted", 1)])
def test_what_fails_is_replaced_by_the_fallback_and_replayed_without_the_plug_in(
    monkeypatch: pytest.MonkeyPatch, fallback: str, chosen: int
) -> None:
    made, policy = route_of(ranks(BAD["raised ZeroDivisionError"]), monkeypatch, fallback)
    position, noted = first_noted(request(), made, snapshot(CALM))
    assert position == chosen and noted.detail is not None
    assert noted.detail.fallback == "acme raised ZeroDivisionError"
    _, decision = decide(request(), made, noted)
    assert decision.strategy == f"fallback {fallback}: acme raised ZeroDivisionError"
    assert decision.order[0] == chosen
    for rank in (None, ranks(good), ranks(BAD["no number"])):
        assert decide(request(), again(policy, rank, monkeypatch), noted)[1] == decision


def test_a_good_plug_in_ranks_and_its_decisions_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    last = ranks(lambda e: good(e[::-1]))
    made, policy = route_of(last, monkeypatch)
    position, noted = first_noted(request(), made, snapshot(CALM))
    assert position == 2 and noted == snapshot(CALM)
    _, decision = decide(request(), made, noted)
    assert decision.strategy == "acme" and decision.order == (2, 1, 0)
    assert decide(request(), again(policy, last, monkeypatch), noted)[1] == decision
    for rank in (None, ranks(BAD["raised ZeroDivisionError"]), ranks(BAD["each once"])):
        with pytest.raises(LookupError):
            decide(request(), again(policy, rank, monkeypatch), noted)


def test_one_rung_that_fails_makes_the_whole_decision_the_fallbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the record, which says it of the decision as a whole, leads to the same plan."""
    plain = options([deployment("a"), deployment("b"), deployment("c")], explore=0.1)
    rank = ranks(lambda e: 1 / 0 if len(e) == 1 else good(e[::-1]))
    monkeypatch.setattr(plugins, "_loaded", lambda kind, name: rank)
    assert plain.strategy.plugin is False
    from pointsman.core.options import options_of
    from pointsman.core.policy import Rung

    route = Route(
        name="r", candidates=("a", "b"), strategy="acme", explore=0.1, degrade=(Rung(name="rung-1", candidates=("c",)),)
    )
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    made = tuple(deployment(name) for name in ("a", "b", "c"))
    policy = Policy(version="v1", source="t", providers={"p": provider}, deployments=made, routes={"r": route})
    found = options_of(policy, strategies_of(policy))["r"]
    position, noted = first_noted(request(), found, snapshot(CALM))
    assert position == 0 and decide(request(), found, noted)[1].order == (0, 1, 2)
    assert decide(request(), again(policy, None, monkeypatch), noted)[1].strategy.startswith("fallback priority: ")


def test_a_plug_in_strategy_is_known_by_its_mark() -> None:
    assert Strategy("x", STRATEGIES["priority"].rank, STRATEGIES["priority"].draw).plugin is False
    assert guard.STRIKES == 3 and guard.MOST_MS == 5.0


# --- an installed package, by the commands
@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "site")


def checked(installed: Installed, routes: str) -> tuple[int, str]:
    file = installed.folder / "pointsman.yaml"
    file.write_text(CONFIG + routes)
    done = installed.run("check", file)
    return done.returncode, done.stdout + done.stderr


def test_a_policy_that_uses_plug_ins_is_valid(installed: Installed) -> None:
    code, said = checked(
        installed,
        "  r: {candidates: [{a: 2}, b], strategy: acme, fallback: weighted}\n"
        "  s: {candidates: [a], rules: [{when: 'acme.segment == \"gold\"', candidates: [b], strategy: cheapest}]}\n",
    )
    assert code == 0, said
    assert installed.imported


def test_nothing_is_loaded_that_no_policy_uses(installed: Installed) -> None:
    code, said = checked(
        installed, "  r: {candidates: [a], rules: [{when: 'caller.team == \"acme.segment\"', use: b}]}\n"
    )
    assert code == 0 and not installed.imported, said


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("raise", "it raised ValueError"),
        ("exit", "it raised SystemExit"),
        ("slow", "ms; 5 ms is the most"),
        ("wrong", "eligible positions, each once"),
    ],
)
def test_a_strategy_that_fails_the_check_is_a_problem_with_its_place(
    installed: Installed, mode: str, said: str
) -> None:
    installed.now(mode)
    code, told = checked(
        installed, "  r: {candidates: [a, b], strategy: acme}\n  s: {candidates: [a], strategy: acme}\n"
    )
    assert code == 1 and told.count(said) == 2, told
    assert 'pointsman.yaml:8:37: routes.r.strategy: the plug-in "acme" cannot be used: ' in told


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("strategy: acme-moody", "otherwise when asked the same again"),
        ("strategy: gone", "no_such:one cannot be loaded: ModuleNotFoundError"),
        ("strategy: acne", 'unknown strategy "acne". Did you mean "acme"?'),
        ("strategy: acme, fallback: objective", 'unknown fallback "objective"'),
        ("strategy: acme, fallback: acme", 'unknown fallback "acme"'),
        ("fallback: cheapest", 'is for strategies of plug-ins; "priority" does not fail'),
        ("rules: [{when: 'acme.broken == \"x\"', use: b}]", "the fact acme.broken: it has no `fact`"),
        ("rules: [{when: 'request.mine == \"x\"', use: b}]", "the fact request.mine: its name must be"),
        ("rules: [{when: 'acme.segment > 3', use: b}]", "does not go with string and int"),
        ("rules: [{when: 'acme.size > 3', use: b}]", 'unknown fact "acme.size"'),
    ],
)
def test_what_is_wrong_with_a_plug_in_or_its_use_is_told(installed: Installed, route: str, said: str) -> None:
    code, told = checked(installed, f"  r: {{candidates: [a], {route}}}\n")
    assert code == 1 and said in told and "pointsman.yaml:8:" in told, told


@pytest.mark.parametrize(
    ("mode", "said"), [("raise", "it raised ValueError"), ("wrong", "gave a value (int) that is no")]
)
def test_a_fact_that_fails_the_check_is_a_problem(installed: Installed, mode: str, said: str) -> None:
    installed.now(mode)
    code, told = checked(installed, "  r: {candidates: [a], rules: [{when: 'acme.segment == \"x\"', use: b}]}\n")
    assert code == 1 and "pointsman.yaml:8:" in told and said in told, told


def test_a_second_rule_of_the_same_plug_in_condition_is_dead(installed: Installed) -> None:
    rule = "{when: 'acme.segment == \"x\"', use: b}"
    code, told = checked(installed, f"  r: {{candidates: [a], rules: [{rule}, {rule}]}}\n")
    assert code == 1 and "is a dead rule: rule 1 above it has the same condition" in told


def test_two_packages_of_one_name_are_refused(installed: Installed) -> None:
    installed.put("other_plugins", "", {"pointsman.strategies": {"acme": "other_plugins:last"}})
    code, told = checked(installed, "  r: {candidates: [a, b], strategy: acme}\n")
    assert code == 1 and "several packages bring it: acme-plugins, other-plugins" in told


TESTS = """
config: pointsman.yaml
tests:
  - {name: last, request: {model: r}, expect: {deployment: b}}
  - {name: gold, request: {model: s, metadata: {segment: gold}}, expect: {deployment: b, path: [s rule 1]}}
  - {name: silver, request: {model: s, metadata: {segment: silver}}, expect: {deployment: a}}
"""


def test_policy_tests_use_plug_ins_and_their_failure(installed: Installed) -> None:
    routes = (
        "  r: {candidates: [a, b], strategy: acme}\n"
        "  s: {candidates: [a], rules: [{when: 'acme.segment == \"gold\"', candidates: [b]}]}\n"
    )
    assert checked(installed, routes)[0] == 0
    file = installed.folder / "tests.yaml"
    file.write_text(TESTS)
    done = installed.run("test", file)
    assert done.returncode == 0, done.stdout + done.stderr

"""`on`: who goes on when an attempt ended in a certain way, and who is asked at once when it would (fault 21, 23)."""

from __future__ import annotations

import pytest
from policy_makers import NOW_MS, deployment, price, request, snapshot

from pointsman.core.decide import decide, first
from pointsman.core.explain import candidates_of, told
from pointsman.core.filters import Reason
from pointsman.core.health import UNKNOWN, State
from pointsman.core.options import Options, options_of
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Bounds, Policy, Provider, Route, Rung
from pointsman.core.request import NEED_TOOLS, Features
from pointsman.core.run import Run, Send, Stop
from pointsman.strategies import STRATEGIES

ON = {"content_filter": ("free", "b"), "context_length": ("big",), "rate_limited": ("big",), "server_error": ("free",)}
CALM = (UNKNOWN,) * 4
COOLING = State(cool_until_ms=NOW_MS + 9_000)


def made(on: dict[str, tuple[str, ...]] = ON, **route: object) -> Options:
    """Return the Options of a route over a and b, both of a small window, with `big` and `free` aside."""
    small = [deployment(name, price(1, 1), context_tokens=1_000) for name in ("a", "b")]
    others = [deployment("big", price(10**10, 1), context_tokens=100_000), deployment("free", price(1, 1), tools=False)]
    one = Route(name="r", candidates=("a", "b"), on=on, **route)  # type: ignore[arg-type]
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    policy = Policy(
        version="v1", source="t", providers={"p": provider}, deployments=(*small, *others), routes={"r": one}
    )
    return options_of(policy, STRATEGIES)["r"]


def names(options: Options, positions: tuple[int, ...]) -> list[str]:
    return [options.names[p] for p in positions]


def after(options: Options, *kinds: Kind, asked: Features | None = None) -> list[str]:
    """Return the deployments that are tried when the attempts end so."""
    plan, _ = decide(request(asked), options, snapshot((UNKNOWN,) * len(options.names)))
    run = Run(plan)
    effect: Send | Stop = run.begin(NOW_MS)
    tried = []
    for kind in kinds:
        assert isinstance(effect, Send)
        tried.append(options.names[effect.step.position])
        effect = run.ended(effect.step, Outcome(kind), NOW_MS, lambda deployment: True, 0)
    return tried + ([options.names[effect.step.position]] if isinstance(effect, Send) else ["-"])


def test_who_stands_aside_is_never_ranked() -> None:
    options = made()
    assert options.names[:2] == ("a", "b") and set(options.names[2:]) == {"big", "free"}
    for seed in (0.0, 0.5, 0.999):
        plan, decision = decide(request(), options, snapshot(CALM, seed))
        assert names(options, plan.order) == ["a", "b"] and decision.reasons == ()
        assert first(request(), options, snapshot(CALM, seed)) == 0
    told_of = {one.deployment: (one.rank, one.reason) for one in candidates_of(decision)}
    assert told_of == {"a": (1, ""), "b": (2, ""), "big": (None, "aside"), "free": (None, "aside")}
    assert told("r", options, plan, decision)["on"]["rate_limited"] == ["big"]


def test_f23_a_content_filter_is_final_but_for_those_that_on_names() -> None:
    assert after(made({}), Kind.CONTENT_FILTER) == ["a", "-"]
    assert after(made(), Kind.CONTENT_FILTER, Kind.CONTENT_FILTER) == ["a", "free", "b"]
    assert after(made({"content_filter": ("free",)}), Kind.CONTENT_FILTER, Kind.CONTENT_FILTER) == ["a", "free", "-"]
    assert after(made(attempts=1), Kind.CONTENT_FILTER) == ["a", "-"]


def test_f21_what_is_too_long_goes_to_the_named_one() -> None:
    assert after(made(), Kind.CONTEXT_LENGTH) == ["a", "big"]


def test_the_named_come_first_and_the_others_after_them() -> None:
    assert after(made(), Kind.RATE_LIMITED, Kind.TIMEOUT) == ["a", "big", "b"]
    assert after(made(), Kind.TIMEOUT, Kind.SERVER_ERROR) == ["a", "b", "free"]


def test_facts_hold_for_the_named_too() -> None:
    tools = Features(100, needs=NEED_TOOLS)
    assert after(made({"content_filter": ("free",)}), Kind.CONTENT_FILTER, asked=tools) == ["a", "-"]
    dear = made({"content_filter": ("big", "free")}, bounds=Bounds(nano_per_request=1_000))
    assert after(dear, Kind.CONTENT_FILTER, asked=Features(600)) == ["a", "free"]


@pytest.mark.parametrize(
    ("states", "asked", "expected"),
    [
        ((COOLING, COOLING, UNKNOWN, UNKNOWN), Features(100), ["big"]),
        ((COOLING, COOLING, COOLING, COOLING), Features(100), []),
        ((COOLING, UNKNOWN, UNKNOWN, UNKNOWN), Features(100), ["b"]),
        (CALM, Features(50_000), ["big"]),
        ((State(ejections=1, open_until_ms=NOW_MS + 9, why="server_error"),) * 2 + CALM[2:], Features(100), ["free"]),
    ],
)
def test_what_would_end_so_is_not_tried_first(states: tuple[State, ...], asked: Features, expected: list[str]) -> None:
    options = made()
    by_name = dict(zip(("a", "b", "big", "free"), states, strict=True))
    found = snapshot(tuple(by_name[name] for name in options.names))
    plan, decision = decide(request(asked), options, found)
    assert names(options, plan.order) == expected
    assert first(request(asked), options, found) == (plan.order[0] if plan.order else -1)
    assert sum(decision.probabilities) == (1.0 if expected else 0.0)
    if expected:
        assert decision.reasons[plan.order[0]] == ""
    else:
        assert plan.refused == Reason.COOLING and plan.wait_ms > 0


def test_the_named_come_before_the_ladder() -> None:
    options = made({"rate_limited": ("big",)}, degrade=(Rung(name="rung-1", candidates=("free",)),))
    by_name = {"a": COOLING, "b": COOLING, "big": UNKNOWN, "free": UNKNOWN}
    plan, _ = decide(request(), options, snapshot(tuple(by_name[name] for name in options.names)))
    assert names(options, plan.order) == ["big", "free"]

"""Decisions of whole policies: rules, splits, demands, ladders, conversations. Total, deterministic, true, replayable."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_makers import NOW_MS, deployment, options, price, request, snapshot
from random_policies import FAILS, Shape, Situation, shape, situation

from pointsman.config.expressions import ruleset
from pointsman.core import entry
from pointsman.core.case import Said
from pointsman.core.decide import Plan, decide, first
from pointsman.core.entry import Admitted, decision_of, on_trail
from pointsman.core.filters import Reason, any_doubted
from pointsman.core.head import head, head_of, way_of
from pointsman.core.health import UNKNOWN, State
from pointsman.core.options import NO_BOUND, NO_DETAIL, Options, Step, cost_nano, options_of
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Arm, Bounds, Key, Objective, Policy, Provider, Route, Rule, Rung, Split
from pointsman.core.request import Features
from pointsman.core.resolve import arm_at, unit_point
from pointsman.core.routing import Asked, Surroundings, route
from pointsman.core.run import Run, Send, Stop
from pointsman.core.strategy import Snapshot
from pointsman.strategies import STRATEGIES

seeds = st.integers(0, 2**32)
GRID = 20_000  # draws of a frequency
_shapes: dict[int, Shape] = {}


def drawn(seed: int, *, may_fail: bool = False) -> Situation:
    """Return a random request on one of 40 random policies: compiling conditions takes longer than asking them."""
    number = seed % 40 + 40 * may_fail
    if number not in _shapes:
        _shapes[number] = shape(random.Random(number), may_fail=may_fail)
    return situation(random.Random(seed), _shapes[number])


@given(seeds)
def test_i29_any_request_on_any_policy_gets_one_whole_decision_and_the_same_again(seed: int) -> None:
    found = drawn(seed)
    plan, decision = decide(found.request, found.options, found.snapshot)
    assert decide(found.request, found.options, found.snapshot) == (plan, decision)
    reasons = decision.reasons or ("",) * len(decision.candidates)
    assert sorted(decision.order) == [p for p, reason in enumerate(reasons) if reason in ("", Reason.RAMPING)]
    assert len(decision.order) == len(decision.scores) == len(decision.probabilities)
    tiers = [found.options.options[p].tier for p in decision.order]
    assert tiers == sorted(tiers)  # the ladder's candidates stand behind the route's own, rung by rung
    if decision.order:
        first_tier = [c for c, tier in zip(decision.probabilities, tiers, strict=True) if tier == tiers[0]]
        assert all(0.0 <= chance <= 1.0 for chance in decision.probabilities)
        if any_doubted(found.options, tuple(range(len(reasons))), found.snapshot):
            assert sum(decision.probabilities) <= 1.0 + 1e-9  # what is missing is that of who is not tried this time
        else:
            assert sum(first_tier) == pytest.approx(1.0)
            assert set(decision.probabilities[len(first_tier) :]) <= {0.0}
        assert decision.probabilities[0] > 0.0  # what happened was possible
    else:
        assert plan.refused and plan.attempts == 0


@given(seeds)
def test_the_short_way_to_the_first_send_says_what_decide_says_on_any_policy(seed: int) -> None:
    found = drawn(seed)
    order = decide(found.request, found.options, found.snapshot)[1].order
    assert first(found.request, found.options, found.snapshot) == (order[0] if order else -1)


@given(seeds)
def test_nobody_in_the_order_misses_a_demand_that_was_not_given_up(seed: int) -> None:
    found = drawn(seed)
    chosen, bounds = found.options, found.options.bounds
    _, decision = decide(found.request, chosen, found.snapshot)
    if bounds is None:
        assert decision.relaxed == ()
        return
    assert set(decision.relaxed) <= set(bounds.relax)
    stands = msgspec.structs.replace(bounds, **dict.fromkeys(decision.relaxed, None))
    features, spent = found.request.features, (found.snapshot.detail or NO_DETAIL).spent_nano
    for position in decision.order:
        option, state = chosen.options[position], found.snapshot.states[position]
        nano = cost_nano(chosen, position, features, found.snapshot)
        assert stands.nano_per_request is None or 0 <= nano <= stands.nano_per_request
        assert stands.nano_per_day is None or nano == 0 or 0 < nano <= stands.nano_per_day - spent
        if not option.tier:
            assert stands.quality_min is None or chosen.quality[features.category][position] >= stands.quality_min
            trusted = state.sampled >= 5
            assert stands.ttft_ms_p95 is None or not trusted or state.ttft_p95_ms <= stands.ttft_ms_p95


def test_i29_ten_thousand_stored_decisions_are_made_again_to_the_byte() -> None:
    kinds: Counter[str] = Counter()
    for number in range(50):
        chance = random.Random(number)
        made = shape(chance, may_fail=True)
        found = [situation(chance, made) for _ in range(200)]
        records: list[entry.Record] = [one.record for one in found]
        for one, stored in zip(found, entry.decode_records(entry.encode_records(records)), strict=True):
            assert isinstance(stored, Admitted)
            plan, decision = decide(one.request, one.options, one.snapshot)
            told = on_trail(decision, one.routed)
            again, hold_nano = decision_of(stored, made.routes)
            assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(told)
            assert one.routed.error is not None or hold_nano == plan.hold_nano
            (filed,) = entry.decode_filed(entry.encode_records([stored]))
            assert isinstance(filed, entry.Filed)
            way = way_of(stored.asked_model, stored.request.route, made.routes)
            assert head(filed, way) == head_of(again, hold_nano)
            kinds.update(
                rules=any(" rule " in step for step in told.path), arms=bool(told.arm), relaxed=bool(told.relaxed),
                sticky=one.routed.detail.sticky >= 0, nobody=not told.order, failed=one.routed.error is not None,
                timed=one.options.timed_prices,
            )  # fmt: skip
    assert all(kinds[kind] > 100 for kind in ("rules", "arms", "relaxed", "sticky", "nobody", "failed", "timed")), kinds


# --- probabilities are true
EVEN = tuple((n + 0.5) / GRID for n in range(GRID))


def shares(chosen: Options, states: tuple[State, ...]) -> tuple[dict[int, float], dict[int, set[float]]]:
    """Return how often each position is first over a fine grid of draws, and the probabilities that were told of it."""
    count: Counter[int] = Counter()
    told: dict[int, set[float]] = {}
    for seed in EVEN:
        _, decision = decide(request(), chosen, snapshot(states, seed))
        count[decision.order[0]] += 1
        for position, chance in zip(decision.order, decision.probabilities, strict=True):
            told.setdefault(position, set()).add(round(chance, 9))
    return {position: count[position] / GRID for position in told}, told


@pytest.mark.parametrize("explore", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_probabilities_are_those_that_candidates_are_drawn_with(strategy: str, explore: float) -> None:
    made = [deployment(name, price(10**9 * (i + 1), 10**9)) for i, name in enumerate("abcd")]
    weights = (5.0, 1.0, 3.0, 1.0) if strategy == "weighted" else ()
    chosen = options(made, strategy, weights, explore=explore, objective=Objective(cost=1.0, latency=1.0))
    states = tuple(State(ttft_ms=100.0 * i, measured_ms=NOW_MS) for i in (3, 1, 4, 2))
    found, told = shares(chosen, states)
    assert all(len(said) == 1 for said in told.values())  # the same whatever is drawn
    assert {p: said.pop() for p, said in told.items()} == pytest.approx(found, abs=0.001)


def test_probabilities_are_true_when_a_doubted_candidate_is_tried() -> None:
    """One in twenty requests lets through who was slow; both answers must say so, not 1.0."""
    made = [deployment("slow", price(1, 1)), deployment("fast", price(1, 1))]
    chosen = options(made, bounds=Bounds(ttft_ms_p95=500.0))
    states = (State(ttft_p95_ms=900.0, sampled=2, measured_ms=NOW_MS), UNKNOWN)
    expected: Counter[int] = Counter()
    for seed in EVEN:
        _, decision = decide(request(), chosen, snapshot(states, seed))
        expected[decision.order[0]] += 1
        assert decision.probabilities[0] == pytest.approx(0.05 if decision.order[0] == 0 else 0.95, abs=0.01)
    assert expected[0] / GRID == pytest.approx(0.05, abs=0.01)


def test_the_last_seed_there_is_draws_somebody() -> None:
    made = [deployment(name) for name in "abc"]
    for strategy in ("weighted", "fastest", "priority"):
        for explore in (0.0, 0.02, 0.1, 0.3, 0.5):
            chosen = options(made, strategy, explore=explore)
            for seed in (0.0, 1.0 - 2**-53, explore, max(0.0, explore - 2**-54)):
                _, decision = decide(request(), chosen, snapshot((UNKNOWN,) * 3, seed))
                assert len(decision.order) == 3, (strategy, explore, seed)


# --- arms
def _arms(**weights: float) -> Split:
    return Split(by="user", salt="s", arms=tuple(Arm(name=name, weight=w, use=name) for name, w in weights.items()))


def test_units_spread_over_arms_by_the_weights_and_the_probability_says_so() -> None:
    split = _arms(control=60, kinder=30, cheaper=10)
    taken = Counter(arm_at(split, unit_point("s", f"user-{n}"))[0].name for n in range(GRID))
    for arm in split.arms:
        assert taken[arm.name] / GRID == pytest.approx(arm.weight / 100, abs=0.01)
    assert {arm_at(split, n / 50)[1] for n in range(50)} == {0.6, 0.3, 0.1}


@pytest.mark.parametrize(
    "after",
    [_arms(control=80, kinder=10, cheaper=10), _arms(kinder=5, cheaper=5, control=90), _arms(control=90, kinder=50, cheaper=5)],
    ids=["both grow", "another order", "one grows"],
)  # fmt: skip
def test_a_unit_stays_in_its_arm_when_weights_grow(after: Split) -> None:
    """Whoever was in an arm whose share did not shrink is there still: an experiment that grows loses nobody."""
    before = _arms(control=90, kinder=5, cheaper=5)
    share = {arm.name: arm.weight / sum(a.weight for a in after.arms) for arm in after.arms}
    was = {arm.name: arm.weight / 100 for arm in before.arms}
    for n in range(4_000):
        point = unit_point("s", f"user-{n}")
        old, new = arm_at(before, point)[0].name, arm_at(after, point)[0].name
        assert old == new or share[new] > was[new], (old, new)
        assert old == new or share[old] < share[new] * was[old] / was[new]


# --- demands
def test_no_demand_is_given_up_that_was_not_in_the_way() -> None:
    fast, slow = deployment("fast", price(1, 1)), deployment("slow", price(1, 1))
    fast = msgspec.structs.replace(fast, quality={"default": 0.5})
    slow = msgspec.structs.replace(slow, quality={"default": 0.6})
    bounds = Bounds(ttft_ms_p95=500.0, quality_min=0.7, relax=("ttft_ms_p95", "quality_min"))
    chosen = options([fast, slow], "best", bounds=bounds)
    states = (State(ttft_p95_ms=100.0, sampled=50), State(ttft_p95_ms=4_000.0, sampled=50))
    _, decision = decide(request(), chosen, snapshot(states))
    assert decision.relaxed == ("quality_min",)
    assert decision.order == (0,)


def test_demands_are_given_up_in_the_declared_order_and_the_money_never() -> None:
    dear, cheap = deployment("dear", price(10**12, 1)), deployment("cheap", price(1, 1))
    dear = msgspec.structs.replace(dear, quality={"default": 0.9})
    cheap = msgspec.structs.replace(cheap, quality={"default": 0.6})
    slow = State(ttft_p95_ms=4_000.0, sampled=50)
    bounds = Bounds(ttft_ms_p95=500.0, quality_min=0.7, nano_per_request=10**6, relax=("ttft_ms_p95", "quality_min"))
    _, decision = decide(request(), options([dear, cheap], bounds=bounds), snapshot((UNKNOWN, slow)))
    assert (decision.relaxed, decision.order) == (("ttft_ms_p95", "quality_min"), (1,))
    assert decision.reasons == (Reason.COST, "")
    held = msgspec.structs.replace(bounds, relax=("ttft_ms_p95",))
    plan, decision = decide(request(), options([dear, cheap], bounds=held), snapshot((UNKNOWN, slow)))
    assert (decision.relaxed, decision.order) == ((), ())  # giving it up alone would not help
    assert plan.refused in {Reason.COST, Reason.QUALITY}


def test_a_candidate_of_the_ladder_is_held_to_the_money_alone() -> None:
    own, poor, dear = (deployment(name, price(cost, 1)) for name, cost in (("own", 1), ("poor", 1), ("dear", 10**12)))
    bounds = Bounds(ttft_ms_p95=500.0, quality_min=0.7, nano_per_request=10**6)
    one = Route(
        name="r", candidates=("own",), bounds=bounds, degrade=(Rung(name="rung-1", candidates=("poor", "dear")),)
    )
    slow = State(ttft_p95_ms=4_000.0, sampled=50)
    chosen = options_of(
        Policy(
            version="v1", source="t", providers={"p": Provider(name="p", dialect="openai", base_url="http://x")},
            deployments=(own, poor, dear), routes={"r": one},
        ),
        STRATEGIES,
    )["r"]  # fmt: skip
    _, decision = decide(request(), chosen, snapshot((slow, slow, slow)))
    assert decision.order == (1,) and decision.reasons == (Reason.QUALITY, "", Reason.COST)


# --- rules
def _policy(routes: dict[str, Route]) -> Policy:
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    return Policy(
        version="v1", source="t", providers={"p": provider}, deployments=(deployment("d", price(1, 1)),), routes=routes
    )


def asked_of(routes: dict[str, Options], name: str, user: str) -> tuple[Asked, Surroundings]:
    caller = Key(name="k", digest=b"")
    asked = Asked(routes[name], Said(model=name, user=user), Features(10), caller, NOW_MS, 0)
    around = Surroundings(
        routes, "UTC", dict, 0, lambda route, wall_ms: 0, lambda key, now_ms: None, random.Random(1).random
    )
    return asked, around


def test_a_rule_that_fails_is_named_with_its_own_route_and_the_way_there() -> None:
    rules = (Rule(when='request.user == "nobody"', use="end", place="t:1"), Rule(when="", use="inner", place="t:2"))
    routes = options_of(
        _policy(
            {
                "outer": Route(name="outer", candidates=(), rules=rules),
                "inner": Route(name="inner", candidates=("d",), rules=(Rule(when=FAILS, use="end", place="t:3"),)),
                "end": Route(name="end", candidates=("d",)),
            }
        ),
        STRATEGIES,
        ruleset,
    )
    asked, around = asked_of(routes, "outer", "somebody")
    routed = route(asked, around)
    assert routed.error is not None
    options = routed.trail.options
    _, decision = decide(request(), options, Snapshot("v1", NOW_MS, 0.5, options.states_of((UNKNOWN,))))
    told = on_trail(decision, routed)
    assert told.order == () and told.reason == "nobody:rule"
    assert told.path[0] == "outer rule 2" and told.path[1].startswith("inner rule 1 failed: ")


@given(seeds)
def test_a_rule_that_fails_chooses_nobody_and_is_never_passed_over(seed: int) -> None:
    found = drawn(seed, may_fail=True)
    _, decision = decide(found.request, found.options, found.snapshot)
    told = on_trail(decision, found.routed)
    if found.routed.error is not None:
        assert told.order == () and told.reason == "nobody:rule"
        assert set(told.reasons) <= {"rule"} and " rule " in told.path[-1] and ": " in told.path[-1]
    else:
        assert told.order == decision.order


# --- the ladder in the Run
failures = st.sampled_from([Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.UNREACHABLE, Kind.OVERLOADED, Kind.STALE])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 6),
    st.lists(failures, min_size=20, max_size=20),
    st.integers(0, 2**64 - 1),
)
def test_a_run_keeps_an_attempt_for_each_rung_and_stays_within_its_budget(
    sizes: list[int], attempts: int, ends: list[Kind], seed: int
) -> None:
    tiers = [tier for tier, size in enumerate(sizes) for _ in range(size)]
    steps = tuple(Step(p, p, 1_000.0, NO_BOUND, tier) for p, tier in enumerate(tiers))
    run = Run(Plan(tuple(range(len(steps))), steps, attempts, 0, NOW_MS + 10**9, 1_000.0))
    effect: Send | Stop = run.begin(NOW_MS)
    sent: list[int] = []
    fresh = 0
    for kind in ends:
        assert isinstance(effect, Send)
        fresh += effect.fresh
        sent.append(effect.step.tier)
        effect = run.ended(effect.step, Outcome(kind), NOW_MS, lambda d: True, seed)
        if isinstance(effect, Stop):
            break
    assert isinstance(effect, Stop)
    assert len(sent) - fresh <= attempts and fresh <= 1
    assert sent == sorted(sent)  # never back up the ladder
    if attempts >= len(sizes):
        assert set(sent) == set(range(len(sizes)))  # each rung had its attempt
    else:
        assert sent[-1] == len(sizes) - 1 or attempts == 1  # what is left goes to the last rungs
    by_tier = Counter(sent)
    spare = attempts - len(sizes)
    if spare >= sum(sizes) - len(sizes):
        assert all(by_tier[tier] >= size for tier, size in enumerate(sizes))  # enough for everybody


def test_an_unknown_window_says_nothing_of_the_others() -> None:
    """A deployment whose window nobody knows says that the request is too long: a larger one may still take it."""
    steps = (Step(0, 0, 1_000.0, NO_BOUND), Step(1, 1, 1_000.0, 1_000_000))
    run = Run(Plan((0, 1), steps, 3, 0, NOW_MS + 60_000, 1_000.0))
    first = run.begin(NOW_MS)
    effect = run.ended(first.step, Outcome(Kind.CONTEXT_LENGTH, 400), NOW_MS, lambda d: True, 1)
    assert isinstance(effect, Send) and effect.step.position == 1

"""Every registered strategy keeps the contract: a whole order, true probabilities, and a draw that agrees with its rank."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_makers import NOW_MS, deployment, options, price, seeds, situations, snapshot

from pointsman.core.health import State
from pointsman.core.options import Options
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Snapshot
from pointsman.strategies import STRATEGIES

Situation = tuple[Options, Snapshot, Request]
NAMES = sorted(STRATEGIES)
DRAWS = 6_000


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_ranking_orders_all_eligible_with_true_looking_probabilities(name: str, data: st.DataObject) -> None:
    chosen, found, asked = data.draw(situations((name,)))
    eligible = tuple(sorted(data.draw(st.sets(st.sampled_from(chosen.positions), min_size=1))))
    strategy = STRATEGIES[name]
    ranking = strategy.rank(chosen, eligible, asked.features, found)
    assert sorted(ranking.order) == list(eligible)
    assert len(ranking.order) == len(ranking.probabilities) == len(ranking.scores)
    assert sum(ranking.probabilities) == pytest.approx(1.0)
    assert all(0.0 <= chance <= 1.0 for chance in ranking.probabilities)
    assert strategy.rank(chosen, eligible, asked.features, found) == ranking
    assert strategy.draw(chosen, eligible, asked.features, found) == ranking.order[0]
    assert strategy.name == name and strategy.rank.__doc__


def mixed() -> tuple[Options, tuple[State, ...]]:
    """Return five candidates of different price, weight and speed."""
    costs = (price(5, 5), price(1, 1), None, price(9, 9), price(1, 1))
    made = [deployment(f"d{i}", cost) for i, cost in enumerate(costs)]
    speeds = (300.0, 100.0, 900.0, 500.0, 100.0)
    states = tuple(State(ttft_ms=ms, tps=50.0, measured_ms=NOW_MS - 10) for ms in speeds)
    return options(made, weights=(1.0, 2.0, 3.0, 0.5, 1.5)), states


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("eligible", [(0,), (1, 3), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_what_is_drawn_follows_the_probabilities_that_are_stored(name: str, eligible: tuple[int, ...]) -> None:
    chosen, states = mixed()
    drawn: Counter[int] = Counter()
    told: dict[int, float] = {}
    for i in range(DRAWS):
        # A low-discrepancy walk through [0, 1): no luck in this test.
        found = snapshot(states, (i * 0.6180339887498949) % 1.0)
        drawn[STRATEGIES[name].draw(chosen, eligible, Features(100), found)] += 1
        if i % 500 == 0:
            ranking = STRATEGIES[name].rank(chosen, eligible, Features(100), found)
            stated = dict(zip(ranking.order, ranking.probabilities, strict=True))
            assert not told or stated == pytest.approx(told)  # they do not depend on what was drawn
            told = stated
    for position in eligible:
        assert drawn[position] / DRAWS == pytest.approx(told[position], abs=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0.0, 2**-53, 0.5, 1.0 - 2**-53])
def test_the_ends_of_the_seed_are_safe(name: str, seed: float) -> None:
    chosen, states = mixed()
    for eligible in ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3, 4)):
        assert STRATEGIES[name].draw(chosen, eligible, Features(100), snapshot(states, seed)) in eligible


@given(seeds)
def test_priority_takes_the_first_that_can(seed: float) -> None:
    chosen, states = mixed()
    assert STRATEGIES["priority"].rank(chosen, (2, 3, 4), Features(1), snapshot(states, seed)).order == (2, 3, 4)


def test_weighted_shares_by_weight_and_falls_back_by_weight() -> None:
    chosen, states = mixed()
    ranking = STRATEGIES["weighted"].rank(chosen, (0, 1, 2), Features(1), snapshot(states, 0.0))
    assert dict(zip(ranking.order, ranking.probabilities, strict=True)) == pytest.approx({0: 1 / 6, 1: 2 / 6, 2: 3 / 6})
    assert list(ranking.order[1:]) == sorted(ranking.order[1:], key=lambda p: -chosen.options[p].weight)


@given(seeds, st.integers(1, 10_000))
def test_cheapest_takes_the_lowest_predicted_cost_and_the_unpriced_last(seed: float, tokens: int) -> None:
    chosen, states = mixed()
    ranking = STRATEGIES["cheapest"].rank(chosen, (0, 1, 2, 3, 4), Features(tokens * 1_000_000), snapshot(states, seed))
    assert ranking.order == (1, 4, 0, 3, 2)


@given(st.lists(st.integers(1, 10_000), min_size=3, max_size=6, unique=True), seeds)
def test_f108_fastest_never_takes_the_slowest_of_three_and_spreads_the_rest(speeds: list[int], seed: float) -> None:
    made = options([deployment(f"d{i}") for i in range(len(speeds))])
    states = tuple(State(ttft_ms=ms, tps=1e5, measured_ms=NOW_MS - 10) for ms in speeds)
    found = snapshot(states, seed)
    ranking = STRATEGIES["fastest"].rank(made, made.positions, Features(1), found)
    slowest = speeds.index(max(speeds))
    assert ranking.order[0] != slowest
    chances = dict(zip(ranking.order, ranking.probabilities, strict=True))
    ordered = sorted(range(len(speeds)), key=speeds.__getitem__)
    assert [chances[p] for p in ordered] == sorted(chances.values(), reverse=True)


def test_f108_the_unmeasured_are_neither_shunned_nor_flooded() -> None:
    made = options([deployment(f"d{i}") for i in range(4)])
    cold = tuple(State() for _ in range(4))
    draw = STRATEGIES["fastest"].draw
    counts = Counter(draw(made, made.positions, Features(1), snapshot(cold, i / 1000)) for i in range(1000))
    assert len(counts) >= 3
    fast = (*cold[:3], State(ttft_ms=50.0, tps=50.0, measured_ms=NOW_MS))
    counts = Counter(draw(made, made.positions, Features(1), snapshot(fast, i / 1000)) for i in range(1000))
    assert counts[3] == pytest.approx(500, abs=20)

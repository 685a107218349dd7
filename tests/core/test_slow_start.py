"""What follows an ejection: the last that answers is never left out (I15), a return is ramped (I16, faults 39, 105)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_makers import NOW_MS, deployment, options, price, request, snapshot

from pointsman.core.decide import decide, first
from pointsman.core.filters import Reason, is_last_resort
from pointsman.core.health import RAMP_LEAST, UNKNOWN, State, breaker, failed, is_calm, ramp_share, succeeded
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Limits

LIMITS = Limits()
BAD, GONE = Outcome(Kind.SERVER_ERROR), Outcome(Kind.UNREACHABLE)
HALFWAY = State(slow_start_ms=10_000, ramp_until_ms=int(NOW_MS) + 5_000)
OPEN = State(ejections=1, open_until_ms=NOW_MS + 5_000)
SOFT = State(ejections=1, open_until_ms=NOW_MS + 5_000, soft=True)
GRID = 4_000


def pair(strategy: str = "priority", count: int = 2, **route: object) -> object:
    return options([deployment(f"d{i}", price(1, 1)) for i in range(count)], strategy, **route)


def weak(success: float, limits: Limits = LIMITS) -> State:
    """Return the state of a deployment that fails evenly, as it is ejected."""
    state, now_ms, owed = UNKNOWN, NOW_MS, 0.0
    for _ in range(1_000):
        now_ms += 10.0
        owed += 1.0 - success
        if owed >= 1.0:
            owed -= 1.0
            state = failed(state, now_ms, BAD, limits, 0.5)
            if breaker(state, now_ms) == "open":
                return state
        else:
            state = succeeded(state, now_ms, 50.0, None)
    pytest.fail("it was never ejected")


# --- I15: never eject the last
def test_i15_what_answers_most_requests_takes_those_that_nobody_else_can() -> None:
    made = pair()
    plan, decision = decide(request(), made, snapshot((OPEN, SOFT)))  # type: ignore[arg-type]
    assert plan.order == (1,) == decision.order and decision.reasons == (Reason.EJECTED, "")
    assert first(request(), made, snapshot((OPEN, SOFT))) == 1  # type: ignore[arg-type]
    plan, decision = decide(request(), made, snapshot((SOFT, UNKNOWN)))  # type: ignore[arg-type]
    assert plan.order == (1,) and decision.reasons == (Reason.EJECTED, "")


def test_i15_but_not_against_the_providers_own_time() -> None:
    cooling = State(ejections=1, open_until_ms=NOW_MS + 5_000, soft=True, cool_until_ms=NOW_MS + 9_000)
    plan, _ = decide(request(), pair(count=1), snapshot((cooling,)))  # type: ignore[arg-type]
    assert plan.order == () and plan.wait_ms > 0


def test_i15_only_a_low_share_of_successes_is_soft() -> None:
    state = weak(0.7)
    assert state.soft and is_last_resort(state, NOW_MS)
    for kind in (Kind.AUTH, Kind.NOT_FOUND, Kind.UNTRUSTED, Kind.QUOTA_EXHAUSTED):
        assert not failed(UNKNOWN, NOW_MS, Outcome(kind), LIMITS, 0.5).soft
    row = UNKNOWN
    for _ in range(LIMITS.breaker_failures):
        row = failed(row, NOW_MS, BAD, LIMITS, 0.5)
    assert breaker(row, NOW_MS) == "open" and not row.soft


def test_f38_one_that_stops_answering_while_it_is_the_last_resort_is_ejected_for_good() -> None:
    state = weak(0.7)
    now_ms = state.window_ms
    for _ in range(LIMITS.breaker_failures):
        state = failed(state, now_ms, BAD, LIMITS, 0.5)
    assert not state.soft and breaker(state, now_ms) == "open"


def test_i15_its_successes_do_not_close_it_before_its_time() -> None:
    state = weak(0.7)
    early = succeeded(state, state.open_until_ms - 1.0, 50.0, None)
    assert early.soft and early.open_until_ms == state.open_until_ms and early.ejections == state.ejections
    late = succeeded(state, state.open_until_ms, 50.0, None)
    assert not late.soft and breaker(late, state.open_until_ms) == "closed"


# --- unreachable apart from answers badly
def test_f03_what_cannot_be_reached_is_ejected_sooner_than_what_answers_badly() -> None:
    limits, state = Limits(breaker_unreachable=3, breaker_failures=5), UNKNOWN
    for kind in (GONE, GONE, BAD, GONE):  # it was reached between
        state = failed(state, NOW_MS, kind, limits, 0.5)
    assert breaker(state, NOW_MS) == "closed" and (state.failures, state.unreachable) == (4, 1)
    state = UNKNOWN
    for _ in range(3):
        state = failed(state, NOW_MS, GONE, limits, 0.5)
    assert breaker(state, NOW_MS) == "open" and (state.failures, state.unreachable) == (3, 3)


# --- slow start
def test_f39_a_closed_breaker_ramps_from_a_tenth_to_all() -> None:
    state = succeeded(failed(UNKNOWN, NOW_MS, Outcome(Kind.AUTH), LIMITS, 0.5), NOW_MS + 1e6, 50.0, None)
    begun_ms = NOW_MS + 1e6
    assert ramp_share(state, begun_ms) == pytest.approx(RAMP_LEAST)
    assert ramp_share(state, begun_ms + 5_000) == pytest.approx((1.0 + RAMP_LEAST) / 2)
    assert ramp_share(state, begun_ms + 10_000) == 1.0
    assert not is_calm(state, begun_ms + 9_999) and is_calm(state, begun_ms + 10_000)
    off = Limits(slow_start_ms=0)
    state = succeeded(failed(UNKNOWN, NOW_MS, Outcome(Kind.AUTH), off, 0.5), begun_ms, 50.0, None)
    assert ramp_share(state, begun_ms) == 1.0 and is_calm(state, begun_ms)


@pytest.mark.parametrize("strategy", ["priority", "weighted", "fastest"])
def test_f39_what_ramps_takes_its_share_and_the_stored_probability_is_true(strategy: str) -> None:
    made = pair(strategy, 3)
    states = (HALFWAY, State(slow_start_ms=10_000, ramp_until_ms=int(NOW_MS) + 9_000), UNKNOWN)
    chance, counts, told = random.Random(3), [0, 0, 0], [0.0, 0.0, 0.0]
    for _ in range(GRID):
        found = snapshot(states, chance.random())
        plan, decision = decide(request(), made, found)  # type: ignore[arg-type]
        assert sorted(plan.order) == [0, 1, 2]  # behind, but there to fail over to (I15)
        assert sum(decision.probabilities) == pytest.approx(1.0) and decision.probabilities[0] > 0.0
        assert first(request(), made, found) == plan.order[0]  # type: ignore[arg-type]
        counts[plan.order[0]] += 1
        for position, probability in zip(decision.order, decision.probabilities, strict=True):
            told[position] += probability
        noted = {p for p, reason in enumerate(decision.reasons) if reason == Reason.RAMPING}
        assert plan.order[0] not in noted
    for position in range(3):
        assert counts[position] / GRID == pytest.approx(told[position] / GRID, abs=0.03)
    if strategy == "priority":
        assert counts[0] / GRID == pytest.approx(0.55, abs=0.03)


def test_f39_where_nobody_else_is_eligible_it_takes_all() -> None:
    made = pair()
    for seed in (0.0, 0.3, 0.999):
        assert decide(request(), made, snapshot((HALFWAY, OPEN), seed))[0].order == (0,)  # type: ignore[arg-type]
        both = decide(request(), made, snapshot((HALFWAY, HALFWAY), seed))[1]  # type: ignore[arg-type]
        assert both.order == (0, 1) and both.probabilities[0] == pytest.approx(1.0)


class Provider:
    """Answer as many requests in each tenth of a second as it can; its capacity grows as its caches fill."""

    def __init__(self, capacity: float, grows: float) -> None:
        self.capacity, self.grows, self.taken, self.served = capacity, grows, 0, 0

    def answers(self) -> bool:
        self.taken += 1
        self.served += self.taken <= self.capacity
        return self.taken <= self.capacity

    def tick(self) -> None:
        self.taken, self.capacity = 0, self.capacity + self.grows


def play(limits: Limits, provider: Provider) -> tuple[int, int]:
    """Return the ejections and the failed sends of a provider that is back, under 1000 requests a second for 20 s."""
    made = pair()
    gone = State(ejections=1, open_until_ms=NOW_MS, slow_start_ms=limits.slow_start_ms)
    state = succeeded(gone, NOW_MS, 50.0, None)
    chance, ejected, failures = random.Random(5), 0, 0
    for tenth in range(200):
        now_ms = NOW_MS + tenth * 100.0
        for _ in range(100):
            found = snapshot((state, UNKNOWN), chance.random(), now_ms)
            if first(request(), made, found) != 0:  # type: ignore[arg-type]
                continue
            if provider.answers():
                state = succeeded(state, now_ms, 50.0, None)
                continue
            failures += 1
            before = state.ejections
            state = failed(state, now_ms, Outcome(Kind.OVERLOADED), limits, chance.random())
            ejected += state.ejections > before
        provider.tick()
    return ejected, failures


def test_f39_a_provider_that_returns_at_a_tenth_of_its_capacity_is_not_collapsed_again() -> None:
    assert play(Limits(), Provider(20.0, 1.1)) == (0, 0)
    ejected, failures = play(Limits(slow_start_ms=0), Provider(20.0, 1.1))
    assert ejected >= 2 and failures  # which is what the ramp is for


def test_f39_a_provider_that_stays_at_a_tenth_is_used_for_that_tenth() -> None:
    ramped, at_once = Provider(14.0, 0.0), Provider(14.0, 0.0)
    _, failures = play(Limits(), ramped)
    play(Limits(slow_start_ms=0), at_once)
    assert failures < 0.1 * ramped.served
    assert ramped.served > 5 * at_once.served


# --- fault 105: many return at once
@given(st.integers(0, 2**32))
def test_f105_ejections_of_one_moment_do_not_end_in_one(seed: int) -> None:
    chance = random.Random(seed)
    ends = [failed(UNKNOWN, NOW_MS, Outcome(Kind.AUTH), LIMITS, chance.random()).open_until_ms for _ in range(40)]
    assert max(ends) - min(ends) > 0.3 * (max(ends) - NOW_MS)
    assert max(sum(abs(one - other) < 100.0 for other in ends) for one in ends) <= 8

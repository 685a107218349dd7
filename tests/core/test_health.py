"""Health: measurements are never zero or infinite, the breaker opens and closes, and only providers are blamed (I12)."""

from __future__ import annotations

import math

import pytest
from core_makers import limits, outcomes
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.health import (
    RAMP_LEAST,
    TTFT_PRIOR_MS,
    UNKNOWN,
    State,
    breaker,
    cooled,
    failed,
    predicted_ms,
    predicted_ttft_ms,
    probing,
    ramp_share,
    released,
    succeeded,
)
from pointsman.core.outcome import Blame, Kind, Outcome
from pointsman.core.policy import Limits

BAD = Outcome(Kind.SERVER_ERROR)
LIMITS = Limits()

gaps = st.floats(0, 400_000)
successes = st.tuples(gaps, st.floats(0, 1e6), st.none() | st.floats(0, 1e5))
failures = st.tuples(gaps, outcomes, st.floats(0, 1, exclude_max=True))
histories = st.lists(successes | failures, max_size=40)


def play(history: list[tuple[object, ...]], given_limits: Limits) -> list[tuple[float, State]]:
    """Return the states that a history of (gap_ms, end, ...) makes."""
    state, now_ms = UNKNOWN, 1_000.0
    found = [(now_ms, state)]
    for gap, end, more in history:
        assert isinstance(gap, float)
        now_ms += gap
        if isinstance(end, Outcome):
            assert isinstance(more, float)
            state = failed(state, now_ms, end, given_limits, more)
        else:
            assert isinstance(end, float)
            state = succeeded(state, now_ms, end, more)  # type: ignore[arg-type]
        found.append((now_ms, state))
    return found


@given(histories, limits)
def test_i16_every_history_leaves_possible_figures(history: list[tuple[object, ...]], given_limits: Limits) -> None:
    for now_ms, state in play(history, given_limits):
        for later_ms in (0.0, 10.0, 1e6):
            wait = predicted_ttft_ms(state, now_ms + later_ms)
            assert 0 < wait < math.inf
            assert 0 < predicted_ms(state, now_ms + later_ms, 500) < math.inf
        assert state.tps > 0 and state.ttft_ms > 0
        assert 0 <= state.window_ok <= state.window_all + 1e-6
        assert state.open_until_ms <= now_ms + given_limits.breaker_open_max_ms
        assert 0 <= state.unreachable <= state.failures and state.ejections >= 0
        assert RAMP_LEAST <= ramp_share(state, now_ms) <= 1.0
        assert breaker(state, now_ms) in ("closed", "open", "half_open", "cooling")


@given(histories, limits, successes)
def test_a_success_closes_the_breaker(
    history: list[tuple[object, ...]], given_limits: Limits, success: tuple[float, float, float | None]
) -> None:
    now_ms, state = play(history, given_limits)[-1]
    later_ms = now_ms + success[0]
    after = succeeded(state, later_ms, success[1], success[2])
    assert (after.failures, after.unreachable) == (0, 0)
    if state.soft and later_ms < state.open_until_ms:  # that some of its answers are good was known
        assert breaker(after, later_ms) == "open" and after.open_until_ms == state.open_until_ms
        return
    assert breaker(after, later_ms) == "closed"
    assert (after.ejections, after.why) == (0, "")
    assert not (state.ejections and state.slow_start_ms) or after.ramp_until_ms > later_ms


@given(histories, limits, outcomes)
def test_i12_only_what_a_provider_is_to_blame_for_counts(
    history: list[tuple[object, ...]], given_limits: Limits, end: Outcome
) -> None:
    now_ms, state = play(history, given_limits)[-1]
    after = failed(state, now_ms, end, given_limits, 0.5)
    if end.blame is not Blame.PROVIDER or end.kind is Kind.RATE_LIMITED:
        assert (after.failures, after.ejections, after.open_until_ms) == (
            state.failures,
            state.ejections,
            state.open_until_ms,
        )
        assert (after.window_ok, after.window_all) == (state.window_ok, state.window_all)
    assert after.ttft_ms == state.ttft_ms  # a failure is no latency sample


@given(st.integers(1, 8), st.floats(0, 1, exclude_max=True))
def test_the_breaker_opens_after_so_many_failures_in_a_row(count: int, draw: float) -> None:
    given_limits = Limits(breaker_failures=count)
    state = UNKNOWN
    for _ in range(count - 1):
        state = failed(state, 1_000.0, BAD, given_limits, draw)
        assert breaker(state, 1_000.0) == "closed"
    state = failed(state, 1_000.0, BAD, given_limits, draw)
    assert breaker(state, 1_000.0) == "open"
    length = state.open_until_ms - 1_000.0
    assert given_limits.breaker_open_ms / 2 <= length <= given_limits.breaker_open_ms  # equal jitter
    assert breaker(state, state.open_until_ms) == "half_open"


def test_f37_ejections_grow_when_probes_fail_and_are_bounded() -> None:
    state, now_ms, lengths = UNKNOWN, 0.0, []
    for _ in range(12):
        while breaker(state, now_ms) != "open":
            state = failed(state, now_ms, BAD, LIMITS, 0.999)
        lengths.append(state.open_until_ms - now_ms)
        now_ms = state.open_until_ms
    assert lengths == sorted(lengths)
    assert lengths[1] == pytest.approx(2 * lengths[0], rel=0.01)
    assert lengths[-1] <= LIMITS.breaker_open_max_ms


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.NOT_FOUND, Kind.UNTRUSTED, Kind.QUOTA_EXHAUSTED])
def test_f19_ends_that_time_does_not_heal_eject_at_once_and_for_long(kind: Kind) -> None:
    state = failed(UNKNOWN, 0.0, Outcome(kind), LIMITS, 0.0)
    assert breaker(state, 0.0) == "open" and state.open_until_ms >= 30_000


def test_a_low_share_of_successes_opens_it_even_without_a_row() -> None:
    state = UNKNOWN
    for i in range(60):
        state = succeeded(state, 100.0 * i, 50.0, None) if i % 3 else failed(state, 100.0 * i, BAD, LIMITS, 0.5)
        if breaker(state, 100.0 * i) == "open":
            return
    pytest.fail("one failure in three went on for 60 requests")


@given(st.floats(1, 10_000), st.floats(1, 10_000))
def test_f36_peaks_are_followed_at_once_and_recovery_is_cautious(low: float, high: float) -> None:
    low, high = sorted((low, high))
    state = succeeded(UNKNOWN, 0.0, low, None)
    assert state.ttft_ms == low
    state = succeeded(state, 10.0, high, None)
    assert state.ttft_ms == pytest.approx(high)
    after = succeeded(state, 20.0, low, None)
    assert low * 0.999 <= after.ttft_ms <= high * 1.001
    assert after.ttft_ms >= 0.85 * high or after.ttft_ms >= high - 0.15 * (high - low) - 1e-6


def test_f108_the_unmeasured_are_average_and_old_measurements_fade_to_that() -> None:
    assert predicted_ttft_ms(UNKNOWN, 5.0) == TTFT_PRIOR_MS
    state = succeeded(UNKNOWN, 0.0, 1.0, None)
    assert predicted_ttft_ms(state, 0.0) < 2
    assert predicted_ttft_ms(state, 600_000.0) == pytest.approx(TTFT_PRIOR_MS, rel=0.01)


@given(st.none() | st.integers(0, 86_400_000), st.none() | st.integers(0, 86_400_000))
def test_i11_a_providers_wait_is_never_shortened(first: int | None, second: int | None) -> None:
    state = cooled(cooled(UNKNOWN, 0.0, first), 0.0, second)
    assert state.cool_until_ms == max(5_000 if first is None else first, 5_000 if second is None else second)


@given(limits)
def test_a_probe_that_says_nothing_gives_its_turn_back(given_limits: Limits) -> None:
    state = UNKNOWN
    while breaker(state, 0.0) != "open":
        state = failed(state, 0.0, BAD, given_limits, 0.5)
    reserved = probing(state, 9e9)
    assert released(reserved) == state
    assert failed(reserved, 1.0, Outcome(Kind.CLIENT_GONE), given_limits, 0.5).probe_until_ms == 0.0

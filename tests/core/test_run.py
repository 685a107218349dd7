"""The Run: whatever the driver reports, it never resends after commit, beyond its attempts, or past the deadline."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from core_makers import outcomes
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pointsman.core.decide import Plan
from pointsman.core.options import NO_BOUND, Step
from pointsman.core.outcome import CLASSES, Blame, Kind, Outcome, Retry
from pointsman.core.run import BACKOFF_MAX_MS, MIN_USEFUL_MS, Run, Send, Stop

DEADLINE_MS = 60_000.0


def plan_of(count: int, attempts: int, windows: tuple[int, ...] = ()) -> Plan:
    given_windows = windows or (NO_BOUND,) * count
    steps = tuple(Step(p, 10 + p, 1_000.0, given_windows[p]) for p in range(count))
    return Plan(tuple(range(count)), steps, attempts, 0, DEADLINE_MS, 1_000.0)


@dataclass
class Driven:
    """What came of playing a list of ends against one Run."""

    sends: list[Send] = field(default_factory=list)
    ends: list[Outcome] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    final: Outcome | None = None
    committed_at: int = -1  # number of sends when content came


def drive(run: Run, ends: list[tuple[Outcome, float, bool]], down: frozenset[int], seed: int) -> Driven:
    found, now_ms = Driven(), 0.0
    send = run.begin(now_ms)
    for outcome, took_ms, commits in ends:
        found.sends.append(send)
        found.times_ms.append(now_ms + send.delay_ms)
        now_ms += send.delay_ms + min(took_ms, send.ttft_ms)
        if commits and found.committed_at < 0:
            run.committed = True
            found.committed_at = len(found.sends)
        found.ends.append(outcome)
        effect = run.ended(send.step, outcome, now_ms, lambda d: d not in down, seed)
        if isinstance(effect, Stop):
            found.final = effect.final
            return found
        send = effect
    return found


reports = st.lists(st.tuples(outcomes, st.floats(0, 2_000), st.booleans()), min_size=1, max_size=12)


@given(st.integers(1, 6), st.integers(1, 5), reports, st.frozensets(st.integers(10, 15)), st.integers(0, 2**64 - 1))
def test_i08_i10_i13_hold_for_any_ends(
    count: int, attempts: int, ends: list[tuple[Outcome, float, bool]], down: frozenset[int], seed: int
) -> None:
    found = drive(Run(plan_of(count, attempts)), ends, down, seed)
    again = sum(send.fresh for send in found.sends)
    assert again <= 1  # one transparent resend, and only for a request nobody saw
    assert len(found.sends) <= attempts + again
    if found.committed_at >= 0:
        assert len(found.sends) == found.committed_at  # I8: nothing after content
    for end, send, at_ms in zip(found.ends, found.sends[1:], found.times_ms[1:], strict=False):
        assert CLASSES[end.kind].retry is not Retry.NEVER
        assert DEADLINE_MS - at_ms >= MIN_USEFUL_MS - 1e-6  # I10
        # Who rests is waited for, and asked again whether it may be sent to when the wait is over.
        assert send.step.deployment not in down or send.fresh or end.kind is Kind.RATE_LIMITED
        assert send.delay_ms <= BACKOFF_MAX_MS
        if send.fresh:
            assert end.kind is Kind.STALE
    for at, end in enumerate(found.ends[:-1]):
        if CLASSES[end.kind].blame is Blame.CLIENT:  # I13
            later = [send.step.deployment for send in found.sends[at + 1 :]]
            assert found.sends[at].step.deployment not in later


@given(st.integers(2, 6), outcomes, st.integers(0, 2**64 - 1))
def test_i09_the_next_untried_deployment_comes_before_any_second_try(count: int, end: Outcome, seed: int) -> None:
    if CLASSES[end.kind].retry is not Retry.NEXT or end.kind is Kind.CONTEXT_LENGTH:
        return
    found = drive(Run(plan_of(count, count)), [(end, 1.0, False)] * count, frozenset(), seed)
    assert [send.step.position for send in found.sends] == list(range(count))
    assert all(send.delay_ms == 0 for send in found.sends)


def test_f21_after_a_context_error_only_larger_windows_are_tried() -> None:
    run = Run(plan_of(4, 5, (1000, 800, 1000, 5000)))
    first = run.begin(0.0)
    effect = run.ended(first.step, Outcome(Kind.CONTEXT_LENGTH), 1.0, lambda _: True, 0)
    assert isinstance(effect, Send) and effect.step.position == 3
    effect = run.ended(effect.step, Outcome(Kind.CONTEXT_LENGTH), 2.0, lambda _: True, 0)
    assert isinstance(effect, Stop)


def test_f07_a_stale_connection_is_resent_once_without_costing_an_attempt() -> None:
    run = Run(plan_of(1, 1))
    first = run.begin(0.0)
    again = run.ended(first.step, Outcome(Kind.STALE), 1.0, lambda _: True, 0)
    assert isinstance(again, Send) and again.fresh and again.number == first.number == 1
    assert isinstance(run.ended(again.step, Outcome(Kind.STALE), 2.0, lambda _: True, 0), Stop)


@given(st.integers(0, 2**64 - 1), st.integers(0, 7_750))
def test_a_lone_deployment_is_tried_again_after_full_jitter_and_the_providers_own_time(seed: int, wish: int) -> None:
    run = Run(plan_of(1, 3))
    first = run.begin(0.0)
    effect = run.ended(first.step, Outcome(Kind.OVERLOADED, retry_after_ms=wish), 0.0, lambda _: True, seed)
    assert isinstance(effect, Send)
    assert wish <= effect.delay_ms <= wish + 250.0


@given(st.integers(0, 2**64 - 1), st.integers(0, 20_000))
def test_f14_a_rate_limit_is_waited_for_as_long_as_it_is_worth(seed: int, wish: int) -> None:
    run = Run(plan_of(1, 3))
    first = run.begin(0.0)
    resting = Outcome(Kind.RATE_LIMITED, 429, retry_after_ms=wish)
    effect = run.ended(first.step, resting, 0.0, lambda _: False, seed)  # it is not usable before it has rested
    if wish > run.plan.most_wait_ms:
        assert isinstance(effect, Stop)
    else:
        assert isinstance(effect, Stop) or wish <= effect.delay_ms <= run.plan.most_wait_ms


def test_attempts_that_have_cost_what_a_request_may_cost_are_the_last() -> None:
    plan = structs.replace(plan_of(3, 3), most_nano=1_000)
    run = Run(plan)
    first = run.begin(0.0)
    run.spent_nano = 999
    assert isinstance(run.ended(first.step, Outcome(Kind.TIMEOUT), 1.0, lambda _: True, 0), Send)
    run.spent_nano = 1_000
    assert isinstance(run.ended(first.step, Outcome(Kind.TIMEOUT), 2.0, lambda _: True, 0), Stop)


@given(st.integers(1, 6), st.integers(1, 5), st.frozensets(st.integers(10, 15)))
def test_a_hedge_is_another_deployment_within_the_budget(count: int, attempts: int, down: frozenset[int]) -> None:
    run = Run(plan_of(count, attempts))
    first = run.begin(0.0)
    step = run.hedge(1.0, lambda d: d not in down)
    others = [p for p in range(1, count) if 10 + p not in down]
    assert (step is not None) == bool(others and attempts > 1)
    if step is not None:
        assert step.position == others[0] != first.step.position and run.sent == 2


@pytest.mark.parametrize("left_ms", [0.0, 10.0, 49.9])
def test_i10_nothing_starts_that_has_no_time_left(left_ms: float) -> None:
    run = Run(plan_of(3, 3))
    first = run.begin(0.0)
    assert isinstance(run.ended(first.step, Outcome(Kind.SERVER_ERROR), DEADLINE_MS - left_ms, lambda _: True, 0), Stop)


def test_the_wait_for_content_never_passes_the_deadline() -> None:
    run = Run(plan_of(2, 2))
    assert run.begin(DEADLINE_MS - 300).ttft_ms == 300


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_its_row_and_its_words(kind: Kind) -> None:
    row = CLASSES[kind]
    if kind not in (Kind.OK, Kind.DEGRADED, Kind.SILENT):
        assert row.code and row.type and row.status >= 400
    if row.blame is Blame.PROVIDER:
        assert row.status in (429, 503)  # never 502/504: edge networks replace those bodies (I33)
        assert row.retry is Retry.NEXT

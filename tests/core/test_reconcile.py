"""What is left over between a provider's account and ours, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.reconcile import Booked, Told, residuals, total

DAY = "2026-11-18"


def booked(model: str = "m", attempts: int = 10, **more: object) -> Booked:
    values = {
        "served_model": f"{model}-2026-01-31",
        "usage_source": "measured",
        "charge_state": "measured",
        "outcome": "ok",
    }
    sums = {"attempts": attempts, "input_tokens": 1_000, "cached_tokens": 200, "output_tokens": 300, "cost_nano": 5_000}
    return Booked(**{"day": DAY, "model": model} | values | sums | more)  # type: ignore[arg-type]


SAME = Told(DAY, "m", 10, 1_000, 200, 300, 5_000)


@pytest.mark.parametrize("model", ["m", "m-2026-01-31", "m-20260131", "m-latest", "m@20260131"])
def test_what_agrees_leaves_nothing_whatever_the_model_is_called(model: str) -> None:
    (one,) = residuals([Told(DAY, model, 10, 1_000, 200, 300, 5_000)], [booked()])
    assert one.model == "m" and one.causes == () and not one.beyond(0.0)
    assert [one.left(name) for name in ("requests", "input_tokens", "cost_nano")] == [0, 0, 0]


def test_models_that_only_look_alike_are_apart() -> None:
    found = residuals([Told(DAY, "m-mini", 1), Told(DAY, "m", 10)], [booked()])
    assert [one.model for one in found] == ["m", "m-mini"] and found[1].booked.requests == 0


def test_each_cause_is_named() -> None:
    def causes(told: Told, *rows: Booked) -> str:
        (one,) = residuals([told], rows)
        assert one.beyond(0.0)
        return "; ".join(one.causes)

    assert "nothing of it is booked here" in causes(SAME)
    assert "1 attempt is our estimate (1300 tokens)" in causes(
        Told(DAY, "m", 11, 2_100, 400, 600),
        booked(),
        booked(attempts=1, usage_source="estimated", charge_state="estimated"),
    )
    unheard = booked(attempts=2, usage_source="unknown", charge_state="unpriced", input_tokens=0, output_tokens=0)
    assert "2 attempts ended without anybody telling" in causes(Told(DAY, "m", 12, 1_500, 200, 300), booked(), unheard)
    assert "3 requests more than here: somebody else" in causes(Told(DAY, "m", 13, 1_400, 200, 400), booked())
    assert "the price differs" in causes(Told(DAY, "m", 10, 1_000, 200, 300, 4_000), booked())
    free = booked(charge_state="unpriced", cost_nano=0)
    assert "10 attempts had no price" in causes(Told(DAY, "m", 10, 1_000, 200, 300, 4_000), free)
    assert "not explained" in causes(Told(DAY, "m", 10, 900, 200, 300), booked())


def test_what_the_provider_says_nothing_of_is_shown() -> None:
    (one, two) = residuals([Told("2026-11-19", "m", 1)], [booked()])
    assert one.told.requests is None and one.booked.requests == 10 and "says nothing of it" in one.causes[0]
    assert two.day == "2026-11-19"


def test_the_tolerance_is_a_share_of_the_larger_side() -> None:
    (one,) = residuals([Told(DAY, "m", 10, 1_010, 200, 300)], [booked()])
    assert one.beyond(0.009) and not one.beyond(0.01)


COUNTS = st.integers(0, 10**6)
SAID = COUNTS | st.none()
TOLD = st.builds(Told, st.sampled_from([DAY, "2026-11-19"]), st.sampled_from(["m", "m-latest", "n", "n-001"]),
                 SAID, SAID, SAID, SAID, SAID)  # fmt: skip
BOOKED = st.builds(booked, st.sampled_from(["m", "n"]), COUNTS, day=st.sampled_from([DAY, "2026-11-19"]),
                   usage_source=st.sampled_from(["measured", "estimated", "unknown"]))  # fmt: skip


@given(st.lists(TOLD, max_size=6), st.lists(BOOKED, max_size=6))
def test_nothing_is_lost_or_counted_twice(told: list[Told], rows: list[Booked]) -> None:
    found = residuals(told, rows)
    assert sum(one.told.output_tokens or 0 for one in found) == sum(one.output_tokens or 0 for one in told)
    assert (total(found).told.cost_nano or 0) == sum(one.cost_nano or 0 for one in told)
    assert len({(one.day, one.model) for one in found}) == len(found)
    for one in found:
        assert bool(one.causes) is one.beyond(0.0) or one.told == Told(one.day, one.model) or not rows

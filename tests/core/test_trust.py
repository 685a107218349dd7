"""The threshold of similar questions keeps the bound that the operator set, and moves on evidence only."""

from __future__ import annotations

from random import Random

import pytest

from pointsman.core.policy import Semantic
from pointsman.core.trust import TOP, Trust, begun, interval, judged

SEMANTIC = Semantic(threshold=0.8, wrong_hits=0.01)


def run(semantic: Semantic, verdicts: list[bool], trust: Trust | None = None) -> tuple[Trust, list[str]]:
    trust, changes = trust or begun("r", semantic), []
    for wrong in verdicts:
        trust, change = judged(trust, semantic, 0, wrong=wrong)
        changes += [change] if change else []
    return trust, changes


# The bounds that Clopper and Pearson's interval is known to have: of 0 in 300 it is 1 - 0.025 ** (1 / 300).
@pytest.mark.parametrize(
    ("wrong", "checked", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 300, 0.0, 0.0122210),
        (1, 100, 0.0002531, 0.0544594),
        (5, 100, 0.0164319, 0.1128349),
        (50, 100, 0.3983211, 0.6016789),
        (3, 3, 0.2924018, 1.0),
        (40, 100_000, 0.0002858, 0.0005447),
    ],
)
def test_the_interval_is_that_of_clopper_and_pearson(wrong: int, checked: int, low: float, high: float) -> None:
    assert interval(wrong, checked) == pytest.approx((low, high), abs=2e-6)


def test_wrong_hits_tighten_step_by_step_and_then_it_is_off() -> None:
    trust, changes = run(SEMANTIC, [True] * 40)
    assert changes == ["tightened"] * 5 + ["off"] and trust.off and trust.threshold <= TOP
    assert run(SEMANTIC, [False] * 5_000, trust) == (run(SEMANTIC, [False] * 5_000, trust)[0], [])  # for good
    assert trust.all_checked == trust.all_wrong == 40


def test_right_ones_ease_it_slowly_and_never_below_the_operator_s_own() -> None:
    tight, changes = run(SEMANTIC, [True] * 3)
    assert changes == ["tightened"] and tight.threshold == pytest.approx(0.9)
    one, eased = run(SEMANTIC, [False] * 194, tight)
    assert eased == ["eased"] and 0.8 < one.threshold < 0.9
    back, _ = run(SEMANTIC, [False] * 20_000, one)
    assert back.threshold == 0.8 and run(SEMANTIC, [False] * 1_000, back)[1] == []


def test_one_wrong_hit_among_many_changes_nothing() -> None:
    trust, changes = run(SEMANTIC, ([False] * 250 + [True]) * 20)
    assert changes == [] and trust.wrong == 20


@pytest.mark.parametrize(("share", "expected"), [(0.03, True), (0.003, False)])
def test_what_is_far_from_the_bound_is_told_from_it(share: float, expected: bool) -> None:
    tightened = 0
    for seed in range(200):
        chance = Random(seed)
        trust, changes = run(SEMANTIC, [chance.random() < share for _ in range(600)])
        tightened += "tightened" in changes
        assert trust.threshold >= 0.8
    assert (tightened >= 190) if expected else (tightened <= 20)


def test_feedback_counts_as_wrong() -> None:
    trust, _ = judged(begun("r", SEMANTIC), SEMANTIC, 7, wrong=True, down=True)
    assert (trust.down, trust.wrong, trust.checked) == (1, 1, 1)

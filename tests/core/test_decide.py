"""Decide: pure, total, and all of it in the record: every candidate with its reason, score and probability (I29)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_makers import NOW_MS, deployment, options, price, request, situations, snapshot

from pointsman.core import entry
from pointsman.core.decide import decide, first
from pointsman.core.entry import Admitted
from pointsman.core.filters import HEALTH_REASONS, Reason, health, is_last_resort, static
from pointsman.core.head import head, head_of, way_of
from pointsman.core.health import UNKNOWN, State
from pointsman.core.options import Options
from pointsman.core.request import NEED_IMAGE, NEED_TOOLS, Features, Request
from pointsman.core.strategy import Snapshot

Situation = tuple[Options, Snapshot, Request]


@given(situations())
def test_i29_every_decision_is_whole_and_the_same_again(situation: Situation) -> None:
    chosen, found, asked = situation
    plan, decision = decide(asked, chosen, found)
    assert decide(asked, chosen, found) == (plan, decision)
    assert decision.candidates == chosen.names
    reasons = decision.reasons or ("",) * len(chosen.names)
    eligible = [p for p, reason in enumerate(reasons) if reason in ("", Reason.RAMPING)]
    assert sorted(decision.order) == eligible == sorted(plan.order)
    assert len(decision.scores) == len(decision.probabilities) == len(decision.order)
    if eligible:
        assert sum(decision.probabilities) == pytest.approx(1.0)
        assert all(0.0 <= chance <= 1.0 for chance in decision.probabilities)
        assert 1 <= plan.attempts <= chosen.attempts
    else:
        assert plan.refused and plan.attempts == 0


@given(situations())
def test_each_candidate_has_the_reason_its_facts_and_state_give(situation: Situation) -> None:
    chosen, found, asked = situation
    _, decision = decide(asked, chosen, found)
    expected = [
        static(chosen, option, asked.features) or health(state, found.now_ms)
        for option, state in zip(chosen.options, found.states, strict=True)
    ]
    if all(expected):  # nobody: those that still answer most take it
        soft = [reason in HEALTH_REASONS and is_last_resort(state, found.now_ms)
                for reason, state in zip(expected, found.states, strict=True)]  # fmt: skip
        expected = [Reason.ELIGIBLE if last else reason for last, reason in zip(soft, expected, strict=True)]
    told = ["" if reason == Reason.RAMPING else reason for reason in decision.reasons or ("",) * len(expected)]
    assert told == [reason.value for reason in expected]


@given(situations())
def test_the_short_way_to_the_first_send_says_what_decide_says(situation: Situation) -> None:
    chosen, found, asked = situation
    plan, _ = decide(asked, chosen, found)
    assert first(asked, chosen, found) == (plan.order[0] if plan.order else -1)


@given(situations())
def test_i29_a_stored_decision_can_be_made_again_from_its_record(situation: Situation) -> None:
    chosen, found, asked = situation
    plan, decision = decide(asked, chosen, found)
    record = Admitted(asked, "theirs", 1, ("dev", "", "", ""), "r", found)
    (stored,) = entry.decode_records(entry.encode_records([record]))
    assert isinstance(stored, Admitted) and stored == record
    again, hold_nano = entry.decision_of(stored, {chosen.route.name: chosen})
    assert (again, hold_nano) == (decision, plan.hold_nano)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(decision)


@given(situations(), st.booleans())
def test_i29_the_head_of_a_decision_says_what_the_whole_of_it_says(situation: Situation, calm: bool) -> None:
    chosen, found, asked = situation
    if calm and not any(health(state, found.now_ms) or state.ramp_until_ms > found.now_ms for state in found.states):
        found = msgspec.structs.replace(found, calm=True)
    record = Admitted(asked, "theirs", 1, ("dev", "", "", ""), chosen.route.name, found)
    (filed,) = entry.decode_filed(entry.encode_records([record]))
    assert isinstance(filed, entry.Filed) and filed.whole() == record
    routes = {chosen.route.name: chosen}
    told = head(filed, way_of(record.asked_model, asked.route, routes))
    assert told == head_of(*entry.decision_of(record, routes))
    again = entry.decode_recorded(entry.encode_recorded(filed))
    assert entry.decided_by(again, routes) == entry.decision_of(record, routes)


def test_waiting_is_named_only_when_it_helps() -> None:
    cooling = State(cool_until_ms=NOW_MS + 4_000)
    ejected = State(ejections=1, open_until_ms=NOW_MS + 2_000)
    two = options([deployment("a"), deployment("b")])
    plan, decision = decide(request(), two, snapshot((cooling, ejected)))
    assert (plan.order, plan.refused, plan.wait_ms) == ((), "ejected", 2_000.0)
    assert decision.reasons == ("cooling", "ejected")
    poor = options([deployment("a", tools=False)])
    plan, decision = decide(request(Features(10, needs=NEED_TOOLS)), poor, snapshot((UNKNOWN,)))
    assert (plan.order, plan.refused, plan.wait_ms) == ((), "capability", 0.0)


@pytest.mark.parametrize(
    ("facts", "features", "reason"),
    [
        ({}, Features(10**8, 10**6, NEED_TOOLS | NEED_IMAGE), Reason.ELIGIBLE),  # unknown is not a no
        ({"context_tokens": 100}, Features(90, 10), Reason.ELIGIBLE),
        ({"context_tokens": 100}, Features(90, 11), Reason.CONTEXT),
        ({"context_tokens": 100}, Features(100), Reason.ELIGIBLE),
        ({"max_output_tokens": 50}, Features(1, 51), Reason.OUTPUT),
        ({"modalities": ("text",)}, Features(1, needs=NEED_IMAGE), Reason.CAPABILITY),
        ({"modalities": ("text", "image")}, Features(1, needs=NEED_IMAGE), Reason.ELIGIBLE),
        ({"tools": False}, Features(1, needs=NEED_TOOLS), Reason.CAPABILITY),
    ],
)
def test_a_fact_that_is_known_removes_a_candidate(facts: dict[str, object], features: Features, reason: Reason) -> None:
    made = options([deployment("a", price(1, 1), **facts)])
    assert static(made, made.options[0], features) is reason


def test_a_price_that_is_unknown_removes_a_candidate_only_where_the_route_says_so() -> None:
    for rule, reason in (("allow", Reason.ELIGIBLE), ("deny", Reason.UNPRICED)):
        made = options([deployment("a")], unpriced=rule)
        assert static(made, made.options[0], Features(1)) is reason

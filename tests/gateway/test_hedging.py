"""Hedging: a second attempt joins one that is slow to begin; the first with content wins, both are booked (fault 60)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask, fetch
from gateway_router import Router, until

StartRouter = Callable[..., Router]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
LATE = {"match": {"provider": "openai"}, "at": "headers", "do": "delay", "ms": 4_000}


def started(lab: Lab, start_router: StartRouter, hedge: Any, earn: int = 21, **more: Any) -> Router:
    """Return a router whose route `r` has earned a hedge by quick requests."""
    deployments = {"first": deployment("openai", "m"), "second": deployment("anthropic", "m")}
    routes = {"r": {"candidates": ["first", "second"], "hedge": hedge}}
    router = start_router(small_config(lab, deployments, routes, **more))
    for _ in range(earn):
        assert ask(router, "r").headers["x-pointsman-deployment"] == "first"
    return router


@BOTH
def test_f60_the_first_with_content_wins_and_the_other_is_cancelled_and_booked(
    own_lab: Lab, start_router: StartRouter, stream: bool
) -> None:
    router = started(own_lab, start_router, {"after_ms": 100})
    own_lab.script([LATE])
    answer = ask(router, "r", stream=stream)
    until(lambda: own_lab.active("openai") == 0, 1)
    assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "second"
    assert answer.headers["x-pointsman-attempts"] == "2"
    booked = router.settled(answer.id)
    assert booked.outcome == "ok" and booked.total_ms < 1_000
    slow, good = booked.attempts
    assert (slow.deployment, slow.outcome, slow.usage.source) == ("first", "cancelled", "estimated")
    assert slow.charge_nano > 0 and slow.usage.output_tokens == 0
    assert (good.deployment, good.outcome) == ("second", "ok") and 90 <= good.started_ms < 300
    assert abs(slow.ended_ms - (good.answered_ms)) < 100  # fault 60: the loser is let go within 100 ms
    assert booked.charge_nano == slow.charge_nano + good.charge_nano
    router.check_books()
    again = ask(router, "r")  # the hedge is spent
    assert again.headers["x-pointsman-deployment"] == "first"
    assert len(router.settled(again.id).attempts) == 1


def test_the_first_may_still_win(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, {"after_ms": 100})
    own_lab.script([LATE | {"ms": 400}, LATE | {"match": {"provider": "anthropic"}}])
    answer = ask(router, "r")
    assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "first"
    loser, winner = router.settled(answer.id).attempts
    assert (loser.deployment, loser.outcome) == ("second", "cancelled")
    assert (winner.deployment, winner.outcome) == ("first", "ok") and winner.started_ms < loser.started_ms
    until(lambda: own_lab.active("anthropic") == 0, 1)


def test_when_one_fails_the_other_goes_on(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, {"after_ms": 100})
    broken = {"match": {"provider": "anthropic"}, "at": "headers", "do": "status", "status": 500}
    own_lab.script([LATE | {"ms": 500}, broken])
    answer = ask(router, "r")
    assert answer.status == 200 and answer.headers["x-pointsman-deployment"] == "first"
    assert [row.outcome for row in router.settled(answer.id).attempts] == ["server_error", "ok"]


def test_i14_hedges_stay_within_their_share(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, {"after_ms": 1, "share": 0.05}, earn=0)
    own_lab.script([LATE | {"ms": 120}])
    answers = [ask(router, "r") for _ in range(45)]
    assert all(answer.status == 200 for answer in answers)
    hedged = [a for a in answers if len(router.settled(a.id).attempts) > 1]
    assert 1 <= len(hedged) <= 2  # 45 requests earn two and a quarter


def test_nothing_is_hedged_before_a_percentile_was_measured(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, "p95", earn=3)
    own_lab.script([LATE | {"ms": 300}])
    answer = ask(router, "r")
    assert answer.status == 200 and len(router.settled(answer.id).attempts) == 1


def test_a_hedge_waits_for_the_measured_percentile(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, "p95", earn=25)
    with_p95 = until(lambda: _p95(router), 3)
    assert with_p95 < 100
    own_lab.script([LATE])
    answer = ask(router, "r")
    assert answer.headers["x-pointsman-deployment"] == "second"


def _p95(router: Router) -> float:
    rows = {row["deployment"]: row for row in fetch(router, "/v1/health/deployments").json["deployments"]}
    return float(rows["first"].get("ttft_p95_ms") or 0.0)


def test_nobody_is_hedged_to_who_is_in_trouble(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, {"after_ms": 100})
    broken = {"match": {"provider": "anthropic"}, "at": "headers", "do": "status", "status": 500}
    own_lab.script([{"match": {"provider": "openai"}, "at": "headers", "do": "status", "status": 503}, broken])
    assert ask(router, "r").status == 503  # now the last end of both was a failure
    own_lab.script([LATE | {"ms": 400}])
    answer = ask(router, "r")
    assert answer.status == 200 and len(router.settled(answer.id).attempts) == 1


def test_the_deadline_ends_both(own_lab: Lab, start_router: StartRouter) -> None:
    router = started(own_lab, start_router, {"after_ms": 100})
    own_lab.script([LATE, LATE | {"match": {"provider": "anthropic"}}])
    answer = ask(router, "r", pointsman={"timeout_ms": 600})
    assert answer.status == 503 and answer.json["error"]["code"] == "deadline_exceeded"
    assert [row.outcome for row in router.settled(answer.id).attempts] == ["deadline", "deadline"]
    until(lambda: own_lab.active("openai") == own_lab.active("anthropic") == 0, 1)
    router.check_books()

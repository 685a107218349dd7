"""Limits of money and quality at the front door: what a request and a day may cost, and what is given up for an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway_lab import Lab
from gateway_policy import CODE, dry, routes, settled, went
from gateway_raw import Wire, ask, chat_body, post
from gateway_router import Router, until

Start = Callable[..., Router]
ANSWER_USD = 20 * 15e-6  # about what an answer of `good` costs: twenty tokens


def test_a_request_may_cost_no_more_than_its_route_allows(lab: Lab, start_router: Start) -> None:
    config = {"r": {"candidates": ["good", "cheap"], "limits": {"usd_per_request": 0.01}}}
    router = start_router(routes(lab, config | {"only": {"candidates": ["good"], "limits": {"usd_per_request": 1e-6}}}))
    assert went(ask(router, "r", text="hello")) == "good"
    long = ask(router, "r", text="sea " * 5_000)
    assert went(long) == "cheap"
    assert {c["deployment"]: c["reason"] for c in dry(router, "r", text="sea " * 5_000)["candidates"]} == {
        "cheap": "",
        "good": "cost",
    }
    refused = ask(router, "only")
    assert (refused.status, refused.error["code"], refused.error["origin"]) == (503, "demands_not_met", "router")
    assert "usd_per_request" in refused.error["message"] and refused.headers["x-should-retry"] == "false"
    assert settled(router, refused).attempts == ()


def test_a_day_costs_no_more_than_its_route_allows_also_after_a_restart(lab: Lab, start_router: Start) -> None:
    limits = {"usd_per_day": 0.012}
    config = routes(
        lab,
        {
            "r": {"candidates": ["good", "free"], "limits": limits},
            "only": {"candidates": ["good"], "limits": limits},
            "by-share": {
                "candidates": ["good"],
                "limits": limits,
                "rules": [{"when": "budget.day_used > 0.2", "candidates": ["free"]}],
            },
        },
    )
    router = start_router(config)
    spent, answers = 0.0, 0
    while went(answer := ask(router, "r")) == "good":
        spent += float(answer.headers["x-pointsman-cost-usd"])
        answers += 1
        assert answers < 100
    assert went(answer) == "free"  # costs nothing, so it may go on
    assert 0.0 < spent <= 0.012
    reason = {c["deployment"]: c["reason"] for c in dry(router, "r")["candidates"]}["good"]
    assert reason == "spent"
    while (answer := ask(router, "only")).status == 200:
        pass
    assert (answer.status, answer.error["code"]) == (429, "route_budget_spent")
    assert int(answer.headers["retry-after"]) >= 1 and answer.headers["x-should-retry"] == "false"
    assert settled(router, answer).outcome == "spent"
    used = {went(ask(router, "by-share")) for _ in range(12)}
    assert used == {"good", "free"}
    assert dry(router, "by-share")["facts"]["rules_saw"]["budget.day_used"] > 0.2

    written = router.data / "run" / "spent-0.msgpack"
    until(lambda: written.exists() and b"by-share" in written.read_bytes())
    total = dry(router, "by-share")["facts"]["rules_saw"]["budget.day_used"]
    assert router._process is not None
    until(lambda: abs(_written(written, "by-share") / 0.012e9 - total) < 1e-6)
    router._process.kill()
    router._process.wait()
    router.start()
    assert went(ask(router, "r")) == "free"
    assert ask(router, "only").error["code"] == "route_budget_spent"
    assert dry(router, "by-share")["facts"]["rules_saw"]["budget.day_used"] == total


def _written(path: object, route: str) -> int:
    import msgspec

    return int(msgspec.msgpack.decode(path.read_bytes())["nano"].get(route, 0))  # type: ignore[attr-defined]


def test_what_was_spent_is_written_when_a_worker_ends_as_it_is_told(lab: Lab, start_router: Start) -> None:
    """A restart on purpose forgets no second of it."""
    config = routes(lab, {"r": {"candidates": ["good"], "limits": {"usd_per_day": 1}}})
    router = start_router(config)
    cost = float(ask(router, "r").headers["x-pointsman-cost-usd"])
    router.term()
    router.wait_ended()
    assert _written(router.data / "run" / "spent-0.msgpack", "r") == round(cost * 1e9)


def test_a_floor_keeps_the_poor_models_out_by_the_kind_of_task(lab: Lab, start_router: Start) -> None:
    config = {"r": {"candidates": ["cheap", "good"], "strategy": "cheapest", "quality_floor": 0.55}}
    router = start_router(routes(lab, config))
    assert went(ask(router, "r", text="a letter to my aunt")) == "cheap"
    assert went(ask(router, "r", text=CODE)) == "good"
    assert {c["deployment"]: c["reason"] for c in dry(router, "r", text=CODE)["candidates"]} == {
        "good": "",
        "cheap": "quality",
    }


def test_a_demand_is_given_up_where_the_route_says_so_and_the_answer_can_be_asked_why(
    lab: Lab, start_router: Start
) -> None:
    config = {"r": {"candidates": ["cheap"], "quality_floor": 0.7, "relax": ["quality_floor"]}}
    router = start_router(routes(lab, config))
    answer = ask(router, "r", pointsman={"explain": True})
    assert went(answer) == "cheap"
    assert "gave up quality_floor" in answer.headers["x-pointsman-why"]
    assert dry(router, "r")["relaxed"] == ["quality_floor"]


def test_requests_under_way_count_against_the_day_and_what_they_held_comes_back(
    own_lab: Lab, start_router: Start
) -> None:
    """Ten at once: what is predicted for one is more than half of the day, so one is let in at a time."""
    held = {"r": {"candidates": ["good", "free"], "limits": {"usd_per_day": 0.012}}}
    router = start_router(routes(own_lab, held) | {"limits": {"breaker_failures": 100}})
    slow = {"do": "delay", "ms": 400, "match": {"provider": "anthropic"}}
    own_lab.script([slow])
    with ThreadPoolExecutor(10) as pool:
        found = Counter(pool.map(lambda n: went(ask(router, "r", text=f"question {n}")), range(10)))
    assert found == {"good": 1, "free": 9}
    own_lab.script([])
    assert went(ask(router, "r")) == "good"

    own_lab.script([slow | {"ms": 30_000}])
    with Wire(router.port) as wire:  # who leaves gives back what was held
        wire.send(post(chat_body("r", stream=True)))
        until(lambda: went(ask(router, "r")) == "free")
    own_lab.script([])
    until(lambda: went(ask(router, "r")) == "good")

    own_lab.script([{"do": "status", "status": 500, "match": {"provider": "anthropic"}}])
    for _ in range(3):  # so do failures
        assert went(ask(router, "r")) == "free"
    own_lab.script([])
    assert went(ask(router, "r")) == "good"
    router.check_books()

"""Who may come in: so many requests of a key at a time, and the lower classes are turned away before a worker is full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_raw import AUTH, Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router, until

from pointsman.core.policy import Key
from pointsman.core.priority import PRIORITIES
from pointsman.gateway.counts import Counts

StartRouter = Callable[..., Router]
OTHER = "sk-other-0123456789abcdef0123456789abcdef"
HERE = "Host: localhost"
HANGS = FAST | {"ttft_ms": {"p50": 20_000, "p95": 20_000}}


@pytest.fixture(scope="module")
def hanging() -> Iterator[Lab]:
    """A provider with a model that answers at once and one that does not."""
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": {"m": FAST, "hangs": HANGS}}
    with Lab({"providers": [provider], "seed": 7}) as running:
        yield running


def config(lab: Lab, keys: list[dict[str, Any]] | None = None, **limits: int) -> dict[str, Any]:
    deployments = {"m": deployment("openai", "m"), "hangs": deployment("openai", "hangs")}
    return small_config(lab, deployments, {}, limits=limits) | ({"keys": keys} if keys else {})


class Crowd:
    """Requests that hang, until the end of the `with`."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.wires: list[Wire] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self.wires:
            wire.close()
        until(lambda: load(self.router)["active"] == 0)

    def grow_to(self, count: int, *lines: str, auth: str = AUTH) -> None:
        while len(self.wires) < count:
            self.wires.append(Wire(self.router.port))
            self.wires[-1].send(post(chat_body("hangs"), *lines, auth=auth))
        until(lambda: load(self.router)["active"] == count)


def load(router: Router) -> dict[str, float]:
    found: dict[str, float] = fetch(router, "/health", HERE, auth="").json["load"]
    return found


def metric(router: Router, name: str) -> float:
    text = fetch(router, "/metrics", auth="").body.decode()
    return float(next(line.split(" ")[-1] for line in text.splitlines() if line.startswith(name)))


def test_f74_a_key_has_no_more_than_its_requests_under_way_and_others_are_not_touched(
    hanging: Lab, start_router: StartRouter
) -> None:
    keys = [{"name": "dev", "key": KEY, "concurrency": 5}, {"name": "other", "key": OTHER}]
    router = start_router(config(hanging, keys))
    with Crowd(router) as crowd:
        crowd.grow_to(5)
        answer = ask(router, "m")
        assert (answer.status, answer.error["code"]) == (429, "too_many_concurrent_requests")
        assert answer.error["origin"] == "client" and int(answer.headers["retry-after"]) >= 1
        with Wire(router.port) as wire:
            wire.send(post(chat_body("m"), auth=f"authorization: Bearer {OTHER}"))
            assert wire.response().status == 200
        crowd.wires.pop().close()
        until(lambda: load(router)["active"] == 4)
        assert ask(router, "m").status == 200  # what has ended makes room
    assert ask(router, "m").status == 200
    assert metric(router, 'pointsman_refused_total{code="too_many_concurrent_requests"}') == 1
    router.check_books()


def test_f74_without_a_setting_a_key_has_the_limit_of_all(hanging: Lab, start_router: StartRouter) -> None:
    router = start_router(config(hanging, key_concurrency=3))
    with Crowd(router) as crowd:
        crowd.grow_to(3)
        assert ask(router, "m").status == 429
    assert router.policy.limits.key_concurrency == 3


def test_f74_the_caller_of_an_open_router_has_no_limit(hanging: Lab, start_router: StartRouter) -> None:
    router = start_router(config(hanging, key_concurrency=2), keys=False)
    with Crowd(router) as crowd:
        crowd.grow_to(4, HERE)
        assert ask(router, "m", HERE).status == 200


def test_f74_f77_several_workers_count_together(tmp_path: Path) -> None:
    key = Key(name="dev", digest=b"1", concurrency=4)
    workers = [Counts() for _ in range(3)]
    for number, counts in enumerate(workers, 1):
        counts.share(tmp_path, number, 3)
        counts.adopt([key], 100)
    accounts = [counts.accounts["dev"] for counts in workers]
    for account in (*accounts, accounts[0]):
        assert not account.is_full()
        account.enter()
    assert all(account.is_full() for account in accounts)
    accounts[2].leave()
    assert not any(account.is_full() for account in accounts)
    # A worker that died is started again: what it had under way is no more.
    again = Counts()
    again.share(tmp_path, 1, 3)
    again.adopt([key], 100)
    accounts[2].enter()
    assert not accounts[2].is_full() and not again.accounts["dev"].is_full()


def test_f74_f96_a_reload_keeps_the_counts_of_the_keys_that_stay(tmp_path: Path) -> None:
    dev, new = Key(name="dev", digest=b"1", concurrency=2), Key(name="new", digest=b"2", concurrency=1)
    workers = [Counts(), Counts()]
    for number, counts in enumerate(workers, 1):
        counts.share(tmp_path, number, 2)
        counts.adopt([dev], 100)
    gone = workers[0].accounts["dev"]
    gone.enter()
    for counts in workers:
        counts.adopt([new, dev], 100)
    assert workers[1].accounts["dev"].is_full() is False
    workers[1].accounts["dev"].enter()
    assert workers[0].accounts["dev"].is_full()
    gone.leave()
    assert not workers[1].accounts["dev"].is_full()
    assert len(list(tmp_path.iterdir())) == 1  # of the version before nothing is left


CLASSES = [{"name": "dev", "key": KEY, "priority": "critical", "concurrency": 100}]


def named(name: str) -> str:
    return f"x-pointsman-priority: {name}"


def test_f106_the_lower_classes_are_shed_before_the_others(hanging: Lab, start_router: StartRouter) -> None:
    router = start_router(config(hanging, CLASSES, concurrent_requests=100))
    with Crowd(router) as crowd:
        for share, let_in in ((0.60, 4), (0.72, 3), (0.87, 2)):
            crowd.grow_to(int(share * 100), named("critical"))
            answers = {name: ask(router, "m", named(name)) for name in PRIORITIES}
            statuses = [answers[name].status for name in PRIORITIES]
            assert statuses == [200] * let_in + [503] * (4 - let_in), f"at {share}"
            for refused in (one for one in answers.values() if one.status == 503):
                assert refused.error["code"] == "overloaded" and refused.error["origin"] == "router"
                assert 1 <= int(refused.headers["retry-after"]) <= 8
        assert metric(router, 'pointsman_shed_total{priority="low"}') == 2
        assert metric(router, 'pointsman_shed_total{priority="normal"}') == 1
        assert metric(router, 'pointsman_shed_total{priority="critical"}') == 0
        assert 0.86 < metric(router, "pointsman_pressure ") < 0.89
    router.check_books()


def test_what_is_shed_is_told_at_different_times_and_a_retry_is_not_asked_for_twice(
    hanging: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(hanging, CLASSES, concurrent_requests=20))
    with Crowd(router) as crowd:
        crowd.grow_to(18, named("critical"))
        normal = [ask(router, "m", named("normal")) for _ in range(30)]
        assert len({answer.headers["retry-after"] for answer in normal}) > 2  # they do not come back together
        assert not any("x-should-retry" in answer.headers for answer in normal)
        retried = ask(router, "m", named("normal"), "x-stainless-retry-count: 1")
        assert retried.headers["x-should-retry"] == "false"
        assert ask(router, "m", named("low")).headers["x-should-retry"] == "false"


def test_the_priority_of_a_key_is_the_highest_its_requests_may_name(hanging: Lab, start_router: StartRouter) -> None:
    keys = [
        {"name": "dev", "key": KEY, "priority": "critical"},
        {"name": "batch", "key": OTHER, "priority": "low"},
    ]
    router = start_router(config(hanging, keys, concurrent_requests=20))
    batch = f"authorization: Bearer {OTHER}"
    with Crowd(router) as crowd:
        crowd.grow_to(15)
        assert ask(router, "m").status == 200
        for lines in ((), (named("critical"),), (named("low"),)):
            with Wire(router.port) as wire:
                wire.send(post(chat_body("m"), *lines, auth=batch))
                assert wire.response().status == 503


def test_a_priority_in_the_body_counts_and_the_lower_one_of_two(hanging: Lab, start_router: StartRouter) -> None:
    router = start_router(config(hanging, CLASSES, concurrent_requests=20))
    with Crowd(router) as crowd:
        crowd.grow_to(15)
        assert ask(router, "m", pointsman={"priority": "low"}).status == 503
        assert ask(router, "m", pointsman={"priority": "high"}).status == 200
        assert ask(router, "m", named("low"), pointsman={"priority": "critical"}).status == 503
        assert ask(router, "m", named("high"), pointsman={"priority": "low"}).status == 503


def test_a_priority_that_there_is_not_is_refused_and_the_message_says_which_there_are(
    hanging: Lab, start_router: StartRouter
) -> None:
    router = start_router(config(hanging))
    answer = ask(router, "m", named("urgent"))
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")
    assert all(name in answer.error["message"] for name in PRIORITIES)
    assert ask(router, "m", pointsman={"priority": "urgent"}).status == 400


def test_a_rule_may_look_at_the_priority(hanging: Lab, start_router: StartRouter) -> None:
    rules = [{"when": 'request.priority == "low"', "use": "m"}, {"use": "hangs"}]
    keys = [{"name": "dev", "key": KEY, "priority": "normal"}]
    router = start_router(config(hanging, keys) | {"routes": {"by-class": {"rules": rules}}})
    for lines in ((named("low"),), (named("low"), "x-request-id: 1")):
        assert ask(router, "by-class", *lines).headers["x-pointsman-deployment"] == "m"
    body = chat_body("by-class", pointsman={"priority": "low"})
    with Wire(router.port) as wire:
        wire.send(post(body))
        assert wire.response().headers["x-pointsman-deployment"] == "m"
    with Wire(router.port) as wire:
        wire.send(post(chat_body("by-class"), named("critical"), path="/v1/route"))
        told = json.loads(wire.response().body)
    assert "hangs" in json.dumps(told)


def test_f99_a_large_body_is_refused_from_its_head_alone(hanging: Lab, start_router: StartRouter) -> None:
    router = start_router(config(hanging, CLASSES, concurrent_requests=20))
    head = post(b"", named("low")).replace(b"content-length: 0", b"content-length: 5000000")
    with Crowd(router) as crowd:
        crowd.grow_to(16)
        with Wire(router.port) as wire:
            wire.send(head)
            answer = wire.response()  # no byte of the body was sent
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert answer.headers["connection"] == "close"
            wire.send(b"x" * 1_000_000)  # and what is still on its way does not cost the answer
            assert wire.ended()
        with Wire(router.port) as wire:  # a small one is read, and the connection goes on
            small = post(chat_body("m"), named("low"))
            wire.send(small[:-5])
            wire.send(small[-5:])
            assert wire.response().status == 503
            wire.send(post(chat_body("m")))
            assert wire.response().status == 200

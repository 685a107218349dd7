"""Limits and budgets as a client and an operator meet them: what is refused and how, what is told, what is given back."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_router import KEY, Router, until

from counter_servers import SHARED, Shared, started
from servers import PostgresServer

StartRouter = Callable[..., Router]
OTHER = "sk-other-0123456789abcdef0123456789abcdef"
ROUNDS = 5  # on a busy machine, until one in which the server of the counters always answers in time
HANGS = FAST | {"ttft_ms": {"p50": 20_000, "p95": 20_000}}
KEYS = [{"name": "dev", "key": KEY, "team": "core"}, {"name": "other", "key": OTHER, "team": "core"}]


@pytest.fixture(scope="module")
def limited() -> Iterator[Lab]:
    models = {"m": FAST, "n": FAST, "hangs": HANGS, "broken": FAST}
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": models}
    script = [{"match": {"model": "broken"}, "do": "status", "status": 500}]
    with Lab({"providers": [provider], "seed": 7, "script": script}) as running:
        yield running


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """A server that routers share their counters in."""
    (tmp_path / "server").mkdir()
    postgres = request.getfixturevalue("postgres") if request.param == "postgresql:" else None
    yield from started(request.param, tmp_path / "server", postgres)


def config(lab: Lab, *quotas: dict[str, Any], **server: Any) -> dict[str, Any]:
    deployments = {name: deployment("openai", name) for name in ("m", "n", "hangs", "broken")}
    deployments["free"] = {"provider": "openai", "model": "n", "context": 128_000}
    routes = {
        "cheap": {"candidates": ["n"]},
        "over": {"candidates": ["broken", "m"]},
        "unpriced": {"candidates": ["free"]},
    }
    return small_config(lab, deployments, routes, keys=KEYS, quotas=list(quotas), server=server)


def ask_as(router: Router, key: str, model: str = "m", **more: Any) -> Response:
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, **more), auth=f"authorization: Bearer {key}"))
        return wire.response()


def stands(router: Router, counter: str) -> tuple[int, int]:
    """Return what `pointsman limits` reads as used and held of a counter; -1 when it does not know it."""
    from pointsman.control.measures import readings

    found = [(row.used, row.held) for row in readings(router.data) if row.counter == counter]
    return found[0] if found else (-1, -1)


def metric(router: Router, name: str) -> float:
    text = fetch(router, "/metrics", auth="").body.decode()
    found = [line for line in text.splitlines() if line.startswith(name)]
    return float(found[0].split(" ")[-1]) if found else 0.0


def seconds(span: str) -> float:
    """Read a time as OpenAI writes it."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", span)
    assert parts, span
    hours, minutes, whole, milli = (int(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + whole + milli / 1000


def test_requests_of_each_key_are_counted_for_itself_and_told(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"key": "default", "requests": "3/h"}))
    answers = [ask(router, "m") for _ in range(4)]
    assert [one.status for one in answers] == [200, 200, 200, 429]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["2", "1", "0", "0"]
    assert {one.headers["x-ratelimit-limit-requests"] for one in answers} == {"3"}
    assert 3590 < seconds(answers[2].headers["x-ratelimit-reset-requests"]) <= 3600
    assert "x-ratelimit-limit-tokens" not in answers[0].headers
    refused = answers[3]
    assert (refused.error["code"], refused.error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
    assert refused.error["origin"] == "client" and "key dev" in refused.error["message"]
    assert 1190 < int(refused.headers["retry-after"]) <= 1200
    assert refused.headers["x-should-retry"] == "false"  # nobody is to wait so long by itself
    assert ask_as(router, OTHER).status == 200
    assert metric(router, 'pointsman_quota_events_total{quota="each key requests/h",event="refused"}') == 1
    router.check_books()


def test_retry_after_is_exact(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"key": "dev", "requests": "2/s"}))
    answers = [ask(router, "m") for _ in range(3)]
    refused = answers[-1]
    assert (refused.status, refused.headers["retry-after"]) == (429, "1") and "x-should-retry" not in refused.headers
    time.sleep(1)
    assert ask(router, "m").status == 200


def test_tokens_are_reserved_by_the_cap_and_settled_by_the_count(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"team": "core", "tokens": "10k/d", "output_tokens": "5000/d"}))
    answer = ask(router, "m", max_tokens=4000)
    assert int(answer.headers["x-ratelimit-limit-tokens"]) == 5000
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == 1000
    used = answer.json["usage"]["completion_tokens"]
    answer = ask_as(router, OTHER, max_tokens=4000, stream=True)  # the same team; what was not used came back
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == 1000 - used
    refused = ask(router, "m", max_tokens=5001)
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")
    assert "more than the whole limit" in refused.error["message"]
    total = sum(row.usage.output_tokens for one in router.all_settled() for row in one.attempts)
    until(lambda: stands(router, "team=core output_tokens/d") == (total, 0))


def test_f88_a_budget_holds_the_worst_case_and_charges_what_was_spent(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"key": "dev", "usd": "0.10/month"}))
    answer = ask(router, "m", max_tokens=9000)
    assert answer.status == 200
    spent = router.settled(answer.id).charge_nano
    refused = ask(router, "m", max_tokens=9999)
    assert (refused.status, refused.error["code"]) == (429, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false" and int(refused.headers["retry-after"]) >= 1
    assert f"{0.1 - spent / 1e9:.9f}".rstrip("0") in refused.error["message"]
    assert ask(router, "m", max_tokens=9000).status == 200
    total = sum(one.charge_nano for one in router.all_settled())
    until(lambda: stands(router, "key=dev usd/mo") == (total, 0))
    assert ask(router, "unpriced", max_tokens=9999).status == 200  # no price: no charge, which the ledger says
    assert "x-ratelimit-limit-requests" not in answer.headers


def test_failover_is_charged_and_failures_are_not(limited: Lab, start_router: StartRouter) -> None:
    quotas = (
        {"usd": "1/d"},
        {"model": "m", "requests": "100/d"},
        {"model": "broken", "requests": "100/d", "tokens": "1M/d"},
    )
    router = start_router(config(limited, *quotas))
    answer = ask(router, "over")
    spent = router.settled(answer.id).charge_nano
    until(lambda: stands(router, "all usd/d") == (spent, 0))
    ask(router, "over")
    until(lambda: stands(router, "all model=broken requests/d") == (2, 0))
    assert stands(router, "all model=broken tokens/d") == (0, 0) and stands(router, "all model=m requests/d") == (2, 0)


def test_a_soft_quota_only_tells(limited: Lab, tmp_path: Path) -> None:
    with Router(config(limited, {"team": "core", "requests": "5/d", "over": "notify"}), tmp_path) as router:
        assert {ask(router, "m").status for _ in range(8)} == {200}
        (alert,) = [one for one in router.alerts() if one["alert"] == "quota_near_limit"]
        assert (alert["quota"], alert["subject"], alert["left"]) == ("team core requests/d", "core", "1 requests")
        assert metric(router, 'pointsman_quota_events_total{quota="team core requests/d",event="over"}') == 3
        router.check_quiet()


def test_a_quota_may_send_on_to_another_route(limited: Lab, start_router: StartRouter) -> None:
    quotas = (
        {"key": "dev", "requests": "2/d", "degrade": "cheap"},
        {"key": "dev", "route": "cheap", "requests": "1/d"},
    )
    router = start_router(config(limited, *quotas))
    answers = [ask(router, "m") for _ in range(4)]
    assert [one.status for one in answers] == [200, 200, 200, 429]
    assert [one.headers.get("x-pointsman-model") for one in answers] == ["m", "m", "n", None]
    assert answers[2].headers["x-pointsman-quota"] == "key dev requests/d"
    assert "key dev cheap requests/d" in answers[3].error["message"]
    assert router.admitted(answers[2].id).tags == ("quota:key dev requests/d",)


def test_all_quotas_hold_at_once_or_none_is_taken(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"key": "dev", "requests": "100/d"}, {"key": "dev", "tokens": "3000/d"}))
    assert ask(router, "m", max_tokens=9000).status == 429
    answer = ask(router, "m", max_tokens=5)
    assert answer.headers["x-ratelimit-remaining-requests"] == "99"


def test_f93_whatever_ends_a_request_gives_its_holds_back(limited: Lab, start_router: StartRouter) -> None:
    router = start_router(config(limited, {"key": "dev", "usd": "1000/d", "tokens": "100M/d"}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask(router, ("m", "broken", "over")[n % 3], stream=n % 2 == 0), range(60)))
    for _ in range(5):
        wire = Wire(router.port)
        wire.send(post(chat_body("hangs", max_tokens=50)))
        wire.close()
    wire = Wire(router.port)
    wire.send(post(chat_body("hangs", max_tokens=50)))
    until(lambda: stands(router, "key=dev usd/d")[1] > 0)
    wire.close()
    router.check_books()
    total = sum(one.charge_nano for one in router.all_settled())
    until(lambda: stands(router, "key=dev usd/d") == (total, 0) and stands(router, "key=dev tokens/d")[1] == 0)


def test_a_killed_worker_gives_its_holds_back_and_keeps_what_was_used(limited: Lab, tmp_path: Path) -> None:
    router = Router(config(limited, {"key": "dev", "requests": "3/d"}), tmp_path)
    with router:
        assert ask(router, "m").status == 200
        wires = [Wire(router.port) for _ in range(2)]
        for wire in wires:
            wire.send(post(chat_body("hangs")))
        until(lambda: fetch(router, "/health", auth="").json["load"]["active"] == 2)
        assert ask(router, "m").status == 429
        os.kill(router.pid, signal.SIGKILL)
        router.wait_ended()
        router.start()
        assert [ask(router, "m").status for _ in range(3)] == [200, 200, 429]


def test_limits_without_keys_count_everyone_together(limited: Lab, start_router: StartRouter) -> None:
    quotas = small_config(limited, {"m": deployment("openai", "m")}, {}, quotas=[{"requests": "1/d"}])
    router = start_router(quotas, keys=False)
    assert [ask(router, "m", "Host: localhost", auth="").status for _ in range(2)] == [200, 429]


@pytest.mark.serial
def test_f77_replicas_share_one_limit(limited: Lab, place: Shared, start_router: StartRouter) -> None:
    quotas = {"team": "core", "usd": "1/d"}, {"key": "default", "requests": "250/d"}
    shared = config(limited, *quotas, counters=place.url, replicas=4)
    keys = [f"sk-round{n}-0123456789abcdef0123456789abcdef" for n in range(ROUNDS)]
    shared["keys"] = [{"name": f"r{n}", "key": key, "team": "core"} for n, key in enumerate(keys)] + KEYS
    shared["limits"] = {"key_concurrency": 1000}
    routers = [start_router(shared) for _ in range(4)]

    def silences() -> float:
        lines = [line for router in routers for line in fetch(router, "/metrics", auth="").body.decode().splitlines()]
        return sum(float(one.split(" ")[-1]) for one in lines if one.startswith("pointsman_counters_failures_total"))

    for key in keys:
        until(lambda: all(metric(router, "pointsman_counters_local") == 0 for router in routers))
        before = silences()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda n, key=key: ask_as(routers[n % 4], key), range(400)))  # type: ignore[misc]
        if sorted(one.status for one in answers) == [200] * 250 + [429] * 150:
            break
        # A server that this machine kept from answering for 50 ms: who then counts alone, tells it (f84).
        until(lambda before=before: silences() > before, 5)  # type: ignore[misc]
    else:
        raise AssertionError("in no round did the server answer everybody in time")
    for router in routers:
        router.check_books()
    spent = sum(one.charge_nano for router in routers for one in router.all_settled())
    until(lambda: place.state("team=core usd/d") == (spent, 0))
    assert spent > 0
    assert ask_as(routers[0], OTHER).status == 200


@pytest.mark.serial
def test_f84_a_frozen_server_costs_a_handful_50_ms_and_comes_back(limited: Lab, place: Shared, tmp_path: Path) -> None:
    shared = config(limited, {"key": "dev", "requests": "400/d"}, counters=place.url, replicas=4)
    with Router(shared, tmp_path / "data") as router:
        assert ask(router, "m").headers["x-ratelimit-remaining-requests"] == "399"
        place.freeze()
        try:
            waits_ms, answers = [], []
            for _ in range(110):
                began_s = time.monotonic()
                answers.append(ask(router, "m"))
                waits_ms.append((time.monotonic() - began_s) * 1000)
            assert [one.status for one in answers[:99]] == [200] * 99  # its share of what was left: 399 / 4
            assert answers[-1].status == 429
            assert sum(wait > 40 for wait in waits_ms) <= 6 and max(waits_ms) < 150
            until(lambda: metric(router, "pointsman_counters_local") == 1)
        finally:
            place.thaw()
        until(lambda: metric(router, "pointsman_counters_local") == 0, 10)
        until(lambda: place.state("key=dev requests/d")[0] == 100)
        assert int(ask(router, "m").headers["x-ratelimit-remaining-requests"]) == 299
        assert {one["alert"] for one in router.alerts()} >= {"counters_local", "counters_shared"}
        router.check_books()


def test_a_worker_that_is_told_to_end_gives_its_leases_back(limited: Lab, place: Shared, tmp_path: Path) -> None:
    quota = {"key": "dev", "requests": "1M/d"}
    shared = config(limited, quota, counters=place.url, counters_lease_ms=1_000)
    with Router(shared, tmp_path / "data") as router, ThreadPoolExecutor(4) as pool:
        asked = 0

        def leased() -> bool:
            nonlocal asked
            asked += 8
            assert all(one.status == 200 for one in pool.map(lambda _: ask(router, "m"), range(8)))
            return place.state("key=dev requests/d")[1] > 0

        until(leased)
        router.check_books()
        router.term()
        router.wait_ended()
        assert place.state("key=dev requests/d") == (asked, 0)


def test_why_a_store_cannot_be_had_is_said(limited: Lab, tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.url(password="wrong-canary")
    with Router(config(limited, {"key": "dev", "requests": "9/d"}, counters=url), tmp_path) as router:
        [alert] = until(router.alerts)
        assert "password authentication failed" in alert["why"] and alert["alert"] == "counters_local"
        assert ask(router, "m").status == 200 and "canary" not in router.errors()


def test_a_change_of_the_config_keeps_what_was_used(limited: Lab, start_router: StartRouter) -> None:
    from pointsman.config.transport import encode

    router = start_router(config(limited, {"key": "dev", "requests": "2/d"}))
    assert ask(router, "m").status == 200
    more = Router(config(limited, {"key": "dev", "requests": "3/d"}), router.data)
    policy = encode(more.policy)
    assert router._process is not None and router._process.stdin is not None and router._process.stdout is not None
    router._process.stdin.write(json.dumps({"policy_bytes": len(policy)}).encode() + b"\n" + policy)
    router._process.stdin.flush()
    assert router._process.stdout.readline().startswith(b"adopted")
    assert [ask(router, "m").status for _ in range(3)] == [200, 200, 429]
    more.stop()

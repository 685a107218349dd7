"""The cache of answers at the front door: what is given again, to whom, and what never is (faults 92 and 109, I23)."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_alike import Gate, play, result, under_way
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_policy import settled
from gateway_raw import Response, Wire, ask, chat_body, fetch, post
from gateway_redis import RedisServer
from gateway_router import KEY, Router, until
from openai import OpenAI

StartRouter = Callable[..., Router]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
CUT = stream_head() + chunk(text_event("Hello")) + b"0\r\n\r\n"  # complete for HTTP, without its terminal marker
EMPTY = whole(REPLY.replace(b'"hi"', b'""'))


def config(capture: Capture, cache: Any = "1h", **route: Any) -> dict[str, Any]:
    return capture_config(capture) | {"routes": {"r": {"candidates": ["cap"], "cache": cache} | route}}


@pytest.fixture
def capture() -> Iterator[Capture]:
    with Capture(play) as running:
        yield running


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["file:", "redis:"])
def start_router(request: pytest.FixtureRequest, start_router: StartRouter) -> StartRouter:
    """Start routers that keep answers in files, or in a database of a Redis, each of its own."""
    if request.param == "file:":
        return start_router
    server: RedisServer = request.getfixturevalue("redis")
    server.ask("FLUSHALL")
    numbers = itertools.count()

    def start(config: dict[str, Any], **more: Any) -> Router:
        url = f"{server.url.removesuffix('/0')}/{next(numbers)}"
        return start_router(config | {"server": {"cache": url}}, **more)

    return start


ONLY_FILES = pytest.mark.parametrize("start_router", ["file:"], indirect=True)


def files(router: Router) -> list[Path]:
    return [path for path in (router.data / "answers").glob("*/*") if not path.name.endswith(".new")]


@BOTH
def test_a_request_that_is_alike_gets_the_answer_that_is_kept(
    start_router: StartRouter, capture: Capture, stream: bool
) -> None:
    router = start_router(config(capture))
    first = ask(router, "r", stream=stream)
    again = ask(router, "r", "x-request-id: mine", stream=stream, user="someone", metadata={"a": "b"})
    assert (result(first), result(again)) == ("miss", "hit") and first.text == again.text and first.text
    assert len(capture.requests) == 1
    headers = again.headers
    assert headers["x-pointsman-cost-usd"] == "0" and headers["x-pointsman-attempts"] == "0" and headers["age"] == "0"
    assert headers["x-pointsman-deployment"] == "cap" and headers["x-pointsman-reason"] == "cache:hit"
    assert headers["cache-control"] == "private, no-store" and "age" not in first.headers
    assert headers["x-request-id"] == "mine" and headers["x-pointsman-id"] != first.headers["x-request-id"]
    assert result(ask(router, "r", stream=stream, temperature=0.5)) == "miss"
    assert result(ask(router, "r", stream=stream, text="else")) == "miss"
    router.check_books()


def test_a_hit_has_a_row_of_its_own_with_no_cost_and_the_saving(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    first, again = ask(router, "r"), ask(router, "r")
    was, row = settled(router, first), settled(router, again)
    assert (was.cache, was.hit) == ("miss", None) and (row.cache, row.outcome, row.status) == ("hit", "ok", 200)
    assert row.attempts == () and row.hit is not None
    assert row.hit.request_id == first.id and row.hit.saved_nano == was.attempts[0].charge_nano == 5_000
    assert (row.hit.deployment, row.hit.model, row.hit.served_model) == ("cap", "up-1", "up-1")
    text = fetch(router, "/metrics").body.decode()
    assert 'pointsman_cache_requests_total{route="r",result="hit"} 1\n' in text
    assert 'pointsman_cache_requests_total{route="r",result="miss"} 1\n' in text
    assert 'pointsman_cache_saved_usd_total{route="r"} 0.000005000\n' in text
    assert "pointsman_cache_entries 1\n" in text and "pointsman_cache_errors_total 0\n" in text


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)], ids=["reply-first", "stream-first"])
def test_a_stream_and_a_reply_are_made_of_each_other(
    start_router: StartRouter, capture: Capture, first: bool, then: bool
) -> None:
    router = start_router(config(capture))
    one, other = ask(router, "r", stream=first), ask(router, "r", stream=then)
    assert result(other) == "hit" and one.text == other.text and len(capture.requests) == 1
    if then:
        assert other.done and other.finishes == ["stop"]
        counted = ask(router, "r", stream=True, stream_options={"include_usage": True})
        assert result(counted) == "hit" and counted.events[-2]["usage"]["total_tokens"] == 4
    assert result(ask(router, "r", stream=first, logprobs=True)) == "miss"
    assert result(ask(router, "r", stream=then, logprobs=True)) == "miss"  # what the nouns do not hold stays apart


def test_the_official_client_reads_a_hit(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    messages: Any = [{"role": "user", "content": "hello"}]
    with OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0) as client:
        made = [client.chat.completions.create(model="r", messages=messages) for _ in range(2)]
        assert made[0] == made[1]
        chunks = list(client.chat.completions.create(model="r", messages=messages, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == made[0].choices[0].message.content
    assert len(capture.requests) == 1


# --- what the client wants of it
def test_a_request_says_what_it_wants_of_the_cache(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    missing = ask(router, "r", pointsman={"cache": "only-if-cached"})
    assert (missing.status, missing.error["code"], missing.headers["x-should-retry"]) == (504, "not_cached", "false")
    assert ask(router, "r", "cache-control: only-if-cached").status == 504 and not capture.requests
    assert (
        ask(router, "cap", pointsman={"cache": "only-if-cached"}).status == 504
    )  # no cache at all is no reason to pay
    wanted: list[tuple[list[str], dict[str, Any], str]] = [
        (["cache-control: no-store"], {}, "off"),
        ([], {"cache": "off"}, "off"),
        ([], {}, "miss"),
        (["cache-control: only-if-cached"], {}, "hit"),
        (["cache-control: no-store"], {"cache": "only-if-cached"}, "hit"),  # the member counts before the header
        (["Cache-Control: max-age=60"], {}, "hit"),
        (["cache-control: max-age=0"], {}, "refresh"),
        (["cache-control: no-cache"], {}, "refresh"),
        ([], {"cache": "refresh"}, "refresh"),
        ([], {"cache_ttl_s": 60}, "hit"),
        (["cache-control: nonsense=\xe9, max-age=x"], {}, "hit"),
    ]
    for lines, options, expected in wanted:
        asked = {"pointsman": options} if options else {}
        assert result(ask(router, "r", *lines, **asked)) == expected, (lines, options)
    assert len(capture.requests) == 6
    assert ask(router, "r", pointsman={"cache": "perhaps"}).status == 400


def test_an_answer_is_given_again_for_its_time_only(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture, {"ttl": 1}))
    assert result(ask(router, "r")) == "miss"
    until(lambda: result(ask(router, "r")) == "miss")
    long = start_router(config(capture))
    assert result(ask(long, "r", pointsman={"cache_ttl_s": 1})) == "miss"
    until(lambda: ask(long, "r", "cache-control: only-if-cached").status == 504)
    assert result(ask(long, "r")) == "miss" and result(ask(long, "r")) == "hit"


# --- fault 92: what is never given again
def test_f92_a_truncated_stream_is_not_kept(start_router: StartRouter) -> None:
    with Capture(lambda sock, _: sock.sendall(CUT)) as broken:
        router = start_router(config(broken, attempts=1))
        for _ in range(2):
            assert not ask(router, "r", stream=True).done
        assert len(broken.requests) == 2 and not files(router)


def test_f92_errors_silence_and_other_answers_of_no_use_are_not_kept(start_router: StartRouter) -> None:
    for answer, status in ((whole(b'{"error":{"message":"no"}}', status="400 Bad Request"), 400), (EMPTY, 200)):
        with Capture(lambda sock, _, answer=answer: sock.sendall(answer)) as odd:  # type: ignore[misc]
            router = start_router(config(odd, on_empty="pass", attempts=1))
            for _ in range(2):
                assert ask(router, "r").status == status
            assert len(odd.requests) == 2 and not files(router)


def test_f92_an_answer_of_a_lower_rung_or_of_a_stand_in_is_not_kept(start_router: StartRouter) -> None:
    broken = whole(b'{"error":{"message":"no"}}', status="500 Internal Server Error")
    filtered = whole(b'{"error":{"message":"no","code":"content_filter"}}', status="400 Bad Request")
    for first, more in (
        (broken, {"degrade": [{"candidates": ["other"]}], "attempts": 2}),
        (filtered, {"on": {"content_filter": ["other"]}}),
    ):
        with Capture(lambda sock, _, first=first: sock.sendall(first)) as bad, Capture(play) as good:  # type: ignore[misc]
            made = config(bad, **more)
            made["providers"]["else"] = {"dialect": "openai", "base_url": good.url, "api_key": "sk-canary-capture"}
            made["deployments"]["other"] = {"provider": "else", "model": "up-1", "price": {"input": 1, "output": 2}}
            router = start_router(made)
            for _ in range(2):
                answer = ask(router, "r")
                assert result(answer) == "miss" and answer.headers["x-pointsman-deployment"] == "other"
            assert len(good.requests) == 2 and not files(router)


def test_f92_a_changed_policy_misses(tmp_path: Path, capture: Capture) -> None:
    plain = config(capture)
    changed: list[dict[str, Any]] = [
        {"prompt_prefix": "Be brief."},
        {"prompt_prefix": "Be long."},
        {"params": {"temperature": 0}},
        {"max_output": 9},
    ]
    results = []
    for routes in [{}, *changed, {"tags": ["a"], "timeouts": {"total_ms": 9_000}}, {}]:
        made = plain | {"routes": {"r": plain["routes"]["r"] | routes}}
        with Router(made, tmp_path) as router:
            results.append(result(ask(router, "r")))
            until(lambda: len(files(router)) >= min(len(results), 5))
    assert results == ["miss"] * 5 + ["hit"] * 2
    assert len(capture.requests) == 5


def test_f92_a_body_that_can_be_read_in_two_ways_is_not_kept(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    twice = chat_body("r").replace(b'"messages"', b'"messages":[{"role":"user","content":"first"}],"messages"', 1)
    with Wire(router.port) as wire:
        wire.send(post(twice))
        assert result(wire.response()) == "miss"
    assert result(ask(router, "r")) == "miss"


# --- I23: tenants
def keys(*tenants: dict[str, str]) -> dict[str, Any]:
    return {"keys": [{"name": f"k{n}", "key": f"sk-test-{n}-0123456789abcdef"} | t for n, t in enumerate(tenants)]}


def ask_as(router: Router, number: int, *lines: str, **more: Any) -> Response:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("r", **more), *lines, auth=f"authorization: Bearer sk-test-{number}-0123456789abcdef"))
        return wire.response()


SAME = {"project": "p", "team": "t", "organisation": "o"}
TENANTS = (SAME, SAME, SAME | {"project": "q"}, SAME | {"organisation": "x"}, {}, {})


@pytest.mark.parametrize(
    ("scope", "misses"),
    [("key", {0, 1, 2, 3, 4, 5}), ("project", {0, 2, 3, 4, 5}), ("team", {0, 3, 4, 5}), ("organisation", {0, 3, 4, 5})],
)
def test_i23_an_answer_stays_with_its_tenant(
    start_router: StartRouter, capture: Capture, scope: str, misses: set[int]
) -> None:
    router = start_router(config(capture, {"ttl": "1h", "scope": scope}) | keys(*TENANTS))
    found = {number for number in range(len(TENANTS)) if result(ask_as(router, number)) == "miss"}
    assert found == misses and len(capture.requests) == len(misses)
    assert {result(ask_as(router, number)) for number in range(len(TENANTS))} == {"hit"}


def test_i23_removing_another_tenants_traffic_changes_nothing_that_is_told(
    start_router: StartRouter, capture: Capture
) -> None:
    told: list[list[tuple[str, str, bytes]]] = []
    for noisy in (False, True):
        router = start_router(config(capture) | keys({"project": "a"}, {"project": "b"}))
        seen = []
        for text in ("one", "two", "one"):
            for _ in range(3 if noisy else 0):
                ask_as(router, 1, text=text)
            answer = ask_as(router, 0, text=text)
            seen.append((result(answer), answer.headers.get("age", "none"), answer.body))
        missing = ask_as(router, 0, "cache-control: only-if-cached", text="three")
        assert missing.status == 504
        told.append(seen)
    assert told[0] == told[1] and [one[0] for one in told[0]] == ["miss", "miss", "hit"]


# --- fault 109: many alike at once
@BOTH
def test_f109_a_thousand_alike_at_once_are_one_call(start_router: StartRouter, stream: bool) -> None:
    gate, count = Gate(), 1000
    with Capture(gate) as one:
        router = start_router(config(one) | {"limits": {"key_concurrency": 2000}})
        wires = [Wire(router.port) for _ in range(count)]
        try:
            for wire in wires:
                wire.send(post(chat_body("r", stream=stream)))
            until(lambda: under_way(router) == count, 20)
            gate.open.set()
            answers = [wire.response() for wire in wires]
        finally:
            for wire in wires:
                wire.close()
        assert len(one.requests) == 1
        assert sorted(result(a) for a in answers).count("hit") == count - 1 and len({a.text for a in answers}) == 1
        ends = until(lambda: len(found := router.all_settled()) == count and found, 10)
        assert sum(len(end.attempts) for end in ends) == 1
        router.check_books()


def test_f109_the_leaders_error_is_its_own_and_the_others_go_on(start_router: StartRouter) -> None:
    bad = whole(b'{"error":{"message":"no"}}', status="400 Bad Request")
    gate = Gate([bad, bad])
    with Capture(gate) as one:
        router = start_router(config(one, attempts=1))
        with ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(ask, router, "r") for _ in range(20)]
            until(lambda: under_way(router) == 20)
            gate.open.set()
            answers = [each.result(20) for each in asked]
        assert sorted(a.status for a in answers) == [200] * 18 + [400] * 2
        assert len(one.requests) <= 5  # one, then two, then four
        router.check_books()


def test_f109_a_client_that_leaves_takes_nobody_with_it(start_router: StartRouter) -> None:
    gate = Gate()
    with Capture(gate) as one:
        router = start_router(config(one))
        leader = Wire(router.port)
        leader.send(post(chat_body("r")))
        until(lambda: len(one.requests) == 1)
        follower, leaves = Wire(router.port), Wire(router.port)
        for wire in (leaves, follower):
            wire.send(post(chat_body("r")))
        until(lambda: under_way(router) == 3)
        leaves.close()
        until(lambda: under_way(router) == 2)
        leader.close()
        until(lambda: len(one.requests) == 2)
        gate.open.set()
        assert result(follower.response()) == "miss"
        follower.close()
        ends = until(lambda: len(found := router.all_settled()) == 3 and found)
        assert sorted(end.outcome for end in ends) == ["client_gone", "client_gone", "ok"]


def test_f109_one_that_waits_goes_on_by_itself_in_time(start_router: StartRouter) -> None:
    gate = Gate()
    with Capture(gate) as one:
        router = start_router(config(one, timeouts={"total_ms": 1500}))
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, router, "r")
            until(lambda: len(one.requests) == 1)
            second = pool.submit(ask, router, "r")
            until(lambda: len(one.requests) == 2, 5)  # after half of its time
            gate.open.set()
            assert result(first.result(5)) == result(second.result(5)) == "miss"
        ends = until(lambda: len(found := router.all_settled()) == 2 and found)
        assert [len(end.attempts) for end in ends] == [1, 1]
        router.check_books()


@BOTH
def test_f109_alike_in_several_workers_are_one_call_too(tmp_path: Path, stream: bool) -> None:
    gate = Gate()
    with Capture(gate) as one:
        made = config(one) | {"server": {"workers": 2}}
        with Router(made, tmp_path) as here, Router(made, tmp_path) as there, ThreadPoolExecutor(8) as pool:
            first = pool.submit(ask, here, "r", stream=stream)
            until(lambda: len(one.requests) == 1)
            asked = [pool.submit(ask, router, "r", stream=stream) for router in (here, there, there)]
            until(lambda: under_way(here) == 2 and under_way(there) == 2)
            gate.open.set()
            assert [result(each.result(5)) for each in (first, *asked)] == ["miss", "hit", "hit", "hit"]
        assert len(one.requests) == 1 and not list((tmp_path / "run" / "flights").iterdir())


def test_f109_a_worker_that_is_killed_holds_no_other_up(tmp_path: Path) -> None:
    gate = Gate()
    with Capture(gate) as one:
        made = config(one) | {"server": {"workers": 2}}
        with Router(made, tmp_path) as here, Router(made, tmp_path) as there, ThreadPoolExecutor(2) as pool:
            leader = Wire(here.port)
            leader.send(post(chat_body("r")))
            until(lambda: len(one.requests) == 1)
            other = pool.submit(ask, there, "r")
            until(lambda: under_way(there) == 1)
            os.kill(here.pid, signal.SIGKILL)
            until(lambda: len(one.requests) == 2)
            gate.open.set()
            assert result(other.result(5)) == "miss"
            leader.close()


# --- what lasts
@ONLY_FILES
def test_an_answer_outlives_the_worker_and_a_kill_while_writing(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    first = ask(router, "r")
    [file] = until(lambda: files(router))
    os.kill(router.pid, signal.SIGKILL)
    router.wait_ended()
    (file.parent / f"{file.name}.1.new").write_bytes(file.read_bytes()[:40])  # what a kill leaves
    torn = file.with_name("0" * 40)
    torn.write_bytes(file.read_bytes()[:-7])  # and a loss of power
    router.start()
    again = ask(router, "r")
    assert result(again) == "hit" and again.body == first.body and len(capture.requests) == 1
    file.write_bytes(file.read_bytes()[:-7])
    os.kill(router.pid, signal.SIGKILL)
    router.wait_ended()
    router.start()
    assert result(ask(router, "r")) == "miss"
    assert "content" not in file.name and oct(file.stat().st_mode & 0o777) == "0o600"


@ONLY_FILES
def test_a_full_disk_costs_nothing_but_what_might_have_been_kept(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    (router.data / "answers").write_text("in the way")  # no folder can be made: every write fails
    assert [result(ask(router, "r")) for _ in range(2)] == ["miss", "hit"]
    assert result(ask(router, "r", text="another")) == "miss"
    until(
        lambda: b"pointsman_cache_errors_total 2\n" in fetch(router, "/metrics").body
    )  # also when nobody asks any more
    router.check_books()


def test_hits_are_given_while_the_provider_is_down(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture) | {"limits": {"breaker_unreachable": 1}})
    first = ask(router, "r")
    capture.__exit__()
    until(lambda: ask(router, "r", text="new").headers.get("x-pointsman-attempts") == "0")  # nobody is eligible now
    again = ask(router, "r")
    assert result(again) == "hit" and again.body == first.body


def test_a_kept_answer_serves_its_idempotency_key(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    first = ask(router, "r")
    once = ask(router, "r", "idempotency-key: k")
    again = ask(router, "r", "idempotency-key: k")
    assert result(once) == "hit" and again.headers["x-pointsman-idempotent"] == "replayed"
    assert first.body == once.body == again.body and len(router.admitted_ids()) == 2


def test_a_stream_is_given_again_with_the_pauses_it_had(start_router: StartRouter) -> None:
    go_on = threading.Event()

    def slow(sock: Any, _: bytes) -> None:
        sock.sendall(stream_head() + chunk(text_event("Hello")))
        go_on.wait(0.4)
        sock.sendall(chunk(text_event(" you") + FINISH + DONE) + b"0\r\n\r\n")

    with Capture(slow) as paced:
        router = start_router(config(paced, {"ttl": "1h", "pace": "recorded"}))
        first = ask(router, "r", stream=True)
        start_s = time.monotonic()
        again = ask(router, "r", stream=True)
        took_s = time.monotonic() - start_s
        assert result(again) == "hit" and again.text == first.text and again.done and 0.3 < took_s < 3.0
        assert settled(router, again).first_ms < settled(router, again).ended_ms - 300
        whole_one = ask(router, "r")
        assert result(whole_one) == "hit" and whole_one.text == first.text
        left = Wire(router.port)
        left.send(post(chat_body("r", stream=True)))
        left.head()
        left.close()
        until(lambda: [s for s in router.all_settled() if s.outcome == "client_gone"])
        router.check_books()


def test_a_route_without_a_cache_keeps_nothing(start_router: StartRouter, capture: Capture) -> None:
    router = start_router(config(capture))
    assert [result(ask(router, "cap")) for _ in range(2)] == ["off", "off"]
    assert len(capture.requests) == 2 and not (router.data / "answers").exists()


@BOTH
def test_a_hit_is_a_request_without_tokens_for_the_quotas_of_its_caller(
    start_router: StartRouter, capture: Capture, stream: bool
) -> None:
    made = config(capture) | {"keys": [{"name": "dev", "key": KEY}], "quotas": [{"key": "dev", "requests": "4/d"}]}
    made["deployments"]["cap"] |= {"context": 1000, "max_output": 100}
    made["quotas"].append({"key": "dev", "tokens": "400/month"})
    router = start_router(made)
    found = [ask(router, "r", stream=stream, max_tokens=50) for _ in range(4)]
    assert [result(answer) for answer in found] == ["miss", "hit", "hit", "hit"]
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in found]
    assert left == [3, 2, 1, 0]
    tokens = [int(answer.headers["x-ratelimit-remaining-tokens"]) for answer in found]
    assert tokens[1] == tokens[2] == tokens[3]  # what a hit reserves it gives back
    assert ask(router, "r", stream=stream, max_tokens=50).status == 429
    assert len(capture.requests) == 1

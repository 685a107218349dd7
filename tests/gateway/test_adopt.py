"""A worker takes over another config version: what was measured stays with whom it was measured of, and nobody else."""

from __future__ import annotations

import gc
import json
import time
import weakref
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_router import KEY
from hypothesis import given
from hypothesis import strategies as st

from pointsman.config.load import Options, load_text
from pointsman.config.transport import Frames, decode, encode
from pointsman.core.health import UNKNOWN
from pointsman.core.options import Step
from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Policy
from pointsman.gateway.attempt import Attempt
from pointsman.gateway.books import Books
from pointsman.gateway.clock import Clock
from pointsman.gateway.live import Live
from pointsman.gateway.worker import Worker
from pointsman.gateway.world import World
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal

NAMES = ("a", "b", "c", "d")
OK = Outcome(Kind.OK, 200)
FAILED = Outcome(Kind.SERVER_ERROR, 500)
CLOCK = Clock()


def policy(*deployments: tuple[str, int], **more: Any) -> Policy:
    """Return a policy with deployments, each a name and the number of the server it is at."""
    values = {
        "providers": {f"p{n}": {"dialect": "openai", "base_url": f"http://127.0.0.1:{n}/v1"} for _, n in deployments},
        "deployments": {name: {"provider": f"p{n}", "model": "m"} for name, n in deployments},
    }
    return load_text(
        yaml.safe_dump(values | more, sort_keys=False), "t.yaml", {}, Options(today=date(2026, 11, 22))
    ).policy


def attempt(world: World, deployment: int) -> Attempt:
    """Return an attempt at a World's deployment, the probe if it is ejected."""
    made = Attempt(Step(0, deployment, 1_000.0, 0), world.endpoints[deployment], 0.0)
    made.probe = True
    return made


POLICIES = {
    chosen: policy(*chosen)
    for chosen in [
        (("a", 1), ("b", 1), ("c", 2)),
        (("c", 2), ("b", 1)),
        (("b", 1), ("d", 2), ("a", 1)),
        (("a", 2), ("c", 2)),
        (("d", 2),),
    ]
}
PLACES = list(POLICIES)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("adopt"), st.sampled_from(PLACES)),
            st.tuples(st.just("ended"), st.integers(0, 5), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("sending"), st.integers(0, 5), st.integers(0, 3)),
        ),
        max_size=40,
    )
)
def test_an_ending_is_folded_into_the_state_of_the_same_deployment_or_nowhere(steps: list[tuple[Any, ...]]) -> None:
    """Any order of new Worlds and of endings of requests that began under any of them, against a plain model."""
    live = Live(World(POLICIES[PLACES[0]], CLOCK.now_ms), CLOCK, 1)
    worlds, places = [live.world], [PLACES[0]]
    known: dict[tuple[str, int], int] = dict.fromkeys(PLACES[0], 0)  # deployment -> failures folded in a row
    for what, *rest in steps:
        if what == "adopt":
            world = World(POLICIES[rest[0]], CLOCK.now_ms, live.world)
            live.adopt(world)
            worlds, places = [*worlds, world][-6:], [*places, rest[0]][-6:]
            known = {place: known.get(place, 0) for place in rest[0]}
        else:
            n = rest[0] % len(worlds)
            at = rest[1] % len(places[n])
            if what == "sending":
                live.sending(worlds[n], at, 1.0)
                assert isinstance(live.usable(worlds[n], at), bool)
                continue
            live.ended(worlds[n], attempt(worlds[n], at), OK if rest[2] else FAILED, CLOCK.now_ms(), (5.0, None))
            if places[n][at] in known:
                known[places[n][at]] = 0 if rest[2] else known[places[n][at]] + 1
        assert [state.failures for state in live.states] == [known[place] for place in places[-1]]
        assert len(live.states) == len(live.world.policy.deployments)


def test_what_is_gone_is_usable_and_forgotten() -> None:
    live = Live(World(policy(("a", 1), ("b", 1)), CLOCK.now_ms), CLOCK, 1)
    old = live.world
    for _ in range(5):
        live.ended(old, attempt(old, 0), FAILED, CLOCK.now_ms(), (5.0, None))
    assert not live.usable(old, 0)
    live.adopt(World(policy(("b", 1)), CLOCK.now_ms, old))
    live.ended(old, attempt(old, 0), FAILED, CLOCK.now_ms(), (5.0, None))
    assert live.states == [UNKNOWN] and live.usable(old, 0)
    live.adopt(World(policy(("a", 1), ("b", 1)), CLOCK.now_ms, live.world))
    assert live.states == [UNKNOWN, UNKNOWN]


def test_a_429_of_an_earlier_world_cools_the_group_as_it_is_now() -> None:
    live = Live(World(policy(("a", 1), ("b", 1)), CLOCK.now_ms), CLOCK, 1)
    old = live.world
    live.adopt(World(policy(("c", 2), ("d", 1), ("a", 1)), CLOCK.now_ms, old))
    live.ended(old, attempt(old, 0), Outcome(Kind.RATE_LIMITED, 429, "", 60_000), CLOCK.now_ms(), (5.0, None))
    assert live.health() == {"c": "closed", "d": "cooling", "a": "cooling"}


def test_connections_stay_with_what_stays_and_the_rest_is_let_go(tmp_path: Path) -> None:
    live = Live(World(policy(("a", 1), ("b", 2)), CLOCK.now_ms), CLOCK, 1)
    worker = Worker(live, Books(Journal(tmp_path, "t", 1 << 20, 1 << 30), Metrics()), 0, tmp_path)
    one, two = (endpoint.origin for endpoint in live.world.endpoints)
    generation = worker.generation
    worker.adopt(policy(("b", 2), ("c", 3)))
    assert live.world.endpoints[0].origin is two and two.limits.upstream_idle_per_host == 512
    assert one.limits.upstream_idle_per_host == 0  # nothing is pooled there any more
    assert len(live.world.origins) == 2 and worker.generation is not generation
    worker.adopt(policy(("b", 2), limits={"reply_bytes": 2048, "attempts": 1}))
    assert live.world.endpoints[0].origin is not two  # requests under way keep the limits they began with
    assert two.limits.reply_bytes != 2048 and worker.limits.attempts == 1
    worker.books.journal.close()


@pytest.mark.interpreted  # compiled classes have no weak references
def test_a_world_that_nobody_uses_is_freed_without_the_collector(tmp_path: Path) -> None:
    """The worker's collector walks rarely, and never what was there at the start."""
    live = Live(World(policy(("a", 1), ("b", 2)), CLOCK.now_ms), CLOCK, 1)
    worker = Worker(live, Books(Journal(tmp_path, "t", 1 << 20, 1 << 30), Metrics()), 0, tmp_path)
    gc.collect()
    gc.disable()
    try:
        seen = []
        for n in range(5):
            seen.append(weakref.ref(live.world))
            worker.adopt(policy(("a", n % 3 + 1), ("b", 2)))
        assert [ref() for ref in seen] == [None] * 5
    finally:
        gc.enable()
        worker.books.journal.close()


def test_tls_contexts_are_made_once() -> None:
    values = {f"p{n}": {"dialect": "openai", "base_url": f"https://p{n}.example/v1", "api_key": "k"} for n in range(4)}
    deployments = {f"d{n}": {"provider": f"p{n % 4}", "model": f"m{n}"} for n in range(8)}
    made = load_text(yaml.safe_dump({"providers": values, "deployments": deployments}), "t", {}).policy
    world = World(made, CLOCK.now_ms)
    again = World(made, CLOCK.now_ms, world)
    assert len(world.trusts) == 1 and again.trusts == world.trusts and not hasattr(again, "_before")


@pytest.mark.serial
def test_a_world_of_50_deployments_is_built_in_a_few_milliseconds() -> None:
    provider = {"dialect": "openai", "base_url": "https://up.example/v1", "api_key": "k"}
    deployments = {f"d{n}": {"provider": f"p{n % 10}", "model": f"m{n}"} for n in range(50)}
    routes = {f"r{n}": {"candidates": [f"d{m}" for m in range(n, n + 10)]} for n in range(40)}
    values = {"providers": {f"p{n}": provider for n in range(10)}, "deployments": deployments, "routes": routes}
    encoded = encode(load_text(yaml.safe_dump(values), "t", {}).policy)
    before = World(decode(encoded), CLOCK.now_ms)
    times_ms = []
    for _ in range(7):
        began_s = time.perf_counter()
        World(decode(encoded), CLOCK.now_ms, before)
        times_ms.append((time.perf_counter() - began_s) * 1000)
    assert min(times_ms) < 20, times_ms


@given(cuts=st.lists(st.integers(0, 60), max_size=12))
def test_frames_come_whole_however_the_pipe_cuts_them(cuts: list[int]) -> None:
    policies = [b"\x80{\n}" * n for n in (1, 0, 5)]
    data = b"".join(json.dumps({"policy_bytes": len(p)}).encode() + b"\n" + p for p in policies)
    frames, edges = Frames(), sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[a:b] for a, b in pairwise(edges)]
    assert [found for part in parts for found in frames.feed(part)] == policies


def test_a_pipe_out_of_step_is_refused() -> None:
    with pytest.raises(ValueError, match="out of step"):
        list(Frames().feed(b"x" * 70_000))
    with pytest.raises(ValueError):
        list(Frames().feed(b"nonsense\n"))


def test_s02_a_key_that_was_taken_out_is_refused_although_its_body_is_on_the_way(tmp_path: Path) -> None:
    from pointsman.gateway.edge import Edge

    keys = [{"name": "dev", "key": KEY}]
    live = Live(World(policy(("a", 9), keys=keys), CLOCK.now_ms), CLOCK, 1)
    worker = Worker(live, Books(Journal(tmp_path, "t", 1 << 20, 1 << 30), Metrics()), 0, tmp_path)
    sent: list[bytes] = []

    class Transport:
        def write(self, data: bytes) -> None:
            sent.append(data)

        def set_write_buffer_limits(self, high: int) -> None: ...
        def get_extra_info(self, name: str) -> None: ...
        def close(self) -> None: ...

    edge = Edge(worker)
    edge.connection_made(Transport())  # type: ignore[arg-type]
    body = b'{"model": "a", "messages": []}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}"
    )
    edge.data_received(head.encode() + b"\r\n\r\n")
    worker.adopt(policy(("a", 9), keys=[{"name": "other", "key": KEY[::-1]}]))
    edge.data_received(body)
    assert sent[0].startswith(b"HTTP/1.1 401 ") and not sent[1:]
    worker.books.journal.close()

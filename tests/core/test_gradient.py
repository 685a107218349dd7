"""The limit of a deployment that is found from its time to first content."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.gradient import EVERY_MS, JITTER, LEAST, MOST, Gradient


class Server:
    """A server that serves `places` requests at once in `busy_ms`; more wait. The client always has more to ask than may be
    under way. One step is the end of one request."""

    def __init__(self, places: int, busy_ms: float, seed: int = 1) -> None:
        self.places, self.busy_ms = places, busy_ms
        self.gradient = Gradient()
        self.now_ms = 0.0
        self._chance = random.Random(seed)
        self.limits: list[float] = []

    def run(self, until_ms: float, asked: int = 10_000) -> list[float]:
        self.limits = []
        while self.now_ms < until_ms:
            under_way = max(1, min(asked, int(self.gradient.limit)))
            waits = max(1.0, under_way / self.places)
            self.now_ms += self.busy_ms / min(under_way, self.places)
            ttft_ms = self.busy_ms * waits * self._chance.uniform(0.95, 1.05)
            self.gradient.note(ttft_ms, self.now_ms, under_way, self._chance.random())
            self.limits.append(self.gradient.limit)
        return self.limits


@pytest.mark.parametrize("places", [4, 32, 200])
def test_the_limit_comes_to_what_the_server_serves_at_once(places: int) -> None:
    server = Server(places, 400.0)
    server.run(40_000.0)
    settled = server.run(55_000.0)
    assert 0.9 * places <= min(settled), "it starves"
    assert max(settled) <= 2.5 * places + 8, "it queues"


def test_it_follows_when_the_server_gets_slower_and_back() -> None:
    server = Server(64, 200.0)
    before = server.run(30_000.0)[-1]
    server.places = 16
    assert server.run(50_000.0)[-1] < before / 2
    server.places = 64
    assert server.run(59_000.0)[-1] > 48


def test_it_does_not_grow_while_it_is_not_used() -> None:
    server = Server(64, 200.0)
    assert max(server.run(30_000.0, asked=3)) <= 12


def test_the_least_time_is_measured_again_at_times_that_differ() -> None:
    def lowered(draw: float) -> float:
        gradient, now_ms = Gradient(), 0.0
        while now_ms < 2 * EVERY_MS:
            now_ms += 10.0
            before = gradient.limit
            gradient.note(100.0, now_ms, int(before), draw)
            if now_ms > 1_000.0 and gradient.limit <= before / 1.9:
                return now_ms
        raise AssertionError("it was never measured again")

    first, last = lowered(0.0), lowered(0.999)
    assert EVERY_MS <= first <= EVERY_MS * 1.05
    assert last - first >= EVERY_MS * JITTER * 0.9


def test_a_server_that_becomes_faster_for_good_is_believed() -> None:
    server = Server(16, 1000.0)
    server.run(70_000.0)
    server.busy_ms = 100.0
    server.run(200_000.0)
    assert server.gradient.least_ms < 200.0


@given(st.lists(st.tuples(st.floats(0.0, 1e7), st.floats(0.0, 1e5), st.integers(0, 2000)), max_size=300))
def test_whatever_it_is_told_the_limit_is_within_its_bounds(samples: list[tuple[float, float, int]]) -> None:
    gradient, now_ms = Gradient(), 0.0
    for ttft_ms, gap_ms, under_way in samples:
        now_ms += gap_ms
        gradient.note(ttft_ms, now_ms, under_way, 0.5)
        assert LEAST <= gradient.limit <= MOST

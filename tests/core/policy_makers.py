"""Policies, options and snapshots for tests of the decision."""

from __future__ import annotations

from hypothesis import strategies as st

from pointsman.core.health import State, is_calm
from pointsman.core.options import Options, options_of
from pointsman.core.policy import Deployment, ModelFacts, Policy, Provider, Route, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Snapshot
from pointsman.strategies import STRATEGIES

NOW_MS = 1_000_000.0


def price(tokens_in: int, tokens_out: int) -> Price:
    """Return a price of so many nano-dollars per million tokens."""
    return Price(rates=Rates(input=tokens_in, output=tokens_out), version="v1", source="test")


def deployment(name: str, cost: Price | None = None, **facts: object) -> Deployment:
    known = ModelFacts(**facts)  # type: ignore[arg-type]
    return Deployment(name=name, provider="p", wire=Wire(model=name), price=cost, facts=known)


def options(
    deployments: list[Deployment], strategy: str = "priority", weights: tuple[float, ...] = (), **route: object
) -> Options:
    """Return the Options of one route over all of `deployments`."""
    names = tuple(d.name for d in deployments)
    made = Route(name="r", candidates=names, strategy=strategy, weights=weights, **route)  # type: ignore[arg-type]
    provider = Provider(name="p", dialect="openai", base_url="http://127.0.0.1:1/v1")
    policy = Policy(
        version="v1", source="test", providers={"p": provider}, deployments=tuple(deployments), routes={"r": made}
    )
    return options_of(policy, STRATEGIES)["r"]


def snapshot(states: tuple[State, ...], seed: float = 0.5, now_ms: float = NOW_MS) -> Snapshot:
    return Snapshot("v1", now_ms, seed, states, all(is_calm(s, now_ms) for s in states))


def request(features: Features | None = None, attempts: int | None = None) -> Request:
    given = features if features is not None else Features(100)
    return Request("req_1", "chat", "r", given, NOW_MS, NOW_MS + 60_000, None, attempts)


seeds = st.floats(0, 1, exclude_max=True)
near = st.floats(NOW_MS - 100_000, NOW_MS + 100_000)
states = st.builds(
    State,
    ttft_ms=st.floats(0.001, 1e5),
    tps=st.floats(0.001, 1e5),
    measured_ms=st.just(float("-inf")) | st.floats(NOW_MS - 200_000, NOW_MS),
    ejections=st.integers(0, 3),
    open_until_ms=st.just(0.0) | near,
    probe_until_ms=st.just(0.0) | near,
    cool_until_ms=st.just(0.0) | near,
    slow_start_ms=st.just(10_000),
    ramp_until_ms=st.just(0) | st.integers(int(NOW_MS) - 100, int(NOW_MS) + 10_000),
    soft=st.booleans(),
)
features = st.builds(
    Features,
    input_tokens=st.integers(1, 20_000),
    output_tokens=st.none() | st.integers(1, 10_000),
    needs=st.integers(0, 31),
    choices=st.integers(1, 4),
)
facts = st.fixed_dictionaries(
    {},
    optional={
        "context_tokens": st.integers(500, 20_000),
        "max_output_tokens": st.integers(100, 8_000),
        "tools": st.booleans(),
        "json_schema": st.booleans(),
        "modalities": st.sampled_from([("text",), ("text", "image"), ("text", "image", "audio", "file")]),
    },
)


@st.composite
def situations(
    draw: st.DrawFn, names: tuple[str, ...] = tuple(sorted(STRATEGIES))
) -> tuple[Options, Snapshot, Request]:
    """Return a route of 1 to 6 candidates with any strategy, the states it finds, and a request."""
    count = draw(st.integers(1, 6))
    prices = st.none() | st.builds(price, st.integers(0, 10**11), st.integers(0, 10**11))
    made = [deployment(f"d{i}", draw(prices), **draw(facts)) for i in range(count)]
    weights = tuple(draw(st.lists(st.floats(0.01, 100), min_size=count, max_size=count)))
    chosen = options(made, draw(st.sampled_from(names)), weights, unpriced=draw(st.sampled_from(["allow", "deny"])))
    found = snapshot(tuple(draw(st.lists(states, min_size=count, max_size=count))), draw(seeds))
    return chosen, found, request(draw(features), draw(st.none() | st.integers(1, 9)))

"""Standing: how a deployment stands now, for people and programs: what its State means in words and figures."""

from __future__ import annotations

import math

import msgspec

from pointsman.core.health import TPS_PRIOR, State, breaker, predicted_ttft_ms, ramp_share


class Standing(msgspec.Struct, frozen=True):
    """Hold how one deployment stands. `breaker` is closed, open, half_open or cooling; `again_ms` is how long until it may
    be tried, 0 when it may; figures are None while nothing was measured; `success` is a share of the last half minute;
    `share` of its first sends is taken while it ramps up after its breaker closed, else 1.0; `last_resort`: it is ejected for
    its share of successes alone, and taken where nobody else can be."""

    deployment: str
    provider: str
    breaker: str
    again_ms: int
    failures: int  # in a row
    ejections: int  # in a row
    last_failure: str
    success: float | None
    ttft_ms: float  # expected now
    ttft_p95_ms: float | None
    tokens_per_s: float | None
    sampled: int  # answers of the last minute
    measured_s_ago: float | None
    unreachable: int = 0  # in a row: of the failures, the last ones without a connection
    share: float = 1.0
    last_resort: bool = False
    allowed: dict[
        str, tuple[int, int, int]
    ] = {}  # measure -> our quota at the provider, left of it, ms until it is whole


def standing_of(
    name: str, provider: str, state: State, now_ms: float, allowed: dict[str, tuple[int, int, int]] | None = None
) -> Standing:
    """Return how a deployment stands at `now_ms`, of the monotonic clock; `allowed` is what its provider said last."""
    measured = state.measured_ms != -math.inf
    until_ms = max(state.cool_until_ms, state.open_until_ms, state.probe_until_ms if state.ejections else 0.0)
    return Standing(
        deployment=name,
        provider=provider,
        breaker=breaker(state, now_ms),
        again_ms=max(0, round(until_ms - now_ms)),
        failures=state.failures,
        ejections=state.ejections,
        last_failure=state.why,
        success=round(state.window_ok / state.window_all, 4) if state.window_all >= 1.0 else None,
        ttft_ms=round(predicted_ttft_ms(state, now_ms), 1),
        ttft_p95_ms=round(state.ttft_p95_ms, 1) if state.ttft_p95_ms else None,
        tokens_per_s=round(state.tps, 1) if state.tps != TPS_PRIOR else None,
        sampled=state.sampled,
        measured_s_ago=round((now_ms - state.measured_ms) / 1000, 1) if measured else None,
        unreachable=state.unreachable,
        share=round(ramp_share(state, now_ms), 2),
        last_resort=state.soft,
        allowed=allowed or {},
    )


class Standings(msgspec.Struct, frozen=True):
    """Hold what one worker knows of all deployments. `at_ms`: Unix milliseconds; `load`: how much it has to do itself."""

    at_ms: int
    worker: int
    config: str
    deployments: list[Standing]
    load: dict[str, float] = {}


_WORST = ("open", "cooling", "half_open", "closed")


def merged(parts: list[Standings]) -> list[tuple[Standing, int]]:
    """Return for each deployment the worst that a worker says of it (then the one with most samples), and how many workers
    say that it is not closed."""
    found: dict[str, list[Standing]] = {}
    for part in parts:
        for one in part.deployments:
            found.setdefault(one.deployment, []).append(one)
    return [
        (
            min(said, key=lambda one: (_WORST.index(one.breaker), -one.again_ms, -one.sampled)),
            sum(one.breaker != "closed" for one in said),
        )
        for said in found.values()
    ]

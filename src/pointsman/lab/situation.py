"""Situation: the words of a policy test or dry run for the state of the world, as what the decision takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

from pointsman.core.health import State
from pointsman.core.policy import Deployment, Key, Policy
from pointsman.core.pricing import NANO_PER_USD, Price
from pointsman.lab.offline import NOW_MS

Word = Literal["up", "down", "cooling", "probing"]
FAR_MS = 60_000.0
Positive = Annotated[float, Meta(gt=0)]


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold what is said of a deployment: `is` up, down (ejected), cooling (rate limited) or probing, and measurements."""

    state: Word = msgspec.field(name="is", default="up")
    ttft_ms: Positive | None = None
    ttft_ms_p95: Positive | None = None
    tokens_per_s: Positive | None = None


class Priced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold another price, in USD per million tokens; `times` multiplies the one there is."""

    input: float | None = None
    output: float | None = None
    times: Positive | None = None


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str = "test"
    project: str = ""
    team: str = ""
    organisation: str = ""
    tier: str = ""

    def to_key(self) -> Key:
        return Key(
            name=self.key,
            digest=b"",
            project=self.project,
            team=self.team,
            organisation=self.organisation,
            tier=self.tier,
        )


def states_of(policy: Policy, said: Mapping[str, Word | Measured]) -> dict[str, State]:
    """Return the states by deployment. A provider's name stands for all its deployments; a deployment's own word comes
    after. Raise ValueError for a name that is neither, with the nearest that is."""
    by_name = {d.name: [d] for d in policy.deployments}
    by_provider: dict[str, list[Deployment]] = {}
    for one in policy.deployments:
        by_provider.setdefault(one.provider, []).append(one)
    states: dict[str, State] = {}
    for name in sorted(said, key=lambda name: name in by_name):
        for one in by_name.get(name) or by_provider.get(name) or _nobody(name, [*by_name, *by_provider]):
            states[one.name] = _folded(states.get(one.name, State()), said[name])
    return states


def _folded(state: State, said: Word | Measured) -> State:
    word = said if isinstance(said, str) else said.state
    if word == "down":
        state = structs.replace(state, ejections=1, open_until_ms=NOW_MS + FAR_MS, why="unreachable")
    elif word == "cooling":
        state = structs.replace(state, cool_until_ms=NOW_MS + FAR_MS, why="rate_limited")
    elif word == "up":
        state = structs.replace(state, ejections=0, open_until_ms=0.0, cool_until_ms=0.0, probe_until_ms=0.0, why="")
    elif word == "probing":
        state = structs.replace(state, ejections=1, probe_until_ms=NOW_MS + FAR_MS, why="unreachable")
    if isinstance(said, str):
        return state
    measured = said.ttft_ms or said.tokens_per_s or said.ttft_ms_p95
    return structs.replace(
        state,
        ttft_ms=said.ttft_ms or said.ttft_ms_p95 or state.ttft_ms,
        tps=said.tokens_per_s or state.tps,
        ttft_p95_ms=said.ttft_ms_p95 or said.ttft_ms or 0.0,
        sampled=1_000 if measured else 0,
        measured_ms=NOW_MS if measured else -math.inf,
    )


def with_prices(policy: Policy, said: Mapping[str, Priced]) -> Policy:
    """Return the policy with other prices. Raise ValueError for a name that is no deployment or has no price to multiply."""
    names = [d.name for d in policy.deployments]
    for name in said:
        if name not in names:
            _nobody(name, names)
    changed = tuple(_repriced(d, said[d.name]) if d.name in said else d for d in policy.deployments)
    return structs.replace(policy, deployments=changed)


def _repriced(deployment: Deployment, said: Priced) -> Deployment:
    if deployment.price is None:
        raise ValueError(f"{deployment.name} has no price that could change")
    rates, times = deployment.price.rates, said.times or 1.0
    changed: dict[str, Any] = {
        name: None if value is None else round(value * times) for name, value in structs.asdict(rates).items()
    }
    for name in ("input", "output"):
        usd = getattr(said, name)
        if usd is not None:
            changed[name] = round(usd * NANO_PER_USD)
    price = Price(rates=structs.replace(rates, **changed), version="test", source="test")
    return structs.replace(deployment, price=price)


def _nobody(name: str, valid: list[str]) -> list[Deployment]:
    near = get_close_matches(name, valid, 1)
    raise ValueError(f'no deployment or provider is called "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))

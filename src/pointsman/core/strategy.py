"""Strategy: what ranks candidates, the Snapshot it may look at, and the Ranking it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.health import State
from pointsman.core.request import Features

if TYPE_CHECKING:
    from pointsman.core.options import Options


class Detail(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what only some routes need to know: those with rules, splits, stickiness, prices or limits of the day."""

    facts: dict[str, Any] | None = None  # what the rules looked at; None: there were none
    units: dict[str, float] = {}  # by route with a split: the hash of the request's unit, in [0, 1)
    sticky: int = -1  # position of the deployment that has answered this conversation; -1: none
    cached_tokens: int = 0  # of the input, that its prompt cache is expected to hold
    minute: int = -1  # of the UTC day
    spent_nano: int = 0  # what the route has cost today (UTC)
    fallback: str = ""  # why a plug-in did not rank but the route's fallback; "": it did, or there is none


class Snapshot(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold the read-only state a decision needs. `states` stands beside the route's options; `now_ms` is the monotonic
    clock; `seed` is the only source of chance, uniform in [0, 1)."""

    version: str
    now_ms: float
    seed: float
    states: tuple[State, ...]
    calm: bool = False  # no state has a breaker open, half open or cooling
    detail: Detail | None = None


class Ranking(msgspec.Struct, frozen=True, gc=False):
    """Hold a strategy's answer. `order` lists all the eligible positions, the one drawn first, then the fallbacks;
    `probabilities` (of being drawn first; they sum to 1) and `scores` stand beside it. `why` is set by nobody but the
    router: why the route's fallback ranked, and not its plug-in."""

    order: tuple[int, ...]
    probabilities: tuple[float, ...]
    scores: tuple[float, ...]
    why: str = ""


# (options, eligible positions in the operator's order, never empty, features, snapshot) -> Ranking, or its order[0]
Rank = Callable[["Options", tuple[int, ...], Features, Snapshot], Ranking]
Draw = Callable[["Options", tuple[int, ...], Features, Snapshot], int]
# (features, snapshot) -> order[0] and probabilities[0] of the Ranking, made for options and eligible positions.
Lead = Callable[[Features, Snapshot], tuple[int, float]]
LeadOf = Callable[["Options", tuple[int, ...]], Lead]


class Strategy(msgspec.Struct, frozen=True):
    """Hold a way of choosing: `rank` says everything, `draw` only which one is first, and so may do less. The two
    agree for every input; the conformance suite holds every registered strategy to it. What `lead` returns says which one
    is first and how likely that was; unless it is `by_state` it does not look at the states. `by_cost`: it weighs predicted
    cost, and with it the warm cache of a sticky conversation; any other strategy lets the conversation stay. `plugin`: it
    is another package's, so the route has a fallback for when it fails."""

    name: str
    rank: Rank
    draw: Draw
    by_cost: bool = False
    plugin: bool = False
    lead: LeadOf | None = None
    by_state: bool = False

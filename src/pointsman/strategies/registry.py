"""The registry: a strategy's name in config -> its functions."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.core.options import Options
from pointsman.core.request import Features
from pointsman.core.strategy import Draw, LeadOf, Rank, Snapshot, Strategy

STRATEGIES: dict[str, Strategy] = {}


def strategy(
    name: str, draw: Draw | None = None, *, by_cost: bool = False, lead: LeadOf | None = None, by_state: bool = False
) -> Callable[[Rank], Rank]:
    """Register a ranking function under the name that routes write in `strategy:`.

    `draw` returns the first of the order for less work; without it the ranking is made. `by_cost`: it weighs what
    `core.options.cost_nano` predicts. `lead` makes, for options and eligible positions, what
    returns the first and its probability for less work; `by_state`: it looks at the states for that. Raise ValueError when
    the name is taken.
    """

    def register(rank: Rank) -> Rank:
        if name in STRATEGIES:
            raise ValueError(f"strategy {name!r} is registered twice")

        def ranked_first(options: Options, eligible: tuple[int, ...], features: Features, snapshot: Snapshot) -> int:
            return rank(options, eligible, features, snapshot).order[0]

        STRATEGIES[name] = Strategy(name, rank, draw or ranked_first, by_cost, lead=lead, by_state=by_state)
        return rank

    return register

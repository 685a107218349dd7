"""The registry: a strategy's name in config -> its function."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.core.decide import Strategy

STRATEGIES: dict[str, Strategy] = {}


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Register a function under the name that routes write in `strategy:`. Raise ValueError when it is taken."""

    def register(function: Strategy) -> Strategy:
        if name in STRATEGIES:
            raise ValueError(f"strategy {name!r} is registered twice")
        STRATEGIES[name] = function
        return function

    return register

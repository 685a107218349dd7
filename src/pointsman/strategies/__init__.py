"""Strategies: pure functions that rank candidates and give each its probability; one family a file, one registry."""

from pointsman.strategies import cost, fixed, latency, objective
from pointsman.strategies.registry import STRATEGIES, strategy

__all__ = ["NAMES", "STRATEGIES", "cost", "fixed", "latency", "objective", "strategy"]

NAMES: tuple[str, ...] = tuple(sorted(STRATEGIES))

"""Known: what Pointsman knows without being told, from the registries of the dialects and the strategies."""

from __future__ import annotations

from pointsman.core.policy import AuthStyle
from pointsman.dialects.providers import PROVIDERS, KnownProvider
from pointsman.strategies import NAMES as STRATEGIES
from pointsman.strategies.plugins import announced

__all__ = ["DIALECTS", "PROVIDERS", "STRATEGIES", "KnownProvider", "strategies"]

# Dialect -> how its servers take the key when nothing else is said.
DIALECTS: dict[str, AuthStyle] = {"anthropic": "x-api-key", "gemini": "x-goog-api-key", "openai": "bearer"}


def strategies() -> frozenset[str]:
    """Return the names that routes may write in `strategy`: ours and those that other packages announce."""
    return frozenset(STRATEGIES).union(announced("strategy"))

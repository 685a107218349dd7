"""Proof: whether a translated config is one that could be served, given its variables."""

from __future__ import annotations

from pathlib import Path

from pointsman.config.imports.source import Result
from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError

_VALUES = {"key": "made-up-{}-0123456789", "url": "https://made-up.example", "text": "made-up"}


def proven(result: Result, name: str, beside: Path) -> list[str]:
    """Return the problems of a result as `pointsman check` would tell them, with made-up values for its variables."""
    env = {variable: _VALUES[known.kind].format(variable) for variable, known in result.variables.items()}
    try:
        load_text(result.config, name, env, beside=beside)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []

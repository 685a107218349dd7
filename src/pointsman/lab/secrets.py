"""Secrets: an environment that has every variable, for policies that are looked at and not served."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping


class MadeUp(Mapping[str, str]):
    """Be the process's environment, and give a made-up value for what it does not have: never the same for two names."""

    def __getitem__(self, name: str) -> str:
        return os.environ.get(name) or f"made-up-{name}-0123456789"

    def __contains__(self, name: object) -> bool:
        return name in os.environ  # so that a default of the file counts

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)

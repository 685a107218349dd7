"""What the tests of metrics, traces and logs share: pretend providers, a collector, a whole router as real processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _folder in ("observe", "cli", "gateway"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _folder))

from observed_world import Collector, World  # noqa: E402


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A router to which everything has happened that metrics and panels show: one for all tests here."""
    with World(tmp_path_factory.mktemp("observed")) as running:
        running.live()
        yield running

"""What the tests of the commands share: an upstream, and a router in front of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "stores"))

from serving import Serving, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Callable[..., Serving]]:
    """Start `pointsman serve` with the upstream's config; ended whatever happens."""
    started: list[Serving] = []
    config = tmp_path / "router.yaml"
    config.write_text(upstream.config())

    def start(*arguments: str) -> Serving:
        started.append(Serving(tmp_path, str(config), *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()

"""Make the local issuer importable, and the processes of the commands' tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from local_issuer import LocalIssuer
from serving import Serving, Upstream


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Callable[..., Serving]]:
    """Start `pointsman serve` with the upstream's config and more of it; ended whatever happens."""
    started: list[Serving] = []
    config = tmp_path / "router.yaml"

    def start(more: str, *arguments: str) -> Serving:
        config.write_text(upstream.config() + more)
        started.append(Serving(tmp_path, str(config), *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()

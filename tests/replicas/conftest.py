"""One world of four routers for all tests of this folder, which run one after another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

for _folder in ("replicas", "campaigns", "cli"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _folder))

if TYPE_CHECKING:
    from replica_world import Replicas

    from servers import PostgresServer


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Replicas]:
    from replica_world import replicas

    with replicas(tmp_path_factory.mktemp("replicas"), postgres) as running:
        yield running
        postgres.thaw()

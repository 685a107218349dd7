"""What all tests share: a quiet environment, and routers as real processes in front of mock providers.

The harness stands in tests/gateway and is imported only by the fixtures, so that other tests need none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "gateway"))
sys.path.append(str(Path(__file__).parent))

if TYPE_CHECKING:
    from gateway_lab import Lab
    from gateway_router import Router

    from servers import PostgresServer

settings.register_profile(
    "pr", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "pr"))

for _name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_API_KEY"):
    os.environ.pop(_name, None)  # the official clients would take them for their own

# Hundreds of processes are started here: without bytecode each of them would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="write the pictures of docs/dashboard.md")


COMPILED = not str(find_spec("pointsman.gateway.edge").origin).endswith(".py")  # type: ignore[union-attr]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if COMPILED and item.get_closest_marker("interpreted")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The mock providers, in a thread of their own: one for the whole run, so that tests stay quick."""
    from gateway_lab import Lab

    with Lab() as running:
        yield running


@pytest.fixture(scope="session")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """One worker for all tests that leave its state as it was; faults are chosen by model name."""
    from gateway_lab import router_config
    from gateway_router import Router

    with Router(router_config(lab), tmp_path_factory.mktemp("router")) as running:
        yield running
        running.check_quiet()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process: who kills or freezes it sees to it that it runs again."""
    from servers import PostgresServer

    with PostgresServer() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of a database that nobody has used."""
    return postgres.database()


StartRouter = Callable[..., "Router"]


@pytest.fixture
def start_router(tmp_path: Path) -> Iterator[StartRouter]:
    """Return a call that starts a worker of the test's own, with a config as plain values."""
    from gateway_router import Router

    started: list[Router] = []

    def start(config: dict[str, Any], **more: Any) -> Router:
        found = Router(config, tmp_path / f"data{len(started)}", **more)
        started.append(found)
        return found.start()

    yield start
    for found in started:
        found.stop()
        found.check_quiet()

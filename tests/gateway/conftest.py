"""Fixtures of the front door's tests: the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from gateway_lab import DIALECTS, FAST, SECRET, Lab
from gateway_router import KEY, Router
from openai import AsyncOpenAI


@pytest.fixture
async def client(router: Router) -> AsyncIterator[AsyncOpenAI]:
    """The official client against the shared router, with its own retries off."""
    async with AsyncOpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """Providers of one test alone, one a wire, whose script it may change and which it may switch off."""
    providers = [{"name": d, "dialect": d, "keys": {"main": SECRET}, "models": {"m": FAST}} for d in DIALECTS]
    with Lab({"providers": providers, "seed": 7}) as running:
        yield running

"""Fixtures of the front door's tests: the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gateway_router import KEY, Router
from openai import AsyncOpenAI


@pytest.fixture
async def client(router: Router) -> AsyncIterator[AsyncOpenAI]:
    """The official client against the shared router, with its own retries off."""
    async with AsyncOpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=10) as made:
        yield made

"""The demo's clients: the official `openai` client asks everything of `traffic`, while one provider goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from openai import AsyncOpenAI, OpenAIError

from pointsman.lab.traffic import DemoRequest

CONCURRENCY = 12
TIMEOUT_S = 60.0
BEFORE_OUTAGE = 24  # requests just before the outage that are answered in one piece

# category -> the route its application asks: what matters to whom decides, not the model's name
ROUTES = {
    "system": "support",
    "multi_turn": "support",
    "thinking": "support",
    "code": "assist",
    "tools": "assist",
    "image": "assist",
    "short": "drafts",
    "writing": "drafts",
    "long": "drafts",
    "language": "auto",
    "json": "auto",
    "special": "auto",
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a client saw of one request. Times are milliseconds from asking; `error` is empty when all was well."""

    category: str
    route: str
    stream: bool
    first_ms: float = 0.0
    total_ms: float = 0.0
    id: str = ""
    deployment: str = ""
    attempts: int = 0
    error: str = ""


class Outage:
    """Take a provider away at the middle of the traffic and bring it back at three quarters.

    A stream that has begun cannot move to another provider, and nobody should pretend it could: it would end in an explicit
    error. So the provider is taken away at a moment when no stream is under way, while whole answers are.
    """

    def __init__(self, total: int, switch: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self.down_at, self.up_at = total // 2, total * 3 // 4
        self._switch = switch
        self._down = asyncio.Event()
        self._streams = 0  # under way
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def admit(self, number: int, stream: bool) -> None:
        """Let request `number` begin; a stream near the outage waits for it."""
        if number == self.down_at:
            self._tasks.append(asyncio.create_task(self._take_down()))
        elif number == self.up_at:
            self._tasks.append(asyncio.create_task(self._switch("up")))
        if stream and number >= self.down_at:
            await self._down.wait()
        if stream:
            self._streams += 1
            self._quiet.clear()

    def left(self, stream: bool) -> None:
        """Note that a request has ended."""
        self._streams -= stream
        if not self._streams:
            self._quiet.set()

    async def _take_down(self) -> None:
        await self._quiet.wait()
        await self._switch("down")
        self._down.set()

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)


def arranged(requests: list[DemoRequest]) -> list[DemoRequest]:
    """Return the requests in an order that has answers in one piece around the middle."""
    whole = [one for one in requests if not one.kwargs.get("stream") and ROUTES[one.category] == "support"]
    middle = whole[:BEFORE_OUTAGE]
    rest = [one for one in requests if one not in middle]
    half = len(requests) // 2 - len(middle) * 2 // 3
    return rest[:half] + middle + rest[half:]


async def drive(
    base_url: str, key: str, requests: list[DemoRequest], outage: Outage, done: Callable[[Result], None]
) -> list[Result]:
    """Ask everything with bounded concurrency and return what the clients saw, in order of completion."""
    results: list[Result] = []
    waiting = iter(enumerate(requests))

    async def client_loop() -> None:
        for number, one in waiting:
            stream = bool(one.kwargs.get("stream"))
            await outage.admit(number, stream)
            try:
                result = await _ask(client, one)
            finally:
                outage.left(stream)
            results.append(result)
            done(result)

    # No retries by the client: what it would repair is for the router to prevent.
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=TIMEOUT_S) as client:
        await asyncio.gather(*(client_loop() for _ in range(CONCURRENCY)))
    await outage.end()
    return results


async def _ask(client: AsyncOpenAI, one: DemoRequest) -> Result:
    """Send one request and read its answer to the end."""
    arguments: dict[str, Any] = one.kwargs | {"model": ROUTES[one.category]}
    stream = bool(one.kwargs.get("stream"))
    seen = Result(category=one.category, route=arguments["model"], stream=stream)
    began = time.monotonic()
    first_ms = 0.0
    try:
        raw = await client.chat.completions.with_raw_response.create(**arguments)
        answer = raw.parse()
        if stream:
            async for chunk in answer:
                if not first_ms and chunk.choices:
                    first_ms = (time.monotonic() - began) * 1000
        elif not answer.choices:
            return msgspec.structs.replace(seen, error="an answer without choices")
    except OpenAIError as error:
        return msgspec.structs.replace(seen, error=f"{type(error).__name__}: {error}"[:300])
    return msgspec.structs.replace(
        seen,
        first_ms=first_ms,
        total_ms=(time.monotonic() - began) * 1000,
        id=raw.headers.get("x-request-id", ""),
        deployment=raw.headers.get("x-pointsman-deployment", ""),
        attempts=int(raw.headers.get("x-pointsman-attempts", "0")),
    )

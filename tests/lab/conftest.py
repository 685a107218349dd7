"""What the lab's tests share: mock servers, and a client that shows the raw bytes."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from pointsman.lab.mock import MockServer

FAST = {"ttft_ms": {"p50": 0, "p95": 0}, "tokens_per_s": 0, "output_tokens": {"p50": 20, "p95": 20}}


def lab_config(**more: Any) -> dict[str, Any]:
    """Return three providers, one per wire, that answer at once."""
    return {
        "providers": [
            {"name": "oa", "dialect": "openai", "keys": {"main": "sk-oa"}, "models": {"m1": dict(FAST)}},
            {"name": "an", "dialect": "anthropic", "keys": {"main": "sk-an"}, "models": {"m1": dict(FAST)}},
            {"name": "ge", "dialect": "gemini", "keys": {"main": "sk-ge"}, "models": {"m1": dict(FAST)}},
        ],
        "seed": 11,
    } | more


class Answer:
    """Hold what came over the wire, byte for byte, how it ended and when each read returned."""

    def __init__(self) -> None:
        self.raw = b""
        self.reset = False
        self.eof = False
        self.reads_s: list[float] = []

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def payload(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.payload
        found, rest = b"", self.payload
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return found

    @property
    def whole(self) -> bool:
        """Say whether the transfer itself ended as HTTP wants it."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return self.payload.endswith(b"0\r\n\r\n")
        return len(self.payload) == int(self.headers["content-length"])

    @property
    def events(self) -> list[Any]:
        """Return the JSON of every `data:` line; text that is not JSON as it is."""
        found: list[Any] = []
        for line in self.body.replace(b"\r\n", b"\n").split(b"\n"):
            if line.startswith(b"data:"):
                try:
                    found.append(json.loads(line[5:]))
                except ValueError:
                    found.append(line[5:].strip().decode())
        return found


async def exchange(port: int, path: str, body: Any, headers: dict[str, str], wait_s: float = 5.0) -> Answer:
    """Send one POST on a new connection and read until the reply is whole, the peer closes, or `wait_s` is over."""
    answer = Answer()
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: mock", f"content-length: {len(data)}", *map(": ".join, headers.items())]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 25)
    except ConnectionError:
        answer.reset = True
        return answer
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        deadline = time.monotonic() + wait_s
        while (left := deadline - time.monotonic()) > 0:
            part = await asyncio.wait_for(reader.read(1 << 20), left)
            answer.reads_s.append(time.monotonic())
            if not part:
                answer.eof = True
                break
            answer.raw += part
            if b"\r\n\r\n" in answer.raw and answer.whole:
                break
    except ConnectionError:
        answer.reset = True
    except TimeoutError:
        pass
    finally:
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return answer


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def mock() -> AsyncIterator[MockServer]:
    async with MockServer(lab_config()) as server:
        yield server


@pytest.fixture
def make_config() -> Callable[..., dict[str, Any]]:
    return lab_config


@pytest.fixture
def raw() -> Callable[..., Awaitable[Answer]]:
    return exchange


@pytest.fixture
def ask(mock: MockServer) -> Ask:
    """Return a call that asks one of the three providers in its own wire, raw."""

    async def send(
        name: str = "oa", *, stream: bool = True, wait_s: float = 5.0, text: str = "hello", **more: Any
    ) -> Answer:
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        if name == "ge":
            what = "streamGenerateContent?alt=sse" if stream else "generateContent"
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}]} | more
            headers |= {"x-goog-api-key": "sk-ge"}
            return await exchange(mock.port("ge"), f"/v1beta/models/m1:{what}", body, headers, wait_s)
        body = {"model": "m1", "messages": [{"role": "user", "content": text}], "stream": stream} | more
        if name == "an":
            headers |= {"x-api-key": "sk-an", "anthropic-version": "2023-06-01"}
            return await exchange(mock.port("an"), "/v1/messages", {"max_tokens": 500} | body, headers, wait_s)
        headers |= {"authorization": "Bearer sk-oa"}
        return await exchange(mock.port("oa"), "/v1/chat/completions", body, headers, wait_s)

    return send

"""Many clients at once, in one thread: each a connection of its own that is used again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway_raw import chat_body, post


@dataclass
class Seen:
    """What clients of one kind met: (when it ended in seconds of the monotonic clock, status, milliseconds)."""

    answers: list[tuple[float, int, float]] = field(default_factory=list)

    def count(self, status: int, since_s: float = 0.0, until_s: float = float("inf")) -> int:
        return sum(one == status and since_s <= at < until_s for at, one, _ in self.answers)

    def percentile_ms(self, share: float, status: int = 200) -> float:
        times = sorted(ms for _, one, ms in self.answers if one == status)
        assert times, f"no answer of status {status}: {self.statuses}"
        return times[min(len(times) - 1, int(share * len(times)))]

    @property
    def statuses(self) -> dict[int, int]:
        return {status: self.count(status) for status in sorted({one for _, one, _ in self.answers})}


async def ask_again_and_again(
    port: int, request: bytes, seen: Seen, goes_on: Callable[[], bool], pause_s: float = 0.0
) -> None:
    """Send the same request on one connection until told to stop; between two wait `pause_s`, more or less."""
    chance = random.Random()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while goes_on():
            began_s = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
            ended_s = time.monotonic()
            seen.answers.append((ended_s, int(lines[0].split()[1]), (ended_s - began_s) * 1000.0))
            if pause_s:
                await asyncio.sleep(pause_s * chance.uniform(0.5, 1.5))
    finally:
        writer.close()


def chat(model: str, *lines: str, key: str = "") -> bytes:
    """Return the bytes of one chat request; `key`: other than the usual one."""
    more = {"auth": f"authorization: Bearer {key}"} if key else {}
    return post(chat_body(model), *lines, **more)

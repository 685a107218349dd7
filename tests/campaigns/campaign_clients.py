"""Clients of a campaign: many at once over real sockets, each request noted as its client saw it: the first of three logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop

RETRY_S = 0.02  # after a connection that was refused
ANSWER_S = 60.0  # longer than anything may take
_ERROR = re.compile(rb'"error": ?\{')
_CODE = re.compile(rb'"code": ?"(\w+)"')


@dataclass(slots=True)
class Told:
    """Hold one request as its client saw it. Seconds are of the wall clock.

    `end`: complete (the whole answer) · error (a whole error) · cut (the head came, the end did not) · unanswered (sent,
    and no byte came).
    """

    name: str  # the x-request-id that was sent
    stream: bool
    sent_s: float
    end: str = "unanswered"
    ended_s: float = 0.0
    first_s: float = 0.0  # the head
    status: int = 0  # 0: no head came
    id: str = ""  # the router's
    code: str = ""  # of an error
    attempts: int = 0


class Clients:
    """Run `count` clients in a thread of their own; each asks again as soon as it is answered, while `going`."""

    def __init__(
        self,
        place: Callable[[], tuple[str, int]],
        count: int,
        *,
        model: str = "main",
        pause_s: float = 0.0,
        name: str = "c",
        key: str = "",
    ) -> None:
        self.told: list[Told] = []
        self.refused = 0  # connections
        self.pending = 0  # requests sent and not ended
        self._place, self._model, self._pause_s = place, model, pause_s
        self._name = name  # what their requests' ids begin with
        self._auth = f"authorization: Bearer {key}\r\n" if key else ""
        self._going = asyncio.Event()
        self._busy = 0  # clients between two looks at `_going`
        self._made = 0
        self._loop = uvloop.new_event_loop()
        self._tasks = [self._loop.create_task(self._client(n)) for n in range(count)]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Let all ask, until `rest`."""
        self._loop.call_soon_threadsafe(self._going.set)

    def rest(self, within_s: float = ANSWER_S) -> None:
        """Let each end what it has under way, and wait until all have."""
        self._loop.call_soon_threadsafe(self._going.clear)
        until_s = time.monotonic() + within_s
        while self._going.is_set() or self._busy:
            assert time.monotonic() < until_s, f"{self.pending} requests do not come to an end"
            time.sleep(0.01)

    def pause(self, seconds: float) -> None:
        """Let some time go by: when a campaign strikes is drawn, not waited for."""
        time.sleep(seconds)

    def close(self) -> None:
        """End the clients and their thread."""
        for task in self._tasks:
            self._loop.call_soon_threadsafe(task.cancel)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        with contextlib.suppress(RuntimeError):
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _client(self, number: int) -> None:
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            await self._going.wait()
            self._busy += 1
            try:
                line = await self._once(line, stream=number % 2 == 0)
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
            finally:
                self._busy -= 1

    async def _once(self, line: Any, *, stream: bool) -> Any:
        """Ask once, on the connection that is there or on a new one; return the connection if it can be used again."""
        if line is None:
            try:
                line = await asyncio.open_connection(*self._place())
            except OSError:
                self.refused += 1
                await asyncio.sleep(RETRY_S)
                return None
        reader, writer = line
        self._made += 1
        told = Told(f"{self._name}{self._made}", stream, time.time())
        self.told.append(told)
        self.pending += 1
        keep = False
        try:
            writer.write(self._request(told))
            async with asyncio.timeout(ANSWER_S):
                keep = await _read(reader, told)
        except (OSError, asyncio.IncompleteReadError, EOFError):
            told.end = "cut" if told.status else "unanswered"
        except TimeoutError:
            told.end = "never"
        finally:
            told.ended_s = time.time()
            self.pending -= 1
            if not keep:
                writer.close()
        return line if keep else None

    def _request(self, told: Told) -> bytes:
        body = {"model": self._model, "messages": [{"role": "user", "content": f"say something to {told.name}"}]}
        data = json.dumps(body | {"stream": told.stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-request-id: {told.name}\r\n{self._auth}"
        return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


async def _read(reader: asyncio.StreamReader, told: Told) -> bool:
    """Read one answer into `told`; return whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    told.status, told.first_s = int(head[0].split(" ")[1]), time.time()
    told.id, told.attempts = headers.get("x-pointsman-id", ""), int(headers.get("x-pointsman-attempts", "0"))
    if "transfer-encoding" in headers:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        whole = body.endswith(b"data: [DONE]\n\n")
    else:
        body = await reader.readexactly(int(headers["content-length"]))
        whole = told.status == 200
    if found := _ERROR.search(body):
        code = _CODE.search(body, found.start())
        told.end, told.code = "error", code[1].decode() if code else ""
    else:
        told.end = "complete" if whole else "cut"
    return headers.get("connection") != "close"

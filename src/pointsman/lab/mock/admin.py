"""The mock's control endpoint, on a port of its own so that it stays up when a provider goes down.

`POST /_mock/script` {"rules": [...], "capacity": {provider: {...} | null}} replaces what it names ·
`POST /_mock/down` and `/_mock/up` {"provider": name} (none: all) · `GET /_mock/log?since=N` · `GET /_mock/state`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from pointsman.lab.faults import FaultError, Rule
from pointsman.lab.mock.ask import Received
from pointsman.lab.mock.config import Capacity
from pointsman.lab.mock.http import Connection, Exchange
from pointsman.lab.mock.log import MockLog
from pointsman.lab.mock.steps import Head, Step, frame
from pointsman.lab.mock.wheel import Wheel


class _ScriptBody(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[dict[str, Any]] | None = None
    capacity: dict[str, Capacity | None] | None = None


class _NameBody(msgspec.Struct, forbid_unknown_fields=True):
    provider: str | None = None


class Controlled(Protocol):
    """What the control endpoint acts on."""

    @property
    def log(self) -> MockLog: ...

    def script(self, rules: list[Rule | dict[str, object]]) -> None: ...

    def limit(self, name: str, capacity: Capacity | None) -> None: ...

    async def down(self, name: str | None = None) -> None: ...

    async def up(self, name: str | None = None) -> None: ...

    def state(self) -> dict[str, Any]: ...


class AdminSite:
    """Answer the control requests."""

    def __init__(self, server: Controlled, wheel: Wheel) -> None:
        self._server = server
        self.wheel = wheel
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()

    def opened(self, connection: Connection) -> tuple[Rule, ...]:
        self._open.add(connection)
        return ()

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)

    def finished(self, exchange: Exchange) -> None:
        """Nothing is booked for control requests."""

    def close(self) -> None:
        """Reset the control connections."""
        for connection in tuple(self._open):
            connection.cut("stop")

    def answer(self, received: Received) -> Exchange:
        try:
            status, value = self._act(received)
        except (msgspec.DecodeError, FaultError, ValueError) as error:
            status, value = 400, {"error": str(error)}
        except KeyError as error:
            status, value = 404, {"error": f"no provider {error.args[0]!r}"}
        body = msgspec.json.encode(value)
        head = Head(status, (("content-type", "application/json"),), len(body))
        return Exchange(frame(head, iter((Step(body, "body"),))))

    def _act(self, received: Received) -> tuple[int, Any]:
        what = f"{received.method} {received.path}"
        if what == "GET /_mock/log":
            since = int(parse_qs(received.query).get("since", ["0"])[0])
            return 200, {"entries": self._server.log.since(since)}
        if what == "GET /_mock/state":
            return 200, self._server.state()
        if what == "POST /_mock/script":
            self._script(msgspec.json.decode(received.body, type=_ScriptBody))
            return 200, {"ok": True}
        if what in ("POST /_mock/down", "POST /_mock/up"):
            self._switch(what.rpartition("/")[2], received.body)
            return 200, {"ok": True}
        return 404, {"error": "one of /_mock/script, /_mock/down, /_mock/up, /_mock/log, /_mock/state"}

    def _script(self, body: _ScriptBody) -> None:
        if body.rules is not None:
            self._server.script(list(body.rules))
        for name, capacity in (body.capacity or {}).items():
            self._server.limit(name, capacity)

    def _switch(self, way: str, raw: bytes) -> None:
        name = msgspec.json.decode(raw, type=_NameBody).provider if raw else None
        if name is not None and name not in self._server.state()["providers"]:
            raise KeyError(name)
        task = asyncio.ensure_future(self._server.down(name) if way == "down" else self._server.up(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""The mock provider server: its ports, and what tests and the command line do with it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from pointsman.lab.faults import Facts, Rule, Script, rules_of
from pointsman.lab.mock.admin import AdminSite
from pointsman.lab.mock.ask import Received
from pointsman.lab.mock.config import Capacity, MockConfig, mock_config
from pointsman.lab.mock.http import Connection, Exchange
from pointsman.lab.mock.log import Entry, MockLog
from pointsman.lab.mock.provider import Provider
from pointsman.lab.mock.steps import Head, Step, frame
from pointsman.lab.mock.wheel import Wheel

BACKLOG = 4096
_NOT_FOUND = b'{"error":{"message":"Not Found","type":"invalid_request_error","param":null,"code":null}}'


class Listener:
    """Hold one port: the providers behind it, its open connections, and whether it is up.

    While down the port stays bound but does not listen: connecting is refused, and nobody else can take it.
    """

    def __init__(self, providers: list[Provider], wheel: Wheel, log: MockLog, tls: ssl.SSLContext | None) -> None:
        self.providers = providers
        self.wheel = wheel
        self._log = log
        self._tls = tls
        self._open: set[Connection] = set()
        self._count = 0
        self._server: asyncio.Server | None = None
        self._bound: socket.socket | None = None
        self.port = 0

    async def up(self, host: str, port: int = 0) -> None:
        """Listen on `port` (0: any) the first time, on the same port again later. Raises OSError."""
        if self._server is not None:
            return
        if self._bound is None:
            self._bound = _bind(host, port)
            self.port = self._bound.getsockname()[1]
        loop = asyncio.get_running_loop()
        sock, self._bound = self._bound, None
        self._server = await loop.create_server(self._connection, sock=sock, ssl=self._tls, backlog=BACKLOG)

    async def down(self, host: str, *, keep: bool = True) -> None:
        """Stop listening and reset every open connection; with `keep` hold the port for `up`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._open):
            connection.cut("down" if keep else "stop")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._bound is not None and not keep:
            self._bound.close()
            self._bound = None
        if keep and self._bound is None:
            self._bound = _bind(host, self.port)

    def _connection(self) -> Connection:
        self._count += 1
        return Connection(self, self._count)

    # --- the connections' calls

    def opened(self, connection: Connection) -> tuple[Rule, ...]:
        self._open.add(connection)
        found: tuple[Rule, ...] = ()
        for provider in self.providers:
            rules = provider.script.pick(Facts(provider.spec.name), self.wheel.now_s(), accept=True)
            for rule in rules:
                entry = Entry(provider=provider.spec.name, time_s=time.time(), connection=connection.number)
                entry.outcome = "complete" if rule.do == "delay" else "cut"
                entry.mark(rule.label)
                self._log.add(entry)
            found += rules
        return found

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)

    def answer(self, received: Received) -> Exchange:
        for provider in self.providers:
            prefix = provider.spec.prefix
            if received.path.startswith(prefix):
                what = provider.wire.finds(received.method, received.path[len(prefix) :])
                if what is not None:
                    return provider.answer(received, what, self.wheel.now_s())
        head = Head(404, (("content-type", "application/json"),), len(_NOT_FOUND))
        body = () if received.method == "HEAD" else (Step(_NOT_FOUND, "body"),)
        return Exchange(frame(head, iter(body)))

    def finished(self, exchange: Exchange) -> None:
        if exchange.end is not None:
            exchange.end()
        if exchange.entry is not None:
            exchange.entry.duration_ms = round((time.time() - exchange.entry.time_s) * 1000, 3)
            self._log.add(exchange.entry)


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


class MockServer:
    """Serve a MockConfig (or plain values, or YAML text) in the running loop; use as `async with`.

    Raises MockConfigError, OSError if a port is taken, ssl.SSLError or OSError for bad certificate files.
    """

    def __init__(self, config: MockConfig | dict[str, object] | str) -> None:
        self.config = config if isinstance(config, MockConfig) else mock_config(config)
        self.log = MockLog(self.config.log_size, Path(self.config.log_file) if self.config.log_file else None)
        self._listeners: list[Listener] = []
        self._by_name: dict[str, tuple[Listener, Provider]] = {}
        self._admin: asyncio.Server | None = None
        self._admin_site: AdminSite | None = None
        self._wheel: Wheel | None = None
        self.admin_port = 0

    async def __aenter__(self) -> MockServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open all ports; on an error those already open are closed again."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._wheel = wheel = Wheel(loop)
        config = self.config
        tls = _tls(config)
        script = Script(config.script, config.seed, wheel.now_s())
        shared: dict[int, list[Provider]] = {}
        for at, spec in enumerate(config.providers):
            provider = Provider(spec, script, config.seed, config.time_scale)
            shared.setdefault(spec.port or -1 - at, []).append(provider)
        for port, providers in shared.items():
            listener = Listener(providers, wheel, self.log, tls)
            self._listeners.append(listener)
            await listener.up(config.host, max(port, 0))
            self._by_name |= {provider.spec.name: (listener, provider) for provider in providers}
        self._admin_site = site = AdminSite(self, wheel)
        sock = _bind(config.host, config.admin_port)
        self.admin_port = sock.getsockname()[1]
        self._admin = await loop.create_server(lambda: Connection(site, 0), sock=sock)

    async def stop(self) -> None:
        """Reset what is open and close all ports and the log file."""
        for listener in self._listeners:
            await listener.down(self.config.host, keep=False)
        if self._admin is not None:
            self._admin.close()
        if self._admin_site is not None:
            self._admin_site.close()
        await asyncio.sleep(0)
        if self._wheel is not None:
            self._wheel.close()
        self.log.close()

    def port(self, name: str) -> int:
        """Return a provider's port. Raises KeyError."""
        return self._by_name[name][0].port

    def url(self, name: str) -> str:
        """Return a provider's origin and prefix, without a path of the API. Raises KeyError."""
        prefix = self._by_name[name][1].spec.prefix
        return f"{'https' if self.config.tls else 'http'}://{self.config.host}:{self.port(name)}{prefix}"

    @property
    def ports(self) -> dict[str, int]:
        """Return every provider's port, and the control endpoint's as `_admin`."""
        return {name: listener.port for name, (listener, _) in self._by_name.items()} | {"_admin": self.admin_port}

    def script(self, rules: Iterable[Rule | dict[str, object]]) -> None:
        """Replace the fault rules; their counts and windows start now. Raises FaultError."""
        assert self._wheel is not None, "the server is not started"
        script = Script(rules_of(rules), self.config.seed, self._wheel.now_s())
        for _, provider in self._by_name.values():
            provider.script = script

    def limit(self, name: str, capacity: Capacity | None) -> None:
        """Set a provider's capacity, None for unlimited. Raises KeyError."""
        self._by_name[name][1].capacity = capacity

    async def down(self, name: str | None = None) -> None:
        """Refuse connections and reset the open ones, of one provider's port or of all. Raises KeyError."""
        for listener in self._listeners if name is None else [self._by_name[name][0]]:
            await listener.down(self.config.host)

    async def up(self, name: str | None = None) -> None:
        """Listen again on the same port. Raises KeyError, OSError."""
        for listener in self._listeners if name is None else [self._by_name[name][0]]:
            await listener.up(self.config.host)

    def state(self) -> dict[str, Any]:
        """Return what is served: ports, open requests, arrivals, and the rules in force."""
        return {
            "ports": self.ports,
            "providers": {n: {"active": p.active, "requests": p.number} for n, (_, p) in self._by_name.items()},
            "rules": [
                msgspec.to_builtins(rule) for _, p in list(self._by_name.values())[:1] for rule in p.script.rules
            ],
        }


def _tls(config: MockConfig) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.tls.cert, config.tls.key)
    return context

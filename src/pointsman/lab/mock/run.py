"""The mock provider server as a process: event loop, signals, port file."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from pointsman.lab.mock.config import MockConfig
from pointsman.lab.mock.server import MockServer


def run_mock(
    config: MockConfig, *, port_file: Path | None = None, ready: Callable[[dict[str, int]], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM. When the ports are open, write them to `port_file` and call `ready` with them.

    The port file is JSON `{provider: port, "_admin": port}`, written whole or not at all. Raises OSError if a port is
    taken or a file cannot be written.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, port_file, ready))


async def _serve(config: MockConfig, port_file: Path | None, ready: Callable[[dict[str, int]], None] | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with MockServer(config) as server:
        if port_file is not None:
            write_whole(port_file, msgspec.json.encode(server.ports))
        if ready is not None:
            ready(server.ports)
        await stopping.wait()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing (rename over)."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)

"""The command `serve`: run the router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pointsman.cli.ledger import DATA


def serve(
    config: Annotated[
        Path | None, typer.Argument(help="The config file; without it: what the environment's keys allow.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Listen here instead of where the config says.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Listen on this port; 0 takes a free one.")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option("--admin-port", min=0, max=65535, help="Port of the dashboard and the admin API.")
    ] = None,
    admin_host: Annotated[
        str, typer.Option("--admin-host", help="Beyond loopback it needs a token that you chose.")
    ] = "127.0.0.1",
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Data-plane processes.")] = None,
    data: Annotated[Path, typer.Option("--data", help="Journal, ledger and state live in this folder.")] = DATA,
) -> None:
    """Serve what a config file says. Exit code 0: ended as told, 1: invalid config or it cannot run, 2: the config or the
    folder is unreadable."""
    import json
    import os
    import sys
    import time

    options = {
        "config": None if config is None else str(config),
        "data": str(data),
        "host": host,
        "port": port,
        "admin_port": admin_port,
        "admin_host": admin_host,
        "workers": workers,
        "began_s": time.time(),
    }
    # The same process goes on as the supervisor, without the memory that the command line took.
    command = [sys.executable, "-P", "-m", "pointsman.cli.supervisor", json.dumps(options)]
    os.execv(sys.executable, command)  # noqa: S606  our own interpreter, no shell

"""Compile a config in a process of its own, so that the supervisor holds neither the YAML parser nor the schema.

`python -m pointsman.cli.compile_config OPTIONS`: OPTIONS is the JSON object of `Wanted`. On standard output: one line of
JSON (what the supervisor prints and checks), then the encoded policy. Warnings and errors go to standard error; the exit
code is that of `pointsman check`.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from pointsman.config.load import Loaded, Options, load
from pointsman.config.problem import ConfigError
from pointsman.config.transport import encode
from pointsman.core.policy import Policy

MOST_WARNINGS = 20  # printed; `pointsman check` prints all


class Wanted(msgspec.Struct, frozen=True):
    """Hold what the command line says. None: as the config says."""

    config: str | None
    data: str
    host: str | None = None
    port: int | None = None
    admin_port: int | None = None
    workers: int | None = None


def compiled(wanted: Wanted) -> Loaded:
    """Return the policy to serve. Raise ConfigError."""
    names = ("host", "port", "admin_port", "workers")
    server = {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}
    options = Options(server=server, cache_dir=Path(wanted.data) / "cache")
    if wanted.config is None:
        from pointsman.config.discover import from_environment

        loaded = from_environment(os.environ, options)
    else:
        loaded = load(Path(wanted.config), os.environ, options)
    return msgspec.structs.replace(loaded, policy=_with_ports(loaded.policy))


def _with_ports(policy: Policy) -> Policy:
    """Return the policy with a free port in place of each port 0, the same for all workers."""
    listener = policy.listener
    changed = {name: _free_port(listener.host) for name in ("port", "admin_port") if getattr(listener, name) == 0}
    if not changed:
        return policy
    return msgspec.structs.replace(policy, listener=msgspec.structs.replace(listener, **changed))


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as probe:
        return int(probe.getsockname()[1])


def summary(policy: Policy, size: int) -> dict[str, Any]:
    """Return what the supervisor needs to know of a policy."""
    listener = policy.listener
    return {
        "version": policy.version,
        "source": policy.source,
        "host": listener.host,
        "port": listener.port,
        "admin_port": listener.admin_port,
        "workers": listener.workers,
        "tls": bool(listener.tls_cert),
        "providers": list(policy.providers),
        "deployments": [one.name for one in policy.deployments],
        "unpriced": [one.name for one in policy.deployments if one.price is None],
        "routes": [
            [name, route.strategy, len(route.candidates)] for name, route in policy.routes.items() if not route.implicit
        ],
        "keys": [key.name for key in policy.keys],
        "policy_bytes": size,
    }


def main() -> None:
    """Compile, print, and end with the exit code of `check`."""
    wanted = msgspec.json.decode(sys.argv[1], type=Wanted)
    try:
        loaded = compiled(wanted)
    except ConfigError as error:
        from pointsman.cli.check import exit_code, print_error

        print_error(error)
        sys.exit(exit_code(error))
    for warning in loaded.warnings[:MOST_WARNINGS]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(loaded.warnings) > MOST_WARNINGS:
        print(f"warning: and {len(loaded.warnings) - MOST_WARNINGS} more; see `pointsman check`", file=sys.stderr)
    data = encode(loaded.policy)
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(msgspec.json.encode(summary(loaded.policy, len(data))) + b"\n" + data)


if __name__ == "__main__":
    main()

"""Compile a config in a process of its own, so that the supervisor holds neither the YAML parser nor the schema.

`python -m pointsman.cli.compile_config OPTIONS`: OPTIONS is the JSON object of `Wanted`. On standard output: one line of
JSON (what the supervisor prints and checks), then the encoded policy. Warnings and errors go to standard error, errors also
as `{"failed": TEXT}` to standard output; the exit code is that of `pointsman check`.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from pointsman.cli.redact import redacted
from pointsman.config import price_list
from pointsman.config.addresses import is_loopback
from pointsman.config.document import read_text
from pointsman.config.load import Loaded, Options, load_text
from pointsman.config.problem import ConfigError, Problem
from pointsman.config.transport import encode
from pointsman.core.policy import Listener, Policy
from pointsman.core.secret import secrets_of
from pointsman.observe.log import LOG
from pointsman.stores.versions import Entry, Versions

MOST_WARNINGS = 20  # printed; `pointsman check` prints all
MOST_FAILED_CHARACTERS = 4000  # of the problems, as the supervisor is told
RELOAD_NICE = 5  # the workers go on meanwhile
FIXED = {  # what is fixed at the start -> what it is called in the file
    "host": "server.host",
    "port": "server.port",
    "admin_port": "server.admin_port",
    "workers": "server.workers",
    "tls_cert": "server.tls.cert",
    "tls_key": "server.tls.key",
}


class Wanted(msgspec.Struct, frozen=True):
    """Hold what the command line says. None: as the config says. `listening` and `asked` are those of a summary: where the
    router listens, and where its config asked to; None when it starts."""

    config: str | None
    data: str
    host: str | None = None
    port: int | None = None
    admin_port: int | None = None
    workers: int | None = None
    trigger: str = "start"
    listening: dict[str, Any] | None = None
    asked: dict[str, Any] | None = None
    log: dict[str, str] = {}  # how the log is written, at a reload


def compiled(wanted: Wanted) -> tuple[Loaded, str | None]:
    """Return the policy as the config has it, and the config's text if it is a file. Raise ConfigError."""
    names = ("host", "port", "admin_port", "workers")
    server = {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}
    data = Path(wanted.data)
    options = Options(server=server, cache_dir=data / "cache", price_list=data / price_list.FILE)
    if wanted.config is None:
        from pointsman.config.discover import from_environment

        return from_environment(os.environ, options), None
    path = Path(wanted.config)
    text = read_text(path)
    return load_text(text, str(path), os.environ, options, beside=path.parent), text


def as_served(policy: Policy, wanted: Wanted) -> tuple[Policy, list[str]]:
    """Return the policy with the listener that there is, and what of the file therefore waits for a restart.

    Raise ConfigError when the keys were taken out while the router listens where others reach it.
    """
    if wanted.listening is None or wanted.asked is None:
        return _with_ports(policy), []
    asked, host = listener_of(policy), wanted.listening["host"]
    waiting = [name for name in FIXED if asked[name] != wanted.asked[name]]
    if policy.listener.insecure_open and not is_loopback(host) and is_loopback(asked["host"]):
        message = f"without keys anyone could spend your money: until a restart the router listens on {host}."
        raise ConfigError([Problem(policy.source, 0, 0, "keys", message, "Restart it, or leave the keys in.")])
    listener = msgspec.structs.replace(policy.listener, **wanted.listening)
    told = [f"{FIXED[name]}: takes a restart; until then {_shown(wanted.listening[name])} stays." for name in waiting]
    return msgspec.structs.replace(policy, listener=listener), told


def _shown(value: object) -> str:
    return str(value) if value != "" else "none"


def listener_of(policy: Policy) -> dict[str, Any]:
    """Return what of the listener is fixed at the start."""
    return {name: getattr(policy.listener, name) for name in FIXED}


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


def entry_of(policy: Policy, text: str | None, wanted: Wanted) -> Entry:
    """Return what the list of versions says of a policy, after keeping its text without literal secrets."""
    versions, digest, hidden = Versions(Path(wanted.data)), "", False
    if text is not None:
        digest = hashlib.sha256(text.encode()).hexdigest()
        kept, hidden = redacted(text)
        try:
            if kept and versions.text(policy.version) != kept:
                versions.keep_text(policy.version, kept)
        except OSError as error:
            _warn(f"the text of version {policy.version} is not kept: {error.strerror}")
    author = wanted.trigger if wanted.trigger in ("admin API", "prices") else _owner(wanted.config)
    return Entry(
        version=policy.version,
        at_ms=time.time_ns() // 1_000_000,
        author=versions.intended(digest) or author,
        trigger=wanted.trigger,
        source=policy.source,
        sha256=digest,
        redacted=hidden,
    )


def _owner(config: str | None) -> str:
    """Return the user a file belongs to: who saved it last, with most editors; ours when there is no file."""
    try:
        number = os.getuid() if config is None else Path(config).stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def summary(policy: Policy, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the supervisor needs to know of a policy. `asked`: the listener as the config has it."""
    listener: Listener = policy.listener
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
        "routes": [[name, route.how] for name, route in policy.routes.items() if not (route.implicit or route.hidden)],
        "keys": [*(key.name for key in policy.keys), *(f"tokens of {one.name}" for one in policy.listener.issuers)]
        or ([] if listener.insecure_open else ["those of the key store"]),
        "listening": listener_of(policy),
        "asked": asked,
        "log": {"format": listener.log.format, "level": listener.log.level},
    }


def main() -> None:
    """Compile, print, and end with the exit code of `check`."""
    wanted = msgspec.json.decode(sys.argv[1], type=Wanted)
    if wanted.listening is not None:
        os.nice(RELOAD_NICE)
    os.umask(0o077)
    try:
        loaded, text = compiled(wanted)
        policy, waiting = as_served(loaded.policy, wanted)
    except ConfigError as error:
        from pointsman.cli.check import exit_code, print_error

        if wanted.log.get("format") == "json":
            LOG.configure("config", **wanted.log)
            LOG.error("config_refused", str(error))
        else:
            print_error(error)
        _tell({"failed": str(error)[:MOST_FAILED_CHARACTERS]}, b"")
        sys.exit(exit_code(error))
    log = policy.listener.log
    LOG.configure("config", log.format, log.level, secrets_of(policy))
    warnings = [*waiting, *map(str, loaded.warnings[:MOST_WARNINGS])]
    if len(loaded.warnings) > MOST_WARNINGS:
        warnings.append(f"and {len(loaded.warnings) - MOST_WARNINGS} more; see `pointsman check`")
    for warning in warnings:
        _warn(warning)
    told = summary(policy, wanted.asked or listener_of(loaded.policy))
    told |= {"restart": waiting, "entry": entry_of(policy, text, wanted), "price_change_ms": loaded.price_change_ms}
    _tell(told, encode(policy))


def _warn(text: str) -> None:
    if LOG.json:
        LOG.warning("config_warning", text)
    else:
        print(f"warning: {text}", file=sys.stderr)


def _tell(told: dict[str, Any], policy: bytes) -> None:
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(msgspec.json.encode(told) + b"\n" + policy)


if __name__ == "__main__":
    main()

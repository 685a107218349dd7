"""Shared: `server.counters` and `server.cache`, where workers and machines share what they know, as URLs."""

from __future__ import annotations

from pointsman.config import schema
from pointsman.config.build import Build
from pointsman.config.stores import compile_store
from pointsman.core.address import Address, address_of, check, is_postgres
from pointsman.core.secret import Secret

FILE = "file:"


def compile_counters(build: Build, config: schema.Config) -> Secret:
    """Return where quotas are counted, as a URL."""
    at = ("server", "counters")
    given = config.server.counters
    url = FILE if given is None else build.secret(at, given)
    if url is None:
        return Secret(FILE)
    try:
        check(url)
        if is_postgres(url):
            return compile_store(build, "counters", given)
    except ValueError as error:
        build.problem(at, f"{error}, postgresql://, memory: or file:.")
    if url == "memory:" and config.server.workers > 1:
        build.problem(at, "memory: is one worker's; there are several.", "Use file:.")
    if config.server.replicas > 1 and url in ("memory:", FILE):
        build.problem(("server", "replicas"), "needs counters that they share.", 'Set counters: "redis://HOST:6379".')
    return Secret(url)


def compile_cache(build: Build, config: schema.Config) -> Secret:
    """Return where cached answers are shared, as a URL."""
    at = ("server", "cache")
    given = config.server.cache
    url = FILE if given is None else build.secret(at, given)
    if url is None or url == FILE:
        return Secret(FILE)
    try:
        address = address_of(url)
    except ValueError as error:
        build.problem(at, f"{error} or file:.")
        return Secret(FILE)
    counters = _counted_in(build, config)
    if counters is not None and (counters.host, counters.port) == (address.host, address.port):
        said = "is the server that counts quotas: answers would fill it, and one that drops what is old drops counters too."
        build.warn(at, said, "Give the answers a Redis of their own, with maxmemory and allkeys-lru.")
    return Secret(url)


def _counted_in(build: Build, config: schema.Config) -> Address | None:
    given = config.server.counters
    url = None if given is None else build.secret(("server", "counters"), given)
    try:
        return address_of(url) if url is not None else None
    except ValueError:
        return None

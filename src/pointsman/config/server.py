"""Server: the `server` and `keys` sections as the core Listener and Keys."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable

from pointsman.config import schema
from pointsman.config.addresses import is_loopback
from pointsman.config.build import Build
from pointsman.config.notify import compile_channels
from pointsman.config.oidc import compile_issuers
from pointsman.config.providers import CREDENTIAL_HEADERS
from pointsman.config.shared import compile_cache, compile_counters
from pointsman.config.stores import compile_store
from pointsman.config.tracing import compile_tracing
from pointsman.core.bodies import StoreBounds
from pointsman.core.keys import digest
from pointsman.core.log import LogSettings
from pointsman.core.policy import Key, Listener
from pointsman.core.priority import RANKS
from pointsman.core.retention import Retention
from pointsman.core.secret import Secret

MIN_KEY_CHARACTERS = 16
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def compile_keys(build: Build, config: schema.Config, routes: Iterable[str]) -> tuple[Key, ...]:
    """Return the client keys as digests; the keys themselves end here."""
    valid = set(routes)
    names: set[str] = set()
    digests: dict[bytes, str] = {}
    keys: list[Key] = []
    for index, given in _numbered(build, config):
        at = ("keys", index)
        if given.name in names:
            build.problem((*at, "name"), f"{build.document.shown((*at, 'name'), given.name)} is the name of two keys.")
        names.add(given.name)
        for number, route in enumerate(given.routes or ()):
            if route not in valid:
                build.unknown((*at, "routes", number), "route", route, valid)
        text = build.secret((*at, "key"), given.key)
        if text is None:
            continue
        if len(text) < MIN_KEY_CHARACTERS:
            build.problem((*at, "key"), f"is shorter than {MIN_KEY_CHARACTERS} characters.")
        mark = digest(text.encode())
        if mark in digests:
            build.problem((*at, "key"), f'is the same key as that of "{digests[mark]}".')
        digests.setdefault(mark, given.name)
        keys.append(_key(given, mark))
    return tuple(keys)


def _numbered(build: Build, config: schema.Config) -> list[tuple[int, schema.Key]]:
    """Return the keys with their place in the file, which differs when faulty ones were left out."""
    listed = build.document.data.get("keys")
    count = len(listed) if isinstance(listed, list) else 0
    places = [index for index in range(count) if index not in build.left_out]
    return list(zip(places, config.keys, strict=False))


def _key(given: schema.Key, mark: bytes) -> Key:
    return Key(
        name=given.name,
        digest=mark,
        project=given.project or "",
        team=given.team or "",
        organisation=given.organisation or "",
        tier=given.tier or "",
        routes=None if given.routes is None else tuple(given.routes),
        concurrency=given.concurrency,
        rank=RANKS[given.priority],
        tags=tuple(given.tags),
    )


def compile_listener(build: Build, config: schema.Config, routes: Iterable[str]) -> Listener:
    """Return the Listener. Beyond loopback it needs keys, or the operator's word that it shall be open."""
    server = config.server
    has_keys = bool(build.document.data.get("keys")) or server.require_keys or bool(server.oidc)
    if not has_keys and not server.allow_unauthenticated and not is_loopback(server.host):
        build.problem(
            ("server", "host"),
            "would let anyone who reaches it spend your money: there are no keys.",
            "Add `keys`, listen on 127.0.0.1, or set server.allow_unauthenticated: true.",
        )
    if server.require_keys and server.allow_unauthenticated:
        build.problem(("server", "allow_unauthenticated"), "contradicts require_keys.")
    if server.port and server.port == server.admin_port:
        build.problem(("server", "admin_port"), "is the same as port.")
    token = None if server.admin_token is None else build.secret(("server", "admin_token"), server.admin_token)
    if token is not None and len(token) < MIN_KEY_CHARACTERS:
        build.problem(("server", "admin_token"), f"is shorter than {MIN_KEY_CHARACTERS} characters.")
    _check_time_zone(build, server.time_zone)
    _check_rule_headers(build, server.rule_headers)
    cert = build.file(("server", "tls", "cert"), server.tls.cert) if server.tls else ""
    key = build.file(("server", "tls", "key"), server.tls.key) if server.tls else ""
    return Listener(
        host=server.host,
        port=server.port,
        admin_port=server.admin_port,
        workers=server.workers,
        tls_cert=cert,
        tls_key=key,
        time_zone=server.time_zone,
        rule_headers=tuple(server.rule_headers),
        insecure_open=not has_keys,
        admin_token=None if token is None else Secret(token),
        counters=compile_counters(build, config),
        replicas=server.replicas,
        counters_lease_ms=server.counters_lease_ms,
        cache=compile_cache(build, config),
        ledger=compile_store(build, "ledger", server.ledger),
        callers=compile_store(build, "callers", server.callers),
        bodies=StoreBounds(never=tuple(server.bodies.never), max_bytes=server.bodies.max_bytes),
        retention=Retention(**server.retention.model_dump()),
        channels=compile_channels(build, config.notify),
        issuers=compile_issuers(build, server.oidc, routes),
        tracing=compile_tracing(build, config),
        log=LogSettings(**server.log.model_dump()),
    )


def _check_time_zone(build: Build, name: str) -> None:
    try:
        if name != "UTC":
            zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        build.unknown(("server", "time_zone"), "time zone", name, zoneinfo.available_timezones())


def _check_rule_headers(build: Build, names: Iterable[str]) -> None:
    for index, name in enumerate(names):
        at = ("server", "rule_headers", index)
        if name.lower() in CREDENTIAL_HEADERS:
            build.problem(at, "holds a credential, which no rule may look at.")
        elif not _HEADER.fullmatch(name):
            build.problem(at, "is no name of a header in lower case.")

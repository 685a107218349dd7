"""Every secret is a canary: after requests of all kinds, errors, changes and kills it stands in no sink."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import CONTROL, WORKER, kill
from replica_world import KEYS, PEPPER, PROVIDER_KEYS, REDIS_PASSWORD, REPLICAS, TOKEN, Replicas
from serving import until

from servers import PASSWORD

pytestmark = pytest.mark.serial
PROMPT = "canary-prompt-0123456789"  # no secret of ours, and stored nowhere but in answers that a route keeps
WRONG = "sk-canary-wrong-client-0123456789"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZS0wMTIz"
SECRETS = {
    "admin token": TOKEN,
    "pepper": PEPPER,
    "Redis password": REDIS_PASSWORD,
    "PostgreSQL password": PASSWORD,
    "wrong key": WRONG,
    "token": JWT,
    **{f"provider key {name}": key for name, key in PROVIDER_KEYS.items()},
    **{f"client key {name}": key for name, key in KEYS.items()},
}
PAGES = ("/", "/metrics", "/openapi.json", "/v1/config", "/v1/usage", "/v1/keys", "/v1/admin-keys", "/v1/audit")


def act(world: Replicas) -> Iterator[str]:
    """Have everything happen; yield all that clients and admins were told: heads and bodies."""
    for number in range(REPLICAS):
        for key in (KEYS["load"], WRONG, JWT):
            for model, more in (("main", {}), ("faq", {"stream": True}), ("nothing", {}), ("a", {"max_tokens": -1})):
                told = world.ask(number, key, model, PROMPT, **more)
                yield json.dumps(told.headers) + told.body.decode()
        for path in (*PAGES, "/nothing"):
            for token in (TOKEN, WRONG):
                told = world.admin(number, "GET", path, token=token)
                yield json.dumps(told.headers) + told.body.decode()
        made = world.admin(number, "POST", "/v1/keys", {"name": f"canary-{number}"}).json
        SECRETS[f"made key {number}"] = made["key"]
        assert until(lambda n=number, key=made["key"]: world.ask(n, key, "quick").status == 200, 5) < 5  # type: ignore[misc]
        yield world.admin(number, "PATCH", f"/v1/keys/{made['id']}", {"key": WRONG}).body.decode()
        yield world.admin(number, "POST", f"/v1/keys/{made['id']}/revoke").body.decode()
        router = world.routers[number]
        for path in ("/health", "/metrics", "/v1/models", "/livez", "/readyz"):
            yield router.ask(path, authorization=f"Bearer {WRONG}")[1].decode()
        yield router.ask("/v1/models", authorization=f"Bearer {KEYS['load']}")[1].decode()
    kill([*world.routers[1].children(WORKER), *world.routers[2].children(CONTROL)], signal.SIGABRT)  # as a crash does
    for number in (1, 2):
        until(lambda n=number: world.whole(n), 30)  # type: ignore[misc]
    for words in (("usage",), ("keys", "list"), ("audit",), ("limits",), ("config", "history"), ("config", "show")):
        yield world.command(0, *words)


def family(world: Replicas) -> Iterator[bytes]:
    """Yield the command lines of all processes of all routers."""
    for router in world.routers:
        for pid in (router.process.pid, *router.children(WORKER), *router.children(CONTROL)):
            yield Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/comm").read_bytes()


def in_redis(world: Replicas) -> Iterator[bytes]:
    """Yield every key and value."""
    keys = [line for line in world.redis.ask("KEYS", "*").split(b"\r\n") if line.startswith(b"pointsman")]
    assert keys
    for key in keys:
        yield key
        for command in ("GET", "HGETALL"):
            with world.redis.connected() as wire:
                wire.sendall(b'%b "%b"\r\n' % (command.encode(), key))
                yield wire.recv(1 << 20)


def test_i24_s07_no_secret_stands_in_any_sink(world: Replicas) -> None:
    told = "\n".join(act(world)).encode()
    world.check()
    sinks = {"answers, pages, commands": told, "logs": world.said().encode(), "argv": b"\n".join(family(world))}
    sinks["Redis"] = b"\n".join(in_redis(world))
    tables = world.sql(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_schema IN ('pointsman_ledger', 'pointsman_callers')"
    ).split()
    assert {"pointsman_ledger.requests", "pointsman_callers.keys", "pointsman_callers.audit"} <= set(tables), tables
    for table in tables:
        sinks[table] = world.sql(f"SELECT t::text FROM {table} t").encode()
        # What is kept as bytes is shown as hex.
        sinks[table] += b"".join(bytes.fromhex(part) for part in _hex(sinks[table].decode()))
    files = [path for router in world.routers for path in router.data.rglob("*") if path.is_file()]
    assert any("journal" in path.parts for path in files) and any("versions" in str(path) for path in files)
    sinks |= {str(path): path.read_bytes() for path in files if path.exists()}
    assert (
        b"canary-0" in sinks["pointsman_callers.keys"] and b"load" in sinks["pointsman_ledger.requests"]
    )  # they are read
    assert b"canary-0" in sinks["answers, pages, commands"] and b"team=load" in sinks["Redis"]
    found = [
        (name, sink)
        for name, secret in SECRETS.items()
        for sink, data in sinks.items()
        if secret.encode() in data or secret.encode()[::-1] in data
    ]
    assert found == []
    assert [sink for sink, data in sinks.items() if PROMPT.encode() in data] == []
    assert not [path for router in world.routers for path in router.data.parent.rglob("core*")]


def _hex(text: str) -> Iterator[str]:
    for part in text.split("\\x")[1:]:
        digits = len(part) - len(part.lstrip("0123456789abcdef"))
        yield part[: digits - digits % 2]

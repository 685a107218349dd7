"""Four routers as they run on four machines: `pointsman serve` on loopback addresses and data folders of their own, one config,
one Redis for counters and answers, one PostgreSQL for ledger and callers, pretend providers; and three logs compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from campaign_clients import Clients
from campaign_world import BOOKED_S, CONTROL, NOT_ADMITTED, PACED, WORKER, Books, Mock, kill, router_values
from gateway_redis import RedisServer
from serving import Serving, environment, until

from servers import PostgresServer

REPLICAS = 4
CLIENTS = 8  # of each router
TOKEN = "canary-admin-token-0123456789"
PEPPER = "canary-pepper-0123456789abcdef"
REDIS_PASSWORD = "canary-redis-password-0123456789"
PROVIDER_KEYS = {"a": "sk-canary-provider-a-0123456789", "b": "sk-canary-provider-b-0123456789"}
TEAMS = ("load", "requests", "cents", "frozen", "red", "blue")
KEYS = {team: f"sk-canary-client-{team}-0123456789" for team in TEAMS}
LAST_REQUEST, LAST_CENT_NANO = 250, 500_000_000
SLOW = {"ttft_ms": {"p50": 4_000, "p95": 4_000}, "tokens_per_s": 0, "output_tokens": {"p50": 10, "p95": 10}}
QUICK = {"ttft_ms": {"p50": 5, "p95": 20}, "tokens_per_s": 500, "output_tokens": {"p50": 10, "p95": 14}}
INPUT_NANO, OUTPUT_NANO = 1_000, 10_000  # a token, of all deployments
NANO = 1_000_000_000
OF_LOAD = "load-"  # what ids of the load begin with


def mock_values() -> dict[str, Any]:
    models = {"m": PACED, "quick": QUICK, "slow": SLOW}
    wires = {"a": "openai", "b": "anthropic"}
    providers = [
        {"name": name, "dialect": wire, "models": models, "keys": {"main": PROVIDER_KEYS[name]}}
        for name, wire in wires.items()
    ]
    return {"providers": providers, "seed": 7, "script": []}


def config(mock: Mock) -> dict[str, Any]:
    """Return the one config of all. Secrets and addresses of stores come from the environment."""
    made = router_values(mock)
    for name, provider in made["providers"].items():
        provider["api_key"] = f"${{PROVIDER_{name}}}"
    for name in ("quick", "slow"):
        made["deployments"][name] = made["deployments"]["a"] | {"model": name}
    made["routes"] |= {
        "main": {"candidates": ["a", "b"], "cache": "1h"},
        "quick": {"candidates": ["quick"]},
        "faq": {"candidates": ["quick"], "cache": "1h"},
        "slow-faq": {"candidates": ["slow"], "cache": "1h"},
    }
    made["keys"] = [
        {"name": team, "key": f"${{CLIENT_{team}}}", "team": team, "organisation": team, "project": team}
        for team in TEAMS
    ]
    made["quotas"] = [
        {"team": "load", "requests": "100M/d", "usd": "1000000/d"},
        {"team": "requests", "requests": f"{LAST_REQUEST}/d"},
        {"team": "cents", "usd": f"{LAST_CENT_NANO / NANO}/d"},
        {"team": "frozen", "requests": f"{LAST_REQUEST}/d"},
    ]
    made["limits"] = {"key_concurrency": 1000}
    made["server"] = {
        "ledger": "${LEDGER}",
        "callers": "${LEDGER}",
        "counters": "${REDIS}",
        "cache": "${REDIS}",
        "replicas": REPLICAS,
    }
    return made


During = contextlib.AbstractContextManager[None]


@dataclass
class Answer:
    """Hold one answer of one router. Seconds are of the monotonic clock."""

    replica: int
    status: int
    headers: dict[str, str]
    body: bytes
    sent_s: float = 0.0
    ended_s: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"]) if self.status >= 400 else ""


@dataclass
class Replicas:
    """The running world. Use `replicas` to make one."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer
    database: str
    mock: Mock
    routers: list[Serving] = field(default_factory=list)
    load: list[Clients] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    said_before: str = ""  # by routers that were started again
    _served: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by the router's id
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # likewise
    _seq: int = 0

    # --- processes
    def start(self, number: int) -> Serving:
        """Start a router on its data folder and address."""
        folder = self.folder / f"router{number}"
        folder.mkdir(exist_ok=True)
        url = self.postgres.url(self.database)
        secrets = {f"PROVIDER_{name}": key for name, key in PROVIDER_KEYS.items()}
        secrets |= {f"CLIENT_{team}": key for team, key in KEYS.items()}
        env = environment(
            LEDGER=url, REDIS=self.redis.url, POINTSMAN_PEPPER=PEPPER, POINTSMAN_ADMIN_TOKEN=TOKEN, **secrets
        )
        host = f"127.0.0.{number + 2}"
        given = ("--host", host, "--admin-host", host, "--workers", "1")
        return Serving(folder, str(self.folder / "router.yaml"), *given, env=env)

    def again(self, number: int) -> None:
        """Start a router whose supervisor is dead, as the machine's own supervisor would."""
        self.said_before += self.routers[number].said
        self.routers[number] = self.start(number)

    def whole(self, number: int) -> bool:
        """Tell whether all processes of a router are there, and it takes requests."""
        router = self.routers[number]
        if len(router.children(WORKER)) != 1 or len(router.children(CONTROL)) != 1:
            return False
        try:
            return router.ask("/readyz")[0] == 200 and router.ask("/livez", admin=True)[0] == 200
        except OSError:
            return False

    def close(self) -> None:
        for clients in self.load:
            clients.close()
        for router in self.routers:
            with contextlib.suppress(ProcessLookupError):
                kill([*router.children(WORKER), *router.children(CONTROL)], 18)  # SIGCONT
                router.kill()
        self.mock.close()

    # --- asking
    def ask(self, number: int, key: str, model: str, text: str = "hi", **more: Any) -> Answer:
        """Send one chat request to one router, on a connection of its own."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]} | more
        router = self.routers[number]
        return self._exchange(number, (router.host, router.port), "POST", "/v1/chat/completions", key, body)

    def admin(self, number: int, method: str, path: str, body: Any = None, token: str = TOKEN) -> Answer:
        """Send one request to a router's admin API."""
        router = self.routers[number]
        return self._exchange(number, (router.admin_host, router.admin_port), method, path, token, body)

    def _exchange(self, number: int, place: tuple[str, int], method: str, path: str, key: str, body: Any) -> Answer:
        connection = http.client.HTTPConnection(*place, timeout=20)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            told = connection.getresponse()
            return Answer(number, told.status, {k.lower(): v for k, v in told.getheaders()}, told.read())
        finally:
            connection.close()

    def burst(self, key: str, model: str, each: int, during: During | None = None, **more: Any) -> list[Answer]:
        """Send `each` requests to every router, all at once over connections that are open already. With `during` a fourth is
        sent first; when the first of these is answered it is entered, then the rest is sent, and it is left a second later."""
        return asyncio.run(self._burst(key, model, each, during, more))

    async def _burst(
        self, key: str, model: str, each: int, during: During | None, more: dict[str, Any]
    ) -> list[Answer]:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]} | more).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        places = [(number, router) for number, router in enumerate(self.routers) for _ in range(each)]
        lines = await asyncio.gather(*(asyncio.open_connection(router.host, router.port) for _, router in places))
        begun, within = asyncio.Event(), asyncio.Event()

        async def one(count: int) -> Answer:
            number, (reader, writer) = places[count][0], lines[count]
            if during is not None and count % 4:
                await within.wait()
            sent_s = time.monotonic()
            writer.write(request)
            found = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(each.lower().split(": ", 1) for each in found[1:] if each)
            data = await reader.readexactly(int(headers["content-length"]))
            begun.set()
            writer.close()
            return Answer(number, int(found[0].split(" ")[1]), headers, data, sent_s, time.monotonic())

        async def aside() -> None:
            if during is not None:
                await begun.wait()
                with during:
                    within.set()
                    await asyncio.sleep(1.0)

        *answers, _ = await asyncio.gather(*(one(count) for count in range(len(places))), aside())
        return answers  # type: ignore[return-value]

    def command(self, number: int, *words: str) -> str:
        """Run a command on a router's data folder and return all it says."""
        url = self.postgres.url(self.database)
        given = [sys.executable, "-m", "pointsman.cli", *words, "--data", str(self.routers[number].data)]
        env = environment(POINTSMAN_CALLERS=url, POINTSMAN_LEDGER=url, POINTSMAN_PEPPER=PEPPER)
        done = subprocess.run(given, capture_output=True, text=True, timeout=60, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # --- load, and the three logs
    def begin(self) -> None:
        """Put load on every router."""
        if not self.load:
            for number in range(len(self.routers)):
                place = self._place(number)
                self.load.append(Clients(place, CLIENTS, name=f"{OF_LOAD}{number}-", key=KEYS["load"]))
        for clients in self.load:
            clients.go()
        for clients in self.load:
            until(lambda clients=clients: clients.pending >= CLIENTS // 2, 20)  # type: ignore[misc]

    def _place(self, number: int) -> Callable[[], tuple[str, int]]:
        return lambda: (self.routers[number].host, self.routers[number].port)

    def rest(self) -> None:
        for clients in self.load:
            clients.rest()

    def check(self) -> None:
        """Have all that clients saw and providers served in the ledger, each once; compare what the three have of the load."""
        told = {told.name: told for clients in self.load for told in clients.told}
        until_s = time.monotonic() + BOOKED_S
        while True:
            self.served()
            self._read_rows()
            seen = [one.id for one in told.values() if one.id and one.code not in NOT_ADMITTED]
            missing = [id for id in (*seen, *self._served) if id not in self._rows]
            if not missing and not self.mock.active():
                break
            assert time.monotonic() < until_s, f"not booked: {missing[:5]}\n{self.said()}"
            time.sleep(0.1)
        books = self.books = Books(told)
        for id, row in self._rows.items():
            if row["client_id"].startswith(OF_LOAD):
                books.rows[id], books.served[id] = row, self._served.get(id, [])
                books.names[row["client_id"]] += 1
        problems = books.problems()
        assert not problems, "\n".join(problems[:20]) + self.said()

    def served(self, model: str = "") -> list[dict[str, Any]]:
        """Return what providers served of a model so far."""
        for entry in self.mock.served():
            if entry["request_id"]:
                self._served.setdefault(entry["request_id"], []).append(entry)
        return [entry for entries in self._served.values() for entry in entries if entry["model"] == model]

    def _read_rows(self) -> None:
        names = (
            "seq",
            "id",
            "client_id",
            "outcome",
            "recovered",
            "attempts",
            "output_tokens",
            "charge_nano",
            "hold_nano",
        )
        query = f"SELECT {', '.join(names)} FROM requests WHERE seq > {self._seq} ORDER BY seq"
        for line in self.sql(query).splitlines():
            row: dict[str, Any] = dict(zip(names, line.split("|"), strict=True))
            texts = {"id", "client_id", "outcome", "recovered"}
            row |= {name: int(row[name] or 0) for name in names if name not in texts}
            row["recovered"] = row["recovered"] in ("1", "t")
            assert row["id"] not in self._rows, f"two rows of {row['id']}"
            self._seq, self._rows[row["id"]] = row["seq"], row

    def sql(self, query: str) -> str:
        return self.postgres.sql(f"SET search_path = pointsman_ledger; {query}", self.database)

    def said(self) -> str:
        return self.said_before + "".join(f"\n--- {router.log}\n{router.said[-2000:]}" for router in self.routers)

    def metric(self, name: str) -> list[float]:
        """Return a metric of every router, its labels summed up."""
        found = []
        for router in self.routers:
            lines = router.ask("/metrics")[1].decode().splitlines()
            found.append(sum(float(line.split(" ")[-1]) for line in lines if line.startswith(name)))
        return found

    def failures(self) -> str:
        """Return how often each router could not ask Redis in time: what a machine that does other things brings about."""
        found = [router.ask("/metrics")[1].decode().splitlines() for router in self.routers]
        return str([[line for line in lines if line.startswith("pointsman_counters_failures")] for lines in found])


@contextmanager
def replicas(folder: Path, postgres: PostgresServer) -> Iterator[Replicas]:
    """Start it all; end it whatever happens."""
    (folder / "redis").mkdir(parents=True)
    database = postgres.database().rpartition("/")[2]
    with RedisServer(folder / "redis", REDIS_PASSWORD) as redis:
        world = Replicas(folder, redis, postgres, database, Mock(folder, mock_values()))
        (folder / "router.yaml").write_text(yaml.safe_dump(config(world.mock)))
        try:
            with ThreadPoolExecutor(REPLICAS) as pool:
                world.routers += pool.map(world.start, range(REPLICAS))
            for number in range(REPLICAS):
                until(lambda number=number: world.whole(number), 20)  # type: ignore[misc]
            until(lambda: world.metric("pointsman_counters_local") == [0.0] * REPLICAS, 10)
            yield world
        finally:
            world.close()

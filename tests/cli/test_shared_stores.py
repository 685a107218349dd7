"""Routers that share PostgreSQL: every admitted request has one row, also when the database fails; a key is good everywhere
two seconds after it was made; the password of the database is nowhere to be seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Serving, Upstream, environment, until

from servers import PASSWORD, PostgresServer

CONTROL, WORKER = "pointsman.control.main", "pointsman.gateway.worker"
KILLS = int(os.environ.get("KILLS", "3"))
IN_FORCE_S = 2.0
PEPPER = "a-pepper-that-all-routers-have-in-common"
Start = Callable[..., Serving]


@pytest.fixture
def database(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    yield postgres_url.rpartition("/")[2]
    postgres.thaw()
    if not postgres.is_running:
        postgres.start()


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream, postgres: PostgresServer, database: str) -> Iterator[Start]:
    """Start `pointsman serve`, each time as a router of its own, with ledger and key store in one database."""
    started: list[Serving] = []
    config = tmp_path / "router.yaml"
    config.write_text(upstream.config() + 'server: {ledger: "${LEDGER}", callers: "${LEDGER}"}\n')
    env = environment(LEDGER=postgres.url(database), POINTSMAN_PEPPER=PEPPER)

    def start(*arguments: str) -> Serving:
        folder = tmp_path / f"router{len(started)}"
        folder.mkdir()
        router = Serving(folder, str(config), *arguments, env=env)
        started.append(router)
        if postgres.is_running:
            until(lambda: router.ask("/v1/models")[0] == 200, 10)
        return router

    yield start
    for one in started:
        one.kill()


def command(*words: str, router: Serving, **env: str) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "pointsman.cli", *words, "--data", str(router.data)]
    return subprocess.run(given, capture_output=True, text=True, timeout=60, env=environment(**env))


class Load:
    """Clients that call without a pause until it is stopped; `answered` are the ids of what was answered well."""

    def __init__(self, router: Serving, clients: int = 3) -> None:
        self.answered: list[str] = []
        self.others: list[int] = []
        self.slowest_s = 0.0
        self._router, self._stop = router, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def _call(self, n: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            began_s = time.monotonic()
            try:
                status, _, _ = self._router.chat("main", f"c{n}-{count}")
            except OSError:
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            if status == 200:
                self.answered.append(f"c{n}-{count}")
            else:
                self.others.append(status)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def rows(postgres: PostgresServer, database: str) -> list[str]:
    """Return the client's id of each row."""
    return postgres.sql("SELECT client_id FROM pointsman_ledger.requests ORDER BY seq", database).split()


def health(router: Serving) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.ask("/health")[1])
    return found


def metric(router: Serving, name: str) -> float:
    text = router.ask("/metrics", admin=True)[1].decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


def booked_once(load: Load, upstream: Upstream, found: list[str]) -> None:
    assert len(found) == len(set(found)), "rows that are there twice"
    assert set(load.answered) <= set(found), "requests without a row"
    assert upstream.served <= len(found)  # nothing was sent that is not booked


def test_i01_i02_a_database_that_is_killed_under_load_loses_and_doubles_nothing(
    serve: Start, upstream: Upstream, postgres: PostgresServer, database: str
) -> None:
    router = serve()
    load = Load(router)
    for _ in range(KILLS):
        before = len(load.answered)
        until(lambda before=before: len(load.answered) > before + 50, 20)
        postgres.kill()
        until(lambda: health(router).get("ledger") == "away", 10)
        during = len(load.answered)
        until(lambda during=during: len(load.answered) > during + 50, 20)  # requests are answered as before
        assert metric(router, "pointsman_ledger_up") == 0 and health(router)["status"] == "degraded"
        postgres.start()
        until(lambda: "ledger" not in health(router), 20)
    load.stop()
    assert not load.others and router.stop() == 0
    booked_once(load, upstream, rows(postgres, database))
    assert router.said.count("the ledger is behind") <= 4 * KILLS and PASSWORD not in router.said


def test_i01_i02_kills_of_the_control_process_and_workers_lose_and_double_nothing(
    serve: Start, upstream: Upstream, postgres: PostgresServer, database: str
) -> None:
    router = serve()
    load = Load(router)
    for n in range(2 * KILLS):
        module = CONTROL if n % 2 else WORKER
        until(lambda module=module: len(router.children(module)) == 1, 10)
        time.sleep(0.3)
        os.kill(router.children(module)[0], signal.SIGKILL)
        until(lambda module=module: not router.children(module), 5)
    until(
        lambda: bool(router.children(CONTROL)), 10
    )  # who ends a router just then leaves what is not booked to the next start
    load.stop()
    assert router.stop() == 0
    assert "Traceback" not in router.said, router.said
    left = sorted(path.name for path in (router.data / "journal").iterdir())
    assert left == [], f"not booked: {left}\n{router.said}"
    booked_once(load, upstream, rows(postgres, database))


def test_a_database_that_hangs_is_not_noticed_by_callers(
    serve: Start, upstream: Upstream, postgres: PostgresServer, database: str
) -> None:
    router = serve()
    load = Load(router)
    until(lambda: len(load.answered) > 50, 20)
    postgres.freeze()
    until(lambda: health(router).get("ledger") == "away", 30)
    assert router.ask("/livez", admin=True)[0] == 200  # the admin listener answers what asks no database
    postgres.thaw()
    until(lambda: "ledger" not in health(router), 20)
    load.stop()
    assert not load.others and load.slowest_s < 5.0
    assert router.stop() == 0
    booked_once(load, upstream, rows(postgres, database))


def test_a_router_starts_while_the_database_is_away_and_books_later(
    serve: Start, postgres: PostgresServer, database: str
) -> None:
    first = serve()
    assert first.chat("main", "one")[0] == 200 and first.stop() == 0
    postgres.kill()
    router = serve()  # with a data folder that knows nothing of the keys there are
    assert router.chat("main", "two")[0] == 401  # there may be keys: nobody is let in without one
    postgres.start()
    until(lambda: router.chat("main", "three")[0] == 200, 15)
    assert router.stop() == 0
    assert rows(postgres, database) == ["one", "three"]
    assert postgres.sql("SELECT count(*) FROM pointsman_ledger.decisions", database) == "2"


@pytest.mark.serial
def test_routers_share_keys_and_rows(serve: Start, postgres: PostgresServer, database: str) -> None:
    first, second = serve(), serve()
    url = postgres.url(database)
    shared = {"POINTSMAN_CALLERS": url, "POINTSMAN_LEDGER": url, "POINTSMAN_PEPPER": PEPPER}
    # There are no keys yet: this machine's programs are let in.
    key = command("keys", "create", "dev", router=first, **shared).stdout.strip()
    bearer = {"authorization": f"Bearer {key}"}
    assert until(lambda: second.ask("/v1/models", **bearer)[0] == 200, IN_FORCE_S) < IN_FORCE_S
    until(lambda: second.ask("/v1/models")[0] == 401, IN_FORCE_S)
    made = command("keys", "create", "more", router=second, **shared).stdout.strip()
    until(lambda: first.ask("/v1/models", authorization=f"Bearer {made}")[0] == 200, IN_FORCE_S)
    command("keys", "revoke", "dev", router=second, **shared)
    until(lambda: first.ask("/v1/models", **bearer)[0] == 401, IN_FORCE_S)
    verified = command("audit", "verify", router=first, **shared)
    assert verified.returncode == 0 and "All 3 rows hold" in verified.stdout
    for router in (first, second):
        assert _chat(router, made) == 200
    assert first.stop() == 0 and second.stop() == 0
    found = json.loads(command("usage", "--json", "--by", "key", router=first, **shared).stdout)
    assert [(row["key"], row["requests"]) for row in found["groups"]] == [("more", 2)]


def _chat(router: Serving, key: str) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
    body = json.dumps({"model": "main", "messages": [{"role": "user", "content": "hi"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_s07_the_password_of_the_database_is_nowhere_to_be_seen(
    serve: Start, postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    router = serve()
    assert router.chat("main")[0] == 200
    shown = [
        router.ask(path, admin=True)[1].decode()
        for path in ("/", "/metrics", "/v1/config", "/v1/usage", "/openapi.json")
    ]
    bare = command("usage", router=router)  # no password is known to it
    assert bare.returncode == 2 and "set POINTSMAN_LEDGER" in bare.stderr and "Traceback" not in bare.stderr
    known = {"PGPASSWORD": PASSWORD, "POINTSMAN_PEPPER": PEPPER}
    for words, told in ((["usage"], "1"), (["keys", "list"], "No keys")):
        until(lambda words=words, told=told: told in command(*words, router=router, **known).stdout, 10)  # type: ignore[misc]
        assert command(*words, router=router, **known).returncode == 0
    keys = command("keys", "list", router=router, POINTSMAN_PEPPER=PEPPER)
    assert keys.returncode == 2 and "set POINTSMAN_CALLERS" in keys.stderr and "Traceback" not in keys.stderr
    wrong = command("usage", router=router, POINTSMAN_LEDGER=postgres.url(database, "wrong-canary"))
    assert wrong.returncode == 2 and "password authentication failed" in wrong.stderr
    bad = command("usage", router=router, POINTSMAN_LEDGER=f"postgresql://u:{PASSWORD}@h:port/db")
    assert bad.returncode == 2 and "POINTSMAN_LEDGER is no URL of a store" in bad.stderr
    literal = tmp_path / "literal.yaml"
    literal.write_text((tmp_path / "router.yaml").read_text().replace("${LEDGER}", postgres.url(database)))
    check = subprocess.run(
        [sys.executable, "-m", "pointsman.cli", "check", str(literal)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert check.returncode == 0
    postgres.kill()
    shown += [router.ask(path, admin=True)[1].decode() for path in ("/", "/v1/usage")]
    postgres.start()
    router.stop()
    shown += [keys.stderr, bare.stderr, wrong.stderr, bad.stderr, check.stdout, check.stderr, router.said]
    files = [path.read_bytes() for path in router.data.rglob("*") if path.is_file()]
    for word in (PASSWORD, "wrong-canary"):
        assert not [text for text in shown if word in text]
        assert not [data for data in files if word.encode() in data]

"""Keys of the key store, made and ended by command while a router serves: in force in every worker within two seconds."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving import Serving
from typer.testing import CliRunner

from command_line import app
from pointsman.control import keystore
from pointsman.control.keeper import Keeper
from pointsman.core.keys import CLIENT, is_key
from pointsman.stores.choose import Stores

Start = Callable[..., Serving]
IN_FORCE_S = 2.0
CONNECTIONS = 12  # enough that each of two workers has some


def run(*words: str, code: int = 0) -> str:
    """Run a command; return what it prints on standard output."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout


def made(router: Serving, name: str, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("keys", "create", name, "--data", str(router.data), "--json", *more))
    return found


class Client:
    """One kept connection with one key."""

    def __init__(self, router: Serving, key: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    def status(self, path: str = "/v1/models") -> int:
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


@pytest.fixture
def clients() -> Iterator[Callable[[Serving, str], list[Client]]]:
    opened: list[Client] = []

    def connect(router: Serving, key: str) -> list[Client]:
        made = [Client(router, key) for _ in range(CONNECTIONS)]
        opened.extend(made)
        return made

    yield connect
    for client in opened:
        client.connection.close()


def until_all(clients: list[Client], status: int, within_s: float = IN_FORCE_S) -> None:
    """Wait until every client gets this status, and go on getting it."""
    until_s = time.monotonic() + within_s
    while (found := {client.status() for client in clients}) != {status}:
        assert time.monotonic() < until_s, found
        time.sleep(0.02)
    assert {client.status() for client in clients} == {status}


def test_a_key_is_good_in_every_worker_soon_after_it_is_made_and_no_longer_than_it_shall(
    serve: Start, clients: Callable[[Serving, str], list[Client]]
) -> None:
    router = serve("--workers", "2")
    nobody = clients(router, "")
    assert {client.status() for client in nobody} == {200}  # no keys yet: this machine's programs are let in
    first = made(router, "dev")
    assert is_key(first["key"].encode(), CLIENT)
    good = clients(router, first["key"])
    until_all(good, 200)
    until_all(nobody, 401)
    rotated = run("keys", "rotate", "dev", "--grace", "1h", "--data", str(router.data)).strip()
    new = clients(router, rotated)
    until_all(new, 200)
    assert {client.status() for client in good} == {200}  # the old text goes on for the grace time
    second = run("keys", "rotate", "dev", "--grace", "0s", "--data", str(router.data)).strip()
    until_all(new, 401)
    until_all(good, 401)
    newest = clients(router, second)
    until_all(newest, 200)
    run("keys", "revoke", "dev", "--data", str(router.data))
    until_all(newest, 401)
    until_all(nobody, 401, 0.5)  # that the last key is gone opens nothing
    assert router.ask("/v1/models", **{"x-api-key": "pk-pm-" + "0" * 49})[0] == 401


def test_a_key_ends_by_itself_also_while_the_control_process_is_dead(
    serve: Start, clients: Callable[[Serving, str], list[Client]]
) -> None:
    router = serve("--workers", "2")
    key = made(router, "brief", "--expires", "3s")
    until_all(clients(router, ""), 401)
    users = clients(router, key["key"])
    assert {client.status() for client in users} == {200}
    [control] = router.children("pointsman.control.main")
    os.kill(control, signal.SIGSTOP)
    try:
        until_all(users, 401, 3.0 + IN_FORCE_S)
    finally:
        os.kill(control, signal.SIGCONT)


def test_f83_keys_survive_the_death_of_anything(serve: Start, clients: Callable[[Serving, str], list[Client]]) -> None:
    router = serve("--workers", "2")
    kept, ended = made(router, "kept"), made(router, "ended")
    until_all(clients(router, ""), 401)
    until_all(clients(router, kept["key"]), 200)
    [control] = router.children("pointsman.control.main")
    with (router.data / "run" / "callers.lock").open(
        "rb"
    ) as lock:  # stopped while it publishes it would keep us from it
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.kill(control, signal.SIGSTOP)  # as good as dead, and nobody starts another
    run("keys", "revoke", "ended", "--data", str(router.data))
    late = made(router, "late")
    until_all(clients(router, ended["key"]), 401)
    until_all(clients(router, late["key"]), 200)
    for pid in router.children("pointsman.gateway.worker"):
        os.kill(pid, signal.SIGKILL)
    os.kill(control, signal.SIGKILL)
    until_s = time.monotonic() + 60.0
    while len(router.children("pointsman.gateway.worker")) < 2 or not _listens(router):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    until_all(clients(router, kept["key"]), 200, 5.0)
    assert {client.status() for client in clients(router, ended["key"])} == {401}


def _listens(router: Serving) -> bool:
    try:
        return router.ask("/livez")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("how", ["published", "store", "locked", "gone"])
def test_f83_what_cannot_be_read_is_said_and_counted_and_changes_nothing(
    serve: Start, clients: Callable[[Serving, str], list[Client]], how: str
) -> None:
    import sqlite3

    router = serve()
    key = made(router, "dev")
    until_all(clients(router, ""), 401)
    users = clients(router, key["key"])
    store, published = router.data / "callers.sqlite", router.data / "run" / "callers"
    lock = None
    if how == "published":
        os.kill(control := router.children("pointsman.control.main")[0], signal.SIGSTOP)  # it would mend it at once
        published.write_bytes(published.read_bytes()[:-1] + b"?")
    elif how == "store":
        for path in router.data.glob("callers.sqlite*"):
            path.write_bytes(b"no database at all" * 100)
    elif how == "locked":
        lock = sqlite3.connect(store, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    else:
        for path in router.data.glob("callers.sqlite*"):
            path.unlink()
    metric = "pointsman_callers_errors_total" if how == "published" else "pointsman_callers_store_errors_total"
    if how != "locked":  # WAL: who reads does not wait for who writes
        until_s = time.monotonic() + 60.0
        while not _counted(router, metric, admin=how != "published"):
            assert time.monotonic() < until_s, router.said
            time.sleep(0.1)
        assert "callers" in router.said and "the keys known before go on" in router.said
    assert {client.status() for client in users} == {200}
    assert {client.status() for client in clients(router, "pk-pm-" + "0" * 49)} == {401}
    if lock is not None:
        began_s = time.monotonic()
        assert "locked" in CliRunner().invoke(app, ["keys", "create", "x", "--data", str(router.data)]).output
        assert time.monotonic() - began_s < 15.0
        lock.close()
    if how == "published":
        os.kill(control, signal.SIGCONT)
        until_all(clients(router, made(router, "next")["key"]), 200, 4.0)  # the control process has mended it


def test_f83_a_store_that_went_before_the_control_process_saw_it_is_missed_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stores, failures = Stores(tmp_path), list[int]()
    keeper = Keeper(stores, lambda: failures.append(1))
    keeper.step()
    assert failures == []  # there never was one
    with closing(keystore.opened(stores, create=True)):
        pass
    for path in tmp_path.glob("callers.sqlite*"):
        path.unlink()
    keeper.step()
    assert failures == []  # one that nothing was published of
    with keystore.acting(stores, "me") as acting:
        acting.add_key("dev")
    for path in tmp_path.glob("callers.sqlite*"):
        path.unlink()
    keeper.step()
    keeper.step()
    assert failures == [1, 1] and "callers.sqlite is gone; the keys known before go on" in capfd.readouterr().err


def _counted(router: Serving, metric: str, *, admin: bool) -> bool:
    text = router.ask("/metrics", admin=admin)[1].decode()
    return any(float(value) > 0 for value in re.findall(rf"^{metric} (\S+)$", text, flags=re.M))


def test_f83_what_a_killed_command_could_not_publish_the_control_process_does(
    serve: Start, clients: Callable[[Serving, str], list[Client]]
) -> None:
    router = serve("--workers", "2")
    made(router, "first")
    until_all(clients(router, ""), 401)
    with closing(keystore.opened(Stores(router.data))) as store:  # and no more than that: nothing is published
        _, text = store.acting("killed").add_key("second")
    until_all(clients(router, text), 200)


def test_i24_the_text_of_a_key_stands_nowhere(serve: Start, clients: Callable[[Serving, str], list[Client]]) -> None:
    router = serve()
    texts = [made(router, "dev")["key"]]
    texts.append(run("keys", "rotate", "dev", "--data", str(router.data)).strip())
    until_all(clients(router, texts[1]), 200)
    said = (
        router.ask("/metrics", authorization=f"Bearer {texts[0]}")[1]
        + router.ask("/v1/nothing", **{"x-api-key": texts[1]})[1]
    )
    for name in ("/", "/v1/keys", "/v1/audit", "/metrics", "/openapi.json"):
        said += router.ask(name, admin=True)[1]
    assert router.stop() == 0
    for path in router.data.rglob("*"):
        said += path.read_bytes() if path.is_file() else b""
    secret = (router.data / "pepper").read_bytes().strip()
    assert not any(text[12:].encode() in said + router.said.encode() for text in texts)
    assert said.count(secret) == 1  # its own file


def test_without_the_pepper_no_key_is_taken_for_good_and_no_other_is_made(serve: Start) -> None:
    router = serve()
    made(router, "dev")
    (router.data / "pepper").unlink()
    said = CliRunner().invoke(app, ["keys", "create", "x", "--data", str(router.data)])
    assert said.exit_code == 2 and "pepper is missing" in said.output
    assert not (router.data / "pepper").exists()


def test_usage_is_booked_under_key_project_team_and_organisation(
    serve: Start, clients: Callable[[Serving, str], list[Client]]
) -> None:
    router = serve()
    where = ("--organisation", "acme", "--team", "support", "--project", "bot")
    key = made(router, "dev", *where)
    until_all(clients(router, ""), 401)
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "hi"}]})
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key['key']}"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    assert connection.getresponse().status == 200
    connection.close()
    [row] = router.rows(1)
    assert row["key"] == "acme/dev"
    assert (row["project"], row["team"], row["organisation"]) == ("bot", "support", "acme")
    for by, name in (("key", "acme/dev"), ("project", "bot"), ("team", "support"), ("organisation", "acme")):
        assert name in run("usage", "--by", by, "--data", str(router.data))
    explained = json.loads(run("explain", row["id"], "--json", "--data", str(router.data)))
    assert "acme/dev" in json.dumps(explained)
    until_s = time.monotonic() + 60.0
    while json.loads(run("keys", "show", "acme/dev", "--json", "--data", str(router.data)))["last_used"] is None:
        assert time.monotonic() < until_s
        time.sleep(0.2)


def test_changes_of_several_at_once_are_all_kept_and_all_in_the_audit_log(serve: Start) -> None:
    router = serve()
    with ThreadPoolExecutor(4) as pool:

        def make(n: int) -> int:
            words = ["keys", "create", f"k{n}", "--data", str(router.data)]
            return subprocess.run([sys.executable, "-m", "pointsman.cli", *words], capture_output=True).returncode

        assert set(pool.map(make, range(8))) == {0}
    listed = json.loads(run("keys", "list", "--json", "--data", str(router.data)))
    assert {key["name"] for key in listed} == {f"k{n}" for n in range(8)}
    told = json.loads(run("audit", "verify", "--json", "--data", str(router.data)))
    assert told["ok"] and told["rows"] == 8

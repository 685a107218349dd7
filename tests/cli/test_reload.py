"""Hot reload with real processes: no request fails, each is on one version, and a bad file changes nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Serving, Upstream, until

from pointsman.cli.reload import SETTLE_S, WATCH_S, Watch
from pointsman.stores.versions import Versions, outcome

Start = Callable[..., Serving]
WORKER, CONTROL = "pointsman.gateway.worker", "pointsman.control.main"
RELOAD_S = float(os.environ.get("RELOAD_S", "6"))  # of one reload a second under load; RELOAD_S=60 for a campaign
PAGE_S = 6.0  # for the file watch to have noticed and all to have followed


def text_of(upstream: Upstream, generation: int, more: str = "") -> str:
    """Return a config whose route `main` has a candidate that only this generation has, and one that all have."""
    fresh = f"gen-{generation}"
    price = "price: {input: 1, output: 10}"
    return f"""
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:{upstream.server_port}/v1", api_key: "${{UP_KEY}}"}}
deployments:
  {fresh}: {{provider: up, model: fast-1, context: 8000, {price}}}
  shared: {{provider: up, model: fast-1, context: 8000, {price}}}
  paced: {{provider: up, model: paced-1, context: 8000, {price}}}
  broken: {{provider: up, model: broken-1, context: 8000, {price}}}
routes:
  main: {{candidates: [{{{fresh}: 1}}, {{shared: 1}}]}}
  rocky: {{candidates: [broken, shared]}}
{more}"""


@pytest.fixture
def config(tmp_path: Path, upstream: Upstream, serve: Start, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UP_KEY", "sk-canary-0123456789")
    path = tmp_path / "router.yaml"
    path.write_text(text_of(upstream, 0))
    return path


def put(path: Path, text: str) -> None:
    """Write a file as editors do: a new one, given the name."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text)
    fresh.replace(path)


def version_of(router: Serving) -> str:
    return str(outcome(router.data)["version"])


def reloaded(router: Serving, before: int, within_s: float = 60.0) -> str:
    """Return the version served, once `before` reloads are over."""
    until(lambda: outcome(router.data)["reloads"] > before, within_s)
    return version_of(router)


class Client(threading.Thread):
    """Send requests on one connection, every third a stream, until told to stop."""

    def __init__(self, router: Serving, name: int, stop: threading.Event) -> None:
        super().__init__()
        self.seen: dict[str, tuple[str, str]] = {}  # client id -> config version and deployment
        self.failed: list[str] = []
        self._router, self._number, self._stop_now = router, name, stop

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._router.port, timeout=20)
        n = 0
        while not self._stop_now.is_set():
            n += 1
            client_id, stream = f"{self._number}-{n}", n % 3 == 0
            body = {"model": "main", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
            try:
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"x-request-id": client_id})
                answer = connection.getresponse()
                data, headers = answer.read(), answer.headers
            except OSError as error:
                self.failed.append(f"{client_id}: {error!r}")
                return
            if answer.status != 200 or b"hello" not in data or (stream and b"[DONE]" not in data):
                self.failed.append(f"{client_id}: {answer.status} {data[:200]!r}")
            self.seen[client_id] = (headers["x-pointsman-config"], headers["x-pointsman-deployment"])
        connection.close()


def test_a_reload_a_second_under_load_fails_no_request(serve: Start, upstream: Upstream, config: Path) -> None:
    router = serve("--workers", "2")
    stop = threading.Event()
    clients = [Client(router, n, stop) for n in range(4)]
    for client in clients:
        client.start()
    texts = {text_of(upstream, 0)}
    seconds, bad = max(4, int(RELOAD_S)), 0
    for second in range(1, seconds + 1):
        time.sleep(1.0)
        text = text_of(upstream, second)
        if second % 4 == 2:
            bad += 1
            put(config, text.replace("provider: up", "provider: upp", 1))
        elif second % 2:
            texts.add(text)
            put(config, text)
        else:  # in place, and slowly: half a file is no config
            texts.add(text)
            with config.open("w") as file:
                file.write(text[: len(text) // 2])
                file.flush()
                time.sleep(SETTLE_S / 4)
                file.write(text[len(text) // 2 :])
        if second % 3:  # otherwise it is found out by looking
            router.process.send_signal(signal.SIGHUP)
    last = text_of(upstream, seconds + 1)
    texts.add(last)
    put(config, last)
    kept = Versions(router.data)
    until(lambda: kept.text(version_of(router)) == last, 15)
    time.sleep(0.3)
    stop.set()
    for client in clients:
        client.join()
    assert [line for client in clients for line in client.failed] == []
    seen = {name: found for client in clients for name, found in client.seen.items()}
    assert len(seen) > 20 * seconds
    assert router.stop() == 0
    rows = {row["client_id"]: row for row in router.rows(len(seen), within_s=30)}
    assert {name: (row["config_version"], row["deployment"]) for name, row in rows.items()} == seen
    assert {row["outcome"] for row in rows.values()} == {"ok"} and all(row["planned"] for row in rows.values())

    served = {version for version, _ in seen.values()}
    assert len(served) >= max(3, seconds / 3) and {kept.text(version) for version in served} <= texts
    for version, deployment in seen.values():
        text = kept.text(version)
        assert text is not None and re.search(rf"^  {deployment}: ", text, re.MULTILINE)
    assert router.said.count("config not changed: still version") <= bad + seconds  # one may be gone before it is read
    assert "died" not in router.said and "Traceback" not in router.said and "canary" not in router.said


def test_the_file_is_watched_and_each_version_is_kept(serve: Start, upstream: Upstream, config: Path) -> None:
    router = serve()
    first = version_of(router)
    put(config, text_of(upstream, 1))
    second = reloaded(router, 0)
    assert second != first and router.chat("gen-1")[0] == 200 and router.chat("gen-0")[0] == 404
    assert f"config reloaded: version {second} (before {first})" in router.said
    entries = Versions(router.data).entries()
    assert [(e["version"], e["trigger"], e["redacted"]) for e in entries] == [
        (first, "start", False),
        (second, "file", False),
    ]
    assert entries[1]["author"] and entries[1]["source"] == str(config)
    assert Versions(router.data).text(second) == text_of(upstream, 1)
    assert (router.data / "configs" / f"{second}.yaml").stat().st_mode & 0o777 == 0o600
    status, health = router.ask("/health")
    assert status == 200 and json.loads(health)["config"] == second


def test_a_bad_file_changes_nothing_and_says_why(serve: Start, upstream: Upstream, config: Path) -> None:
    router = serve()
    version = version_of(router)
    put(config, text_of(upstream, 1).replace("candidates: [broken", "candidates: [brokn"))
    until(lambda: outcome(router.data)["failed"] == 1, PAGE_S)
    told = outcome(router.data)
    assert not told["ok"] and told["version"] == version and 'unknown deployment "brokn"' in told["error"]
    until(lambda: f"config not changed: still version {version}" in router.said, 2)
    assert re.search(r'router\.yaml:\d+:\d+: routes\.rocky\.candidates\[0\]: unknown deployment "brokn"', router.said)
    assert router.chat("gen-0")[0] == 200
    page = router.ask("/", admin=True)[1].decode()
    assert "Config not changed at" in page and "unknown deployment &quot;brokn&quot;" in page
    shown = json.loads(router.ask("/v1/config", admin=True)[1])
    assert shown["version"] == version and shown["last"]["error"] == told["error"] and len(shown["versions"]) == 1
    metrics = router.ask("/metrics", admin=True)[1].decode()
    assert "pointsman_config_reload_failures_total 1\n" in metrics
    assert "pointsman_config_last_reload_successful 0\n" in metrics
    os.unlink(config)
    time.sleep(2 * WATCH_S)
    assert outcome(router.data) == told  # a missing file is about to come back
    put(config, text_of(upstream, 0))
    until(lambda: outcome(router.data)["ok"], PAGE_S)
    assert version_of(router) == version and outcome(router.data)["reloads"] == 0


def test_sighup_and_the_admin_api_read_it_again(serve: Start, upstream: Upstream, config: Path) -> None:
    router = serve()
    config.write_text(text_of(upstream, 1))
    status, body = router.ask("/v1/config/reload", "POST", admin=True)
    assert status == 200 and json.loads(body) == {"version": version_of(router), "restart": []}
    assert router.chat("gen-1")[0] == 200
    assert Versions(router.data).entries()[-1]["author"] in ("admin API", config.owner())
    status, body = router.ask("/v1/config/reload", "POST", admin=True)  # nothing has changed
    assert status == 200 and json.loads(body)["version"] == version_of(router)

    put(config, text_of(upstream, 2, "nonsense: 1\n"))
    status, body = router.ask("/v1/config/reload", "POST", admin=True)
    assert status == 409 and "nonsense" in json.loads(body)["error"]["message"]

    put(config, text_of(upstream, 3))
    router.process.send_signal(signal.SIGHUP)
    reloaded(router, 1)
    assert router.chat("gen-3")[0] == 200
    for pid in router.children(WORKER) + router.children(CONTROL):
        os.kill(pid, signal.SIGHUP)  # as `kill -HUP -GROUP` does
    assert router.chat("gen-3")[0] == 200 and router.ask("/livez", admin=True)[0] == 200
    assert router.stop() == 0


def test_a_stream_ends_under_the_version_it_began_with(serve: Start, upstream: Upstream, config: Path) -> None:
    upstream.slow_s = 3.0
    router = serve()
    first = version_of(router)
    answers: list[tuple[int, bytes, dict[str, str]]] = []
    thread = threading.Thread(target=lambda: answers.append(router.chat("paced", "long", stream=True)))
    thread.start()
    until(lambda: upstream.served == 1, 5)
    text = text_of(upstream, 1).replace("\n  paced: ", "\n  other: ")
    put(config, text)
    router.process.send_signal(signal.SIGHUP)
    second = reloaded(router, 0)
    assert not answers and router.chat("paced")[0] == 404 and router.chat("gen-1")[0] == 200
    thread.join()
    status, body, headers = answers[0]
    assert status == 200 and b"[DONE]" in body and headers["x-pointsman-config"] == first
    rows = {row["client_id"]: row for row in router.rows(2)}
    assert rows["long"]["config_version"] == first and rows["long"]["outcome"] == "ok"
    assert rows[""]["config_version"] == second


def test_what_is_known_of_a_deployment_survives_unless_it_is_another(
    serve: Start, upstream: Upstream, config: Path
) -> None:
    router = serve()

    def breakers() -> dict[str, Any]:
        return dict(json.loads(router.ask("/health")[1])["deployments"])

    for _ in range(5):
        assert router.chat("rocky")[0] == 200
    assert breakers()["broken"] == "open"
    text = text_of(upstream, 1)
    head, _, tail = text.partition("  broken:")
    put(config, f"{head}  another: {{provider: up, model: fast-1}}\n  broken:{tail}")  # another place in the list
    reloaded(router, 0)
    assert breakers() == {
        "gen-1": "closed",
        "shared": "closed",
        "paced": "closed",
        "another": "closed",
        "broken": "open",
    }
    put(config, text.replace("${UP_KEY}", "sk-another-key-0123456789"))  # whom it calls as has changed
    reloaded(router, 1)
    assert breakers()["broken"] == "closed"


def test_other_credentials_are_adopted_although_the_version_is_the_same(
    serve: Start, upstream: Upstream, config: Path
) -> None:
    router = serve()
    version = version_of(router)
    put(config, text_of(upstream, 0).replace("${UP_KEY}", "sk-another-canary-0123456789"))
    assert reloaded(router, 0) == version
    assert f"version {version} (as before, other credentials)" in router.said
    assert [entry["redacted"] for entry in Versions(router.data).entries()] == [False, True]
    stored = Versions(router.data).text(version) or ""
    assert "***" in stored and "canary" not in stored + router.said


def test_a_killed_worker_comes_back_with_the_newest_version(serve: Start, upstream: Upstream, config: Path) -> None:
    router = serve("--workers", "2")
    put(config, text_of(upstream, 1))
    version = reloaded(router, 0)
    for pid in router.children(WORKER):
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        with contextlib.suppress(OSError):
            return router.chat("gen-1")[2]["x-pointsman-config"] == version
        return False

    until(back, 8)
    os.kill(router.children(CONTROL)[0], signal.SIGKILL)
    put(config, text_of(upstream, 2))
    newest = reloaded(router, 1, within_s=15)
    assert newest != version and router.chat("gen-2")[0] == 200
    until(lambda: b'pointsman_config_workers{version="%b"} 2' % newest.encode() in router.ask("/metrics")[1], 5)
    assert router.stop() == 0


def test_what_takes_a_restart_is_said_and_the_rest_adopted(serve: Start, upstream: Upstream, config: Path) -> None:
    config.write_text(text_of(upstream, 0, "server: {port: 0, admin_port: 0}\n"))
    router = Serving(config.parent, str(config), ports=False)
    try:
        put(config, text_of(upstream, 1, "server: {port: 9, admin_port: 0, workers: 3}\n"))
        reloaded(router, 0)
        assert router.chat("gen-1")[0] == 200 and len(router.children(WORKER)) == 1
        assert "server.port: takes a restart; until then" in router.said
        assert [line.split(":")[0] for line in outcome(router.data)["restart"]] == ["server.port", "server.workers"]
        assert "server.workers: takes a restart" in router.ask("/", admin=True)[1].decode()
        router.stop()
    finally:
        router.kill()


def test_keys_cannot_be_taken_out_while_others_reach_the_listener(
    serve: Start, upstream: Upstream, config: Path
) -> None:
    key = "keys: [{name: dev, key: sk-client-canary-0123456789}]\n"
    config.write_text(text_of(upstream, 0, key + 'server: {host: "0.0.0.0"}\n'))
    router = serve()
    put(config, text_of(upstream, 1))
    until(lambda: outcome(router.data)["failed"] == 1, PAGE_S)
    assert "until a restart the router listens on 0.0.0.0" in outcome(router.data)["error"]
    assert router.chat("main")[0] == 401
    put(config, text_of(upstream, 1, 'server: {host: "0.0.0.0", allow_unauthenticated: true}\n'))
    reloaded(router, 0)
    assert router.chat("main")[0] == 200


def test_a_worker_that_cannot_adopt_a_version_leaves_all_on_the_one_before(
    serve: Start, upstream: Upstream, config: Path, tmp_path: Path
) -> None:
    router = serve("--workers", "2")
    version = version_of(router)
    (tmp_path / "ca.pem").write_text("no certificate")
    more = "  far: {dialect: openai, base_url: 'https://127.0.0.1:9/v1', ca_file: ca.pem}\ndeployments:\n"
    more += "  away: {provider: far, model: m}\n"
    put(config, text_of(upstream, 1).replace("deployments:\n", more))
    until(lambda: outcome(router.data)["failed"] == 1, PAGE_S)
    assert "worker" in outcome(router.data)["error"] and version_of(router) == version
    for _ in range(4):
        assert router.chat("gen-0")[2]["x-pointsman-config"] == version
    put(config, text_of(upstream, 2))
    reloaded(router, 0)
    assert router.chat("gen-2")[0] == 200


def test_the_supervisor_sleeps_while_it_watches_and_while_it_drains(
    serve: Start, upstream: Upstream, config: Path
) -> None:
    upstream.slow_s = 2 * WATCH_S
    router = serve()
    thread = threading.Thread(target=lambda: router.chat("paced", stream=True))
    thread.start()
    until(lambda: upstream.served == 1, 5)
    router.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in router.said, 5)
    before_s = cpu_s(router.process.pid)
    put(config, text_of(upstream, 1))  # too late
    time.sleep(WATCH_S * 1.5)
    assert cpu_s(router.process.pid) - before_s < 0.2
    thread.join()
    assert router.process.wait(10) == 0 and "reloaded" not in router.said


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_file_is_taken_only_when_it_has_come_to_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watch = Watch(str(path))
    now_s = watch.due_s
    assert not watch.changed(now_s - 0.1) and not watch.changed(now_s)
    for n in range(5):  # being written
        path.write_text("x" * (n + 2))
        now_s = watch.due_s
        assert not watch.changed(now_s) and watch.due_s == pytest.approx(now_s + SETTLE_S)
    assert watch.changed(watch.due_s)
    watch.known()
    assert not watch.changed(watch.due_s + WATCH_S)
    path.unlink()
    assert not watch.changed(watch.due_s) and not watch.changed(watch.due_s)
    path.write_text("2")
    assert not watch.changed(watch.due_s) and watch.changed(watch.due_s)
    assert not Watch(None).changed(1e9)

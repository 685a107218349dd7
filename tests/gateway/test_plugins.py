"""Plug-ins in a router that serves: they rank and see, and when they fail the request is answered all the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_plugins import Installed

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from serving import Serving, Upstream, environment, until

ROUTES = """
  one: {candidates: [fast, other], strategy: acme, fallback: cheapest}
  two:
    candidates: [fast]
    rules: [{when: 'acme.segment == "none"', candidates: [other]}]
"""
Serve = Callable[..., Serving]


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "site")


@pytest.fixture
def serve(installed: Installed, tmp_path: Path) -> Iterator[Serve]:
    upstream = Upstream()
    started: list[Serving] = []

    def start(**more: str) -> Serving:
        config = tmp_path / "pointsman.yaml"
        price = "price: {input: 9, output: 90}"
        other = f"  other: {{provider: up, model: fast-1, context: 8000, {price}}}\nroutes:\n"
        config.write_text(upstream.config().replace("routes:\n", other) + ROUTES.lstrip("\n"))
        given = {name: value for name, value in installed.environment().items() if name in ("PYTHONPATH", "ACME_MODE")}
        started.append(Serving(tmp_path, str(config), env=environment(**given, **more)))
        return started[-1]

    yield start
    for one in started:
        one.kill()
    upstream.shutdown()
    upstream.server_close()


def ask(router: Serving, model: str) -> str:
    """Return the deployment that answered."""
    status, body, headers = router.chat(model)
    assert status == 200, body
    return headers["x-pointsman-deployment"]


def health(router: Serving) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.ask("/health")[1])
    return found


def failures(router: Serving, name: str) -> int:
    text = router.ask("/metrics")[1].decode()
    lines = [
        line for line in text.splitlines() if line.startswith(f'pointsman_plugin_failures_total{{plugin="{name}"}}')
    ]
    return int(lines[0].split()[-1]) if lines else 0


def test_a_plug_in_ranks_and_its_facts_are_seen(serve: Serve) -> None:
    router = serve()
    assert [ask(router, "one"), ask(router, "two"), ask(router, "main")] == ["other", "other", "fast"]
    rows = router.rows(3)
    assert [row["strategy"] for row in rows] == ["acme", "priority", "priority"]
    assert health(router)["plugins"] == {"acme": "ok", "acme.segment": "ok"}
    assert health(router)["status"] == "ok" and failures(router, "acme") == 0


@pytest.mark.parametrize(
    ("mode", "why"),
    [("raise", "raised ValueError"), ("exit", "raised SystemExit"), ("wrong", "answered an order that is not that of")],
)
def test_what_fails_leaves_the_choice_to_the_fallback_and_is_disabled(
    serve: Serve, installed: Installed, mode: str, why: str
) -> None:
    router = serve()
    assert ask(router, "one") == "other"
    router.rows(1)  # booked while it was good
    installed.now(mode)
    assert [ask(router, "one") for _ in range(5)] == ["fast"] * 5
    strategies = [row["strategy"] for row in router.rows(6)]
    assert strategies[0] == "acme" and all(s.startswith(f"fallback cheapest: acme {why}") for s in strategies[1:4])
    assert strategies[4:] == ["fallback cheapest: acme is disabled"] * 2
    assert health(router)["plugins"] == {"acme": "disabled"} and health(router)["status"] == "degraded"
    assert failures(router, "acme") == 3
    assert router.said.count("the plug-in acme is disabled for 60 s") == 1
    assert "what a client wrote" not in router.said and "Traceback" not in router.said


def test_a_slow_one_is_obeyed_thrice_then_disabled_and_later_tried_again(serve: Serve, installed: Installed) -> None:
    router = serve(ACME_PAUSE_S="1.5")
    installed.now("slow")
    assert [ask(router, "one") for _ in range(4)] == ["other", "other", "other", "fast"]
    assert failures(router, "acme") == 3
    installed.now("good")
    until(lambda: health(router)["plugins"] == {"acme": "ok"}, within_s=10)
    assert ask(router, "one") == "other"
    strategies = [row["strategy"] for row in router.rows(5)]
    assert strategies == [*["acme"] * 3, "fallback cheapest: acme is disabled", "acme"]


@pytest.mark.parametrize("mode", ["raise", "wrong"])
def test_a_fact_that_fails_has_its_empty_value(serve: Serve, installed: Installed, mode: str) -> None:
    router = serve()
    assert ask(router, "two") == "other"
    installed.now(mode)
    assert [ask(router, "two") for _ in range(5)] == ["fast"] * 5  # "unknown", so the rule does not hold
    assert health(router)["plugins"] == {"acme.segment": "disabled"} and failures(router, "acme.segment") == 3
    rows = router.rows(6)
    said = installed.run("explain", rows[-1]["id"], "--data", router.data, "--json")
    assert json.loads(said.stdout)["facts"]["rules_saw"] == {"acme.segment": "unknown"}, said.stdout


def test_a_dry_run_uses_the_plug_in_and_says_when_it_failed(serve: Serve, installed: Installed) -> None:
    import http.client

    router = serve()

    def told() -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
        body = json.dumps({"model": "one", "messages": [{"role": "user", "content": "hi"}]})
        connection.request("POST", "/v1/route", body, {"content-type": "application/json"})
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    assert (told()["strategy"], told()["plan"]) == ("acme", ["other", "fast"])
    installed.now("raise")
    found = told()
    assert found["strategy"] == "fallback cheapest: acme raised ValueError" and found["plan"] == ["fast", "other"]
    assert found["why"][-1].startswith("Route one: fallback cheapest (acme raised ValueError) chose fast")


def test_decisions_of_a_package_that_is_gone_are_unreadable_and_the_others_are_not(
    serve: Serve, installed: Installed
) -> None:
    """The control process that books them is one without the package: what it cannot make again it leaves open."""
    import os
    import shutil
    import subprocess

    router = serve()
    for model in ("main", "one", "two"):
        ask(router, model)
    installed.now("raise")
    ask(router, "one")
    router.rows(4)
    shutil.copytree(router.data / "journal", router.data.with_name("journal"))  # it goes when all is booked
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "src")!r})
from pathlib import Path
from pointsman.control.replay import Policies
from pointsman.core.entry import Admitted, decode_records
from pointsman.stores.journal import read_all
from pointsman.stores.sqlite import FILE, SqliteWriter
data = Path({str(router.data)!r})
policies = Policies(SqliteWriter(data / FILE))
for payload in read_all(data.with_name("journal")):
    for record in decode_records(payload):
        if isinstance(record, Admitted):
            decided = policies.decided(record)
            print(record.asked_model, decided and decided.decision.strategy)
"""
    router.stop()
    copy = {name: value for name, value in os.environ.items() if name != "ACME_MODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=copy, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "main priority",
        "one None",
        "two None",
        "one fallback cheapest: acme raised ValueError",
    ]

"""Policies as an operator meets them: `pointsman serve`, a changed file, and what `usage` says of arms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Serving, Upstream, environment, until

CONFIG = """
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: "sk-canary-0123456789"}}
deployments:
  a: {{provider: up, model: a-1, context: 8000, quality: 0.8, price: {{input: {price}, output: {price}}}}}
  b: {{provider: up, model: b-1, context: 8000, quality: 0.8, price: {{input: 2, output: 2}}}}
  broken: {{provider: up, model: broken-1, context: 8000, price: {{input: 1, output: 1}}}}
routes:
  cheap: {{candidates: [a, b], strategy: cheapest}}
  weighed: {{candidates: [a, b], objective: {{quality: 1, cost: 1, half_usd: 0.0001}}}}
  trial:
    candidates: [a]
    tags: [trial]
    split:
      by: user
      arms:
        control: {{weight: 50}}
        other: {{weight: 40, candidates: [b]}}
        rocky: {{weight: 10, candidates: [broken], degrade: [{{reply: "Sorry."}}]}}
"""


@pytest.fixture
def served(tmp_path: Path, upstream: Upstream) -> Iterator[Serving]:
    (tmp_path / "router.yaml").write_text(CONFIG.format(port=upstream.server_port, price=1))
    running = Serving(tmp_path, "router.yaml")
    yield running
    running.kill()


def pointsman(served: Serving, *words: str) -> Any:
    command = [sys.executable, "-m", "pointsman.cli", *words, "--json", "--data", str(served.data)]
    said = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=30)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def answered(served: Serving, route: str) -> str:
    status, _, headers = served.chat(route)
    assert status == 200
    return headers["x-pointsman-deployment"]


def test_a_price_that_triples_in_the_file_moves_the_traffic_and_back(
    served: Serving, upstream: Upstream, tmp_path: Path
) -> None:
    assert (answered(served, "cheap"), answered(served, "weighed")) == ("a", "a")
    for price, expected in ((3, "b"), (1, "a")):
        (tmp_path / "router.yaml").write_text(CONFIG.format(port=upstream.server_port, price=price))
        until(lambda expected=expected: answered(served, "cheap") == expected, 10.0)  # type: ignore[misc]
        assert answered(served, "weighed") == expected


def test_usage_by_arm_compares_cost_errors_and_times(served: Serving) -> None:
    seen: Counter[str] = Counter()
    users = [f"u{n}" for n in range(40)]
    for user in users:
        body = {"model": "trial", "user": user, "messages": [{"role": "user", "content": "hi"}]}
        body |= {"pointsman": {"session": f"s-{user}", "tags": ["mine"]}}
        status, headers = _post(served, body)
        assert status == 200
        seen[headers["x-pointsman-arm"]] += 1
    assert set(seen) == {"trial/control", "trial/other", "trial/rocky"}
    rows = served.rows(len(users))
    for row in rows:
        arm = row["arm"].partition("/")[2]
        assert row["arm_probability"] == {"control": 0.5, "other": 0.4, "rocky": 0.1}[arm]
        assert row["path"] == f"trial arm {arm}" and row["route"] == "trial"
        assert row["session"] == f"s-{users[rows.index(row)]}" and row["tags"] == ",trial,mine,"
        assert (row["degraded"], row["outcome"]) == (("reply", "degraded") if arm == "rocky" else ("", "ok"))
    told = pointsman(served, "usage", "--by", "arm")
    groups = {group["arm"]: group for group in told["groups"]}
    assert {name: group["requests"] for name, group in groups.items()} == dict(seen)
    per_request = {name: group["measured_nano"] / group["requests"] for name, group in groups.items()}
    assert per_request["trial/other"] == 2 * per_request["trial/control"] > 0
    assert per_request["trial/rocky"] == 0


def _post(served: Serving, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()

"""`pointsman mock` as a process, its configuration errors, and TLS."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
import yaml

from pointsman.lab.mock import MockConfigError, MockServer, load_mock_config, mock_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "mock.yaml"


@pytest.fixture
def process(make_config: Any, tmp_path: Path) -> Iterator[tuple[dict[str, int], Path, subprocess.Popen[bytes]]]:
    file, ports, log = tmp_path / "mock.yaml", tmp_path / "ports.json", tmp_path / "log.jsonl"
    file.write_text(yaml.safe_dump(make_config()))
    command = [sys.executable, "-m", "pointsman.cli.mock", str(file), "--port-file", str(ports), "--log", str(log)]
    child = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        deadline = time.monotonic() + 20
        while not ports.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        yield json.loads(ports.read_text()), log, child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.serial  # while a provider is down another test may take its port
def test_the_command_serves_and_stops_on_sigterm(process: tuple[dict[str, int], Path, subprocess.Popen[bytes]]) -> None:
    ports, log, child = process
    assert set(ports) == {"oa", "an", "ge", "_admin"}
    body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}
    url = f"http://127.0.0.1:{ports['oa']}/v1/chat/completions"
    admin = f"http://127.0.0.1:{ports['_admin']}/_mock"
    with httpx2.Client(headers={"authorization": "Bearer sk-oa"}) as client:
        assert client.post(url, json=body).status_code == 200
        client.post(admin + "/script", json={"rules": [{"do": "reset", "at": "content:2"}]})
        with pytest.raises(httpx2.TransportError):
            client.post(url, json=body | {"stream": True})
        client.post(admin + "/script", json={"rules": []})
        client.post(admin + "/down", json={})
        with pytest.raises(httpx2.ConnectError):
            client.post(url, json=body)
        client.post(admin + "/up", json={}).raise_for_status()  # it may say that another program has its port now
        assert client.post(url, json=body).status_code == 200
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == 0
    assert child.stdout is not None
    assert json.loads(child.stdout.read()) == ports
    assert [json.loads(line)["outcome"] for line in log.read_text().splitlines()] == ["complete", "cut", "complete"]


async def test_f05_https_is_served_with_the_given_certificate(make_config: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"authorization": "Bearer sk-oa"}
    async with MockServer(make_config(tls={"cert": str(cert), "key": str(key)})) as mock:
        url = mock.url("oa") + "/v1/chat/completions"
        async with httpx2.AsyncClient(verify=trusting, headers=headers) as client:
            assert (await client.post(url, json=body)).text.endswith("data: [DONE]\n\n")
            mock.script([{"do": "reset", "at": "content:2"}])
            with pytest.raises(httpx2.TransportError):
                await client.post(url, json=body)
        async with httpx2.AsyncClient(headers=headers) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.post(url, json=body)


def test_the_example_is_a_good_configuration() -> None:
    assert [provider.dialect for provider in load_mock_config(EXAMPLE).providers] == ["openai", "anthropic", "gemini"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"providers": []}, "at least one"),
        ({"seed": "x"}, "$.seed"),
        ({"sed": 1}, "sed"),
        ({"script": [{"do": "explode"}]}, "$.script[0].do"),
        ({"script": [{"do": "reset", "at": "middle"}]}, "at: 'middle'"),
        ({"script": [{"do": "reset", "match": {"provider": "zz"}}]}, "script[0].match.provider"),
        ({"providers": [{"name": "a", "dialect": "openai", "models": {}}]}, "models"),
        ({"providers": [{"name": "a", "dialect": "cobol", "models": {"m": {}}}]}, "$.providers[0].dialect"),
        (
            {"providers": [{"name": "a", "dialect": "openai", "models": {"m": {"ttft_ms": {"p50": 9, "p95": 1}}}}]},
            "p50 <= p95",
        ),
        ({"providers": [{"name": "a", "dialect": "openai", "models": {"m": {}}}] * 2}, "used twice"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_member(make_config: Any, change: dict[str, Any], told: str) -> None:
    with pytest.raises(MockConfigError) as error:
        mock_config(make_config() | change, name="file.yaml")
    assert told in str(error.value)
    assert str(error.value).startswith("file.yaml: ")


def test_text_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(MockConfigError, match="not YAML"):
        mock_config("providers: [")

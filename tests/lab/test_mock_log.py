"""The mock's log, its determinism, its switches and its control endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pointsman.lab.mock import MockServer


async def settled(mock: MockServer, count: int) -> None:
    """Wait until the log holds `count` entries, at most a second."""
    for _ in range(100):
        if len(mock.log) >= count:
            return
        await asyncio.sleep(0.01)


async def test_a_served_request_is_logged_in_full(ask: Any, mock: MockServer) -> None:
    answer = await ask("oa", text="twelve bytes", headers={"x-request-id": "abc"})
    entry = mock.log[-1]
    assert (entry.provider, entry.model, entry.key, entry.request_id) == ("oa", "m1", "main", "abc")
    assert (entry.prompt_tokens, entry.completion_tokens, entry.written_tokens) == (3, 20, 20)
    assert (entry.status, entry.fault, entry.outcome, entry.stream) == (200, "", "complete", True)
    assert entry.bytes_written == len(answer.raw)
    assert (entry.seq, entry.number, entry.path) == (1, 1, "/v1/chat/completions")


async def test_what_is_refused_is_logged_with_its_status(ask: Any, raw: Any, mock: MockServer) -> None:
    await ask("oa", model="m9")
    await raw(mock.port("oa"), "/v1/chat/completions", {}, {"authorization": "Bearer wrong"})
    await ask("an", temperature="hot")
    assert [(e.provider, e.status, e.key) for e in mock.log] == [
        ("oa", 404, "main"),
        ("oa", 401, ""),
        ("an", 400, "main"),
    ]


async def test_f63_a_client_that_leaves_is_logged_with_what_it_got(make_config: Any, raw: Any) -> None:
    config = make_config()
    config["providers"][0]["models"]["m1"] |= {"tokens_per_s": 50, "output_tokens": {"p50": 500, "p95": 500}}
    async with MockServer(config) as mock:
        body = {"model": "m1", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": "Bearer sk-oa"}
        await raw(mock.port("oa"), "/v1/chat/completions", body, headers, 0.3)
        await settled(mock, 1)
        entry = mock.log[-1]
        assert entry.outcome == "client_gone"
        assert 8 <= entry.written_tokens <= 30
        assert mock.state()["providers"]["oa"]["active"] == 0


async def test_equal_seeds_give_equal_bytes_and_others_do_not(make_config: Any, raw: Any) -> None:
    async def play(seed: int) -> list[bytes]:
        body = {"model": "m1", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with MockServer(make_config(seed=seed)) as mock:
            headers = {"authorization": "Bearer sk-oa"}
            return [(await raw(mock.port("oa"), "/v1/chat/completions", body, headers)).raw for _ in range(4)]

    first, second, other = await play(5), await play(5), await play(6)
    assert first == second
    assert len(set(first)) == 4
    assert not set(first) & set(other)


async def test_the_log_is_bounded_in_memory_and_whole_in_the_file(make_config: Any, raw: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    async with MockServer(make_config(log_size=3, log_file=str(file))) as mock:
        for _ in range(5):
            body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}
            await raw(mock.port("oa"), "/v1/chat/completions", body, {"authorization": "Bearer sk-oa"})
        assert [entry.seq for entry in mock.log] == [3, 4, 5]
        assert [entry.seq for entry in mock.log.since(4)] == [5]
    assert [json.loads(line)["seq"] for line in file.read_text().splitlines()] == [1, 2, 3, 4, 5]


async def test_f03_down_refuses_resets_and_comes_back_on_the_same_port(make_config: Any, raw: Any) -> None:
    config = make_config()
    config["providers"][0]["models"]["m1"] |= {"tokens_per_s": 20, "output_tokens": {"p50": 500, "p95": 500}}
    body = {"model": "m1", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": "Bearer sk-oa"}
    async with MockServer(config) as mock:
        port = mock.port("oa")
        running = asyncio.ensure_future(raw(port, "/v1/chat/completions", body, headers))
        await asyncio.sleep(0.2)
        await mock.down("oa")
        cut = await running
        assert cut.reset and cut.events
        assert (mock.log[-1].outcome, mock.log[-1].fault) == ("cut", "down")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        await mock.down("oa")
        await mock.up("oa")
        await mock.up("oa")
        assert mock.port("oa") == port
        again = await raw(port, "/v1/chat/completions", body, headers, 0.3)
        assert again.status == 200


async def test_the_control_endpoint_scripts_switches_and_shows_the_log(ask: Any, mock: MockServer) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{mock.admin_port}") as admin:
        rules = [{"do": "status", "status": 503, "match": {"provider": "oa"}}]
        assert (await admin.post("/_mock/script", json={"rules": rules})).status_code == 200
        assert ((await ask("oa")).status, (await ask("an")).status) == (503, 200)
        log = (await admin.get("/_mock/log", params={"since": 1})).json()["entries"]
        assert [(entry["seq"], entry["provider"]) for entry in log] == [(2, "an")]
        assert (await admin.get("/_mock/state")).json()["rules"][0]["do"] == "status"
        await admin.post("/_mock/down", json={"provider": "an"})
        assert (await ask("an")).reset
        await admin.post("/_mock/up", json={"provider": "an"})
        assert (await ask("an")).status == 200
        limits = {"rules": [], "capacity": {"oa": {"concurrent": 0}}}
        await admin.post("/_mock/script", json=limits)
        assert (await ask("oa")).status == 429
        await admin.post("/_mock/script", json={"capacity": {"oa": None}})
        assert (await ask("oa")).status == 200
        assert (await admin.post("/_mock/script", json={"rules": [{"do": "explode"}]})).status_code == 400
        assert (await admin.post("/_mock/down", json={"provider": "nobody"})).status_code == 404
        assert (await admin.post("/_mock/nothing")).status_code == 404


async def test_providers_may_share_a_port_told_apart_by_path(make_config: Any, raw: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = make_config()
    for provider in config["providers"]:
        provider["port"] = port
    config["providers"][0]["prefix"] = "/first"
    async with MockServer(config) as mock:
        assert set(mock.ports.values()) == {port, mock.admin_port}
        body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
        one = await raw(port, "/first/v1/chat/completions", body, {"authorization": "Bearer sk-oa"})
        two = await raw(port, "/v1/messages", body, {"x-api-key": "sk-an", "anthropic-version": "2023-06-01"})
        lost = await raw(port, "/v1/chat/completions", body, {"authorization": "Bearer sk-oa"})
    assert (one.status, two.status, lost.status) == (200, 200, 404)


async def test_one_connection_serves_many_requests_and_bad_http_is_refused(mock: MockServer) -> None:
    async with httpx2.AsyncClient(headers={"authorization": "Bearer sk-oa"}) as client:
        for _ in range(5):
            body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}
            await client.post(mock.url("oa") + "/v1/chat/completions", json=body)
    assert {entry.connection for entry in mock.log} == {1}
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port("oa"))
    writer.write(b"NOT HTTP\r\n\r\n")
    assert b"400 Bad Request" in await reader.read()
    writer.close()

"""The bill over many mixed requests: replies and streams on three wires, failovers, cuts, cancels, answers given again.

BILL_REQUESTS=10000 for a campaign, SEED=N for another one. What providers have told of usage is charged to the nano-dollar as
their own logs say; what they did not tell of (their answer was cut, or the client left) is charged by an estimate, is marked
so in each row, and stands apart: within 5 % of what they had written.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from campaign_world import Mock
from serving import Serving, until

REQUESTS = int(os.environ.get("BILL_REQUESTS", "3000"))
SEED = int(os.environ.get("SEED", "1"))
AT_ONCE = 250
WIRES = {"a": "openai", "b": "anthropic", "g": "gemini"}
# Nano-dollars a token: input, read from the provider's cache, output.
PRICES = {"a": (1_000, 100, 10_000), "b": (3_000, 300, 15_000), "g": (150, 38, 600)}
# What a provider reads from its cache it tells at the end, on OpenAI's wire: of an answer that is cut it is not known.
CACHE = {name: {"cache": {"min_tokens": 1024}} for name in ("b", "g")}
SPEED = {"ttft_ms": {"p50": 4, "p95": 9}, "tokens_per_s": 120, "output_tokens": {"p50": 60, "p95": 160}}
RULES: list[dict[str, Any]] = [
    {"match": {"provider": "a", "probability": 0.03}, "do": "status", "status": 500},
    {"match": {"provider": "b", "probability": 0.02}, "do": "status", "status": 529},
    {"match": {"provider": "a", "probability": 0.02}, "do": "reset", "at": "headers"},
    {"match": {"provider": "g", "probability": 0.02}, "do": "reset", "at": "content:9"},
    {"match": {"provider": "a", "probability": 0.02}, "do": "no_usage"},
]
ROUTES = {
    "main": {"candidates": [{"a": 3}, {"b": 2}, {"g": 2}]},
    "kept": {"candidates": ["b", "a"], "cache": "1h"},
}
LONG = "You answer for a shop that sells tools, seeds and books. " * 110  # long enough for a provider's prompt cache


def values(mock: Mock) -> dict[str, Any]:
    url = {name: f"http://127.0.0.1:{port}" for name, port in mock.ports.items()}
    paths = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
    providers = {
        name: {"dialect": wire, "base_url": url[name] + paths[wire], "api_key": f"sk-bill-{name}-0123456789"}
        for name, wire in WIRES.items()
    }
    deployments = {
        name: {
            "provider": name,
            "model": "m",
            "context": 100_000,
            "price": {"input": given / 1000, "cache_read": read / 1000, "output": made / 1000},
        }
        for name, (given, read, made) in PRICES.items()
    }
    return {"providers": providers, "deployments": deployments, "routes": ROUTES}


def asked(rng: random.Random) -> tuple[dict[str, Any], int]:
    """Return a request, and after how many events of its answer its client leaves; 0: it stays."""
    kept = rng.random() < 0.25
    question = f"question {rng.randrange(40)}" if kept else f"something else {rng.random()}"
    messages = [{"role": "user", "content": question}]
    if rng.random() < 0.15:
        messages.insert(0, {"role": "system", "content": LONG})
    stream = rng.random() < 0.5
    body = {"model": "kept" if kept else "main", "messages": messages, "stream": stream}
    return body, rng.randrange(15, 45) if stream and not kept and rng.random() < 0.08 else 0


class Seen(Counter[str]):
    """Count how requests ended for their clients."""


async def ask(place: tuple[str, int], body: dict[str, Any], leaves_after: int, seen: Seen) -> None:
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(*place)
    try:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        answer = b""
        async with asyncio.timeout(60):
            while piece := await reader.read(1 << 16):
                answer += piece
                if leaves_after and answer.count(b"\ndata: ") >= leaves_after:
                    seen["left"] += 1
                    return
        status = answer[9:12].decode()
        whole = answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") if body["stream"] else status == "200"
        seen["complete" if whole or b"data: [DONE]" in answer else status] += 1
    finally:
        writer.close()


async def asked_all(place: tuple[str, int], seen: Seen) -> None:
    rng = random.Random(SEED)
    todo = iter([asked(rng) for _ in range(REQUESTS)])

    async def one_after_the_other() -> None:
        for body, leaves_after in todo:
            await ask(place, body, leaves_after, seen)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


def nano(name: str, given: int, read: int, made: int) -> int:
    of_given, of_read, of_made = PRICES[name]
    return (given - read) * of_given + read * of_read + made * of_made


@pytest.mark.serial
@pytest.mark.timeout(120 + REQUESTS // 20)
def test_the_bill_is_the_providers_own_log_to_the_nano_dollar(tmp_path: Path) -> None:
    providers = [
        {"name": name, "dialect": wire, "models": {"m": SPEED}} | CACHE.get(name, {}) for name, wire in WIRES.items()
    ]
    seen = Seen()
    served: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with closing(Mock(tmp_path, {"providers": providers, "seed": SEED, "script": RULES})) as mock:
        config = tmp_path / "router.yaml"
        config.write_text(yaml.safe_dump(values(mock)))
        router = Serving(tmp_path, str(config))
        try:
            asyncio.run(asked_all((router.host, router.port), seen))
            router.rows(REQUESTS)
            assert router.stop(within_s=60) == 0
            until(lambda: not mock.active(), 30)
        finally:
            router.kill()
        for entry in mock.served():
            served[entry["request_id"]].append(entry)
    with closing(sqlite3.connect(router.data / "ledger.sqlite")) as db:
        db.row_factory = sqlite3.Row
        rows = [dict(row) for row in db.execute("SELECT * FROM requests")]
        attempts = [dict(row) for row in db.execute("SELECT * FROM attempts ORDER BY request_id, n")]
    print(f"\n{REQUESTS} requests, seed {SEED}: " + compared(rows, attempts, served) + f"; clients {dict(seen)}")
    assert sum(seen.values()) == REQUESTS


def compared(
    rows: list[dict[str, Any]], attempts: list[dict[str, Any]], served: dict[str, list[dict[str, Any]]]
) -> str:
    """Hold every attempt against the log of its provider, and every row against its attempts; return the figures."""
    of_row: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in attempts:
        of_row[one["request_id"]].append(one)
    exact = booked_nano = measured_nano = estimated = estimated_nano = written_nano = 0
    for row in rows:
        mine, theirs = of_row[row["id"]], served.pop(row["id"], [])
        assert row["charge_nano"] == sum(one["charge_nano"] for one in mine), row
        assert sorted(one["deployment"] for one in mine) == sorted(one["provider"] for one in theirs), (mine, theirs)
        assert bool(row["cached_id"]) == (row["outcome"] == "ok" and not mine), row
        booked_nano += row["charge_nano"]
        for one in mine:  # a deployment is asked once: there are as many as attempts
            entry = next(each for each in theirs if each["provider"] == one["deployment"])
            theirs.remove(entry)
            told = entry["outcome"] == "complete" and entry["status"] == 200 and "no_usage" not in entry["fault"]
            if one["charge_state"] == "measured":
                given = nano(
                    one["deployment"], entry["prompt_tokens"], entry["cached_tokens"], entry["completion_tokens"]
                )
                assert one["charge_nano"] == (given if told else 0), (one, entry)
                assert told or entry["written_tokens"] == 0, (one, entry)
                exact, measured_nano = exact + 1, measured_nano + one["charge_nano"]
            else:
                assert not told or row["outcome"] != "ok", (one, entry)  # it left before the provider's last word
                estimated, estimated_nano = estimated + 1, estimated_nano + one["charge_nano"]
                written_nano += nano(
                    one["deployment"], entry["prompt_tokens"], entry["cached_tokens"], entry["written_tokens"]
                )
    assert not served, f"served, and in no row: {list(served)[:3]}"
    assert booked_nano == measured_nano + estimated_nano
    apart = abs(estimated_nano - written_nano) / written_nano
    assert apart <= 0.05, f"estimates are {apart:.1%} away"
    hits = sum(row["cache"] == "hit" for row in rows)
    moved = sum(row["attempts"] > 1 for row in rows)
    left = sum(row["status"] == 499 for row in rows)
    assert min(exact, estimated, hits, moved, left) > REQUESTS // 200, (exact, estimated, hits, moved, left)
    return (
        f"{exact} attempts charged as their providers say, {measured_nano} nano-dollars, difference 0; {estimated} estimated, "
        f"{estimated_nano} nano-dollars, {apart:.2%} from what was written; {hits} given again, {moved} went on, {left} left"
    )

"""Every provider down, then up again, under load of the official client with its own retries (faults 38, 104; I9, I32).

OUTAGE_S=45 for a campaign.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from campaign_world import Campaign, mock_values
from openai import APIError, AsyncOpenAI

from pointsman.gateway.quota import BURST

OUTAGE_S = float(os.environ.get("OUTAGE_S", "5"))
CALM_S = 3.0
RECOVERY_S = 10.0  # goodput is whole so long after the repair, at the latest
AFTER_S = 8.0
PER_S = 25  # calls, whatever becomes of them: open loop
MANY_PER_S = 40  # so that what two quota groups may try again by the second weighs little
MOST_AMPLIFIED = 1.2
BURSTS = 2 * BURST  # of two quota groups: what may be tried again at once, whatever the load
QUICK = {"ttft_ms": {"p50": 30, "p95": 60}, "tokens_per_s": 200, "output_tokens": {"p50": 10, "p95": 14}}
ERRORS = [{"match": {"provider": name}, "do": "status", "status": 500} for name in ("a", "b")]
NO_BREAKER = {"breaker_failures": 1_000_000, "breaker_success": 0.0}  # so that the retry budget stands alone


@dataclass
class Call:
    """Hold one call of an application: when it was made, by the monotonic clock."""

    at_s: float
    ok: bool = False


async def load(client: AsyncOpenAI, model: str, seconds: float, calls: list[Call], per_s: int) -> None:
    """Call at a fixed rate, half of it streams."""

    async def one(call: Call, stream: bool) -> None:
        messages: Any = [{"role": "user", "content": "hello"}]
        try:
            if stream:
                async for _ in await client.chat.completions.create(model=model, messages=messages, stream=True):
                    pass
            else:
                await client.chat.completions.create(model=model, messages=messages)
            call.ok = True
        except APIError:
            pass

    running = []
    until_s = time.monotonic() + seconds
    next_s = time.monotonic()
    while (now_s := time.monotonic()) < until_s:
        if now_s < next_s:
            await asyncio.sleep(next_s - now_s)
        next_s += 1.0 / per_s
        calls.append(Call(time.monotonic()))
        running.append(asyncio.create_task(one(calls[-1], len(calls) % 2 == 0)))
    await asyncio.gather(*running)


def booked(campaign: Campaign, table: str) -> int:
    """Return how many rows a table of the ledger has. In `attempts` a connection that was refused is one too."""
    db = sqlite3.connect(f"file:{campaign.data}/ledger.sqlite?mode=ro", uri=True)
    with contextlib.closing(db):
        return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def repaired(campaign: Campaign, how: str, *, broken: bool) -> None:
    if how == "refused":
        campaign.mock.post("down" if broken else "up", {})
    else:
        campaign.mock.post("script", {"rules": ERRORS if broken else []})


@pytest.fixture
def campaign(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    limits = getattr(request, "param", {})
    with Campaign(tmp_path, clients=1, workers=1, values=mock_values(QUICK), limits=limits) as running:
        yield running


async def drive(campaign: Campaign, model: str, seconds: float, calls: list[Call], per_s: int = PER_S) -> None:
    url = f"http://127.0.0.1:{campaign.router.port}/v1"
    async with AsyncOpenAI(base_url=url, api_key="sk-any", timeout=20) as client:  # its two retries are on
        await load(client, model, seconds, calls, per_s)


@pytest.mark.serial
@pytest.mark.nightly
@pytest.mark.timeout(200 + 3 * OUTAGE_S)
@pytest.mark.parametrize(("how", "model"), [("errors", "main"), ("refused", "main"), ("errors", "alone")])
async def test_f104_i32_after_an_outage_of_everything_goodput_is_back_within_ten_seconds(
    campaign: Campaign, how: str, model: str
) -> None:
    calls: list[Call] = []
    running = asyncio.create_task(drive(campaign, model, CALM_S + OUTAGE_S + RECOVERY_S + AFTER_S, calls))
    await asyncio.sleep(CALM_S)
    repaired(campaign, how, broken=True)
    down_s = time.monotonic()
    await asyncio.sleep(OUTAGE_S)
    repaired(campaign, how, broken=False)
    up_s = time.monotonic()
    await running
    after = [call for call in calls if call.at_s > up_s + RECOVERY_S]
    back_s = max((call.at_s - up_s for call in calls if call.at_s > up_s and not call.ok), default=0.0)
    during = [call for call in calls if down_s + 0.5 < call.at_s < up_s - 0.5]
    share = sum(call.ok for call in after) / len(after)
    print(
        f"\n{model}, {how} for {OUTAGE_S:.0f} s at {PER_S}/s: {sum(c.ok for c in during)} of {len(during)} calls ok meanwhile; "
        f"the last that failed was sent {back_s:.1f} s after the repair; of the {len(after)} later than {RECOVERY_S:.0f} s "
        f"{share:.1%} ok"
    )
    assert not any(call.ok for call in during)
    assert share >= 0.95


@pytest.mark.serial
@pytest.mark.timeout(200 + 3 * OUTAGE_S)
@pytest.mark.parametrize("campaign", [{}, NO_BREAKER], ids=["as-shipped", "breakers-off"], indirect=True)
@pytest.mark.parametrize(
    "how", [pytest.param("errors", marks=pytest.mark.nightly), pytest.param("refused", marks=pytest.mark.nightly)]
)
async def test_f104_i09_an_outage_of_everything_is_not_amplified(campaign: Campaign, how: str) -> None:
    seconds = max(OUTAGE_S, 8.0)
    repaired(campaign, how, broken=True)
    calls: list[Call] = []
    await drive(campaign, "main", seconds, calls, MANY_PER_S)
    campaign.clients.rest()
    assert campaign.router.stop(within_s=60) == 0  # so that all is in the ledger
    sent, asked = booked(campaign, "attempts"), booked(campaign, "requests")
    beyond = max(0.0, sent - BURSTS) / len(calls)
    print(
        f"\n{how} for {seconds:.0f} s: {len(calls)} calls of applications, {asked} requests at the router, {sent} sends to "
        f"providers: {sent / len(calls):.2f} per call, {beyond:.2f} beyond the first bursts"
    )
    assert not any(call.ok for call in calls)
    assert sent - BURSTS <= MOST_AMPLIFIED * len(calls)
    assert asked <= MOST_AMPLIFIED * len(calls)  # the client was told not to try again

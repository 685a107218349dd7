"""kill -9 of each process, at any time, under load: each admitted request has exactly one row, and the row is true.

KILL_ROUNDS=500 for a campaign, SEED=N for another one. After each round the clients' log, the providers' own log and the
ledger are compared (`campaign_world.py:Books`).
"""

from __future__ import annotations

import os
import random
import statistics
from collections import Counter
from pathlib import Path

import pytest
from campaign_world import CONTROL, WORKER, Campaign, kill, mock_values
from serving import until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "6"))
SEED = int(os.environ.get("SEED", "1"))
LEAST_UNDER_WAY = 100
# One in twenty requests meets a failure of its provider as well, so that rows have several attempts.
RULES = [
    {"match": {"provider": "a", "probability": 0.03}, "do": "status", "status": 500},
    {"match": {"provider": "a", "probability": 0.02}, "do": "reset", "at": "content:3"},
]
VICTIMS = (
    "a worker",
    "all workers",
    "the control process",
    "the supervisor",
    "all at once",
    "worker and control process",
)


def strike(campaign: Campaign, victim: str, rng: random.Random) -> None:
    """Kill what `victim` says, and start a router again where nobody is left to do so."""
    router = campaign.router
    workers, control = router.children(WORKER), router.children(CONTROL)
    if victim in ("a worker", "worker and control process"):
        workers = [rng.choice(workers)] if workers else []
    if victim in ("the supervisor", "all at once"):
        router.process.kill()
        router.process.wait()
    kill(workers if victim not in ("the control process", "the supervisor") else [])
    kill(control if victim in ("the control process", "all at once", "worker and control process") else [])
    if victim in ("the supervisor", "all at once"):
        campaign.start()
    else:
        until(lambda: len(router.children(WORKER)) == campaign.workers and len(router.children(CONTROL)) == 1, 15)


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_f78_f79_f94_i01_i02_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    under_way: list[int] = []
    struck = Counter[str]()
    with Campaign(tmp_path, values=mock_values(rules=RULES)) as campaign:
        for n in range(ROUNDS):
            campaign.under_way(LEAST_UNDER_WAY)
            campaign.clients.pause(rng.uniform(0.0, 0.5))
            under_way.append(campaign.clients.pending)
            victim = VICTIMS[n % len(VICTIMS)] if n < len(VICTIMS) else rng.choice(VICTIMS)
            struck[victim] += 1
            strike(campaign, victim, rng)
            campaign.check()
        campaign.end()
        recovered = sum(row["recovered"] for row in campaign.books.rows.values())
        print(
            f"\n{ROUNDS} kills ({dict(struck)}), seed {SEED}: {campaign.figures()}; recovered {recovered}; "
            f"under way at the kill: least {min(under_way)}, median {statistics.median(under_way):.0f}"
        )
    assert recovered > 0

"""SIGTERM under load, and the next router at once: nobody is cut, nothing is lost, nothing is booked twice (faults 80, 95).

STOP_ROUNDS=60 for a campaign, SEED=N for another one.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from campaign_world import Campaign

ROUNDS = int(os.environ.get("STOP_ROUNDS", "2"))
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.serial
@pytest.mark.nightly
@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_f80_f95_stops_under_load_cut_nobody_and_lose_no_row(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    with Campaign(tmp_path) as campaign:
        for _ in range(ROUNDS):
            campaign.under_way(100)
            campaign.clients.pause(rng.uniform(0.0, 0.5))
            before = campaign.router
            before.process.send_signal(signal.SIGTERM)
            campaign.start()  # at once, on the same data
            campaign.clients.pause(rng.uniform(0.0, 0.5))
            campaign.check()
            assert before.process.wait(20) == 0
        campaign.end()
        told = campaign.books.told.values()
        # A connection may still lie in the queue of the listener that closes: then no byte comes, and nothing was admitted.
        begun = {t.end for t in told if t.end != "unanswered"}
        lost = [t.name for t in told if t.end == "unanswered" and t.name in campaign.books.names]
        print(f"\n{ROUNDS} stops, seed {SEED}: {campaign.figures()}")
    assert begun == {"complete"}
    assert not lost

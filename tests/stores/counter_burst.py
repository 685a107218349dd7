"""One worker of one replica, as a process: asks for a counter many times at once, says what it got.

    python counter_burst.py JSON

Prints `ready`, waits for a line, asks, prints a JSON object, and waits for the end of its input. With `begun`, prints that
after so many rounds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from counter_kit import counter, opened, ready, settle

from pointsman.core.quotas import Verdict

DELAYS = Path("/proc/self/schedstat")


def starved_ms() -> float:
    """Return how long this thread has waited for a processor so far: no affair of whom it measures."""
    return int(DELAYS.read_text().split()[1]) / 1e6


async def burst(given: dict[str, Any]) -> dict[str, Any]:
    """Ask `rounds` times for `at_once` reservations together."""
    owner = f"{given['who']}{given['number']}"
    more = {"owner": owner, "replicas": 1, "lease_ms": given.get("lease_ms", 0)}
    store = await ready(opened(given["url"], Path(given["data"]), given["number"], **more))
    measured = counter(given["measure"], given["limit"], "mo")
    print("ready", flush=True)
    sys.stdin.readline()
    admitted, alone, leased, waits_ms = 0, 0, 0, [0.0]

    async def one() -> Verdict:
        nonlocal leased
        coming: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        verdict = store.reserve([(measured, given["amount"], True)], coming.set_result)
        leased += verdict is not None and not verdict.local
        return verdict if verdict is not None else await asyncio.wait_for(coming, 5)

    for n in range(given["rounds"]):
        if n and n == given.get("begun"):
            print("begun", flush=True)
        began_s, starved = time.monotonic(), starved_ms()
        verdicts = await asyncio.gather(*(one() for _ in range(given["at_once"])))
        waits_ms.append((time.monotonic() - began_s) * 1000 - (starved_ms() - starved))
        for verdict in verdicts:
            if verdict.refusing < 0:
                admitted += 1
                alone += verdict.local
                if given["settled"]:
                    settle(store, verdict, [(measured, given["amount"])], given["amount"])
        store.tick() if given["rounds"] > 1 else None
        await asyncio.sleep(given["pause_s"])
    if hasattr(store, "_leases") and given["settled"]:
        await asyncio.sleep(0.5)  # until the leases have been given back
    for _ in range(200):
        if not store.local and not getattr(store, "_unsettled", None):
            break
        store.tick()
        await asyncio.sleep(0.05)
    return {
        "asked": given["rounds"] * given["at_once"],
        "admitted": admitted,
        "alone": alone,
        "at_once": leased,  # without a round trip
        "worst_ms": max(waits_ms),
        "slow": sum(one > 45 for one in waits_ms),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(burst(json.loads(sys.argv[1])))), flush=True)
    sys.stdin.read()

"""One worker of one replica, as a process: asks for a counter many times at once, says what it got.

    python counter_burst.py JSON

Prints `ready`, waits for a line, asks, prints a JSON object, and waits for the end of its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from counter_kit import counter, opened, ready, settle, take


async def burst(given: dict[str, Any]) -> dict[str, Any]:
    """Ask `rounds` times for `at_once` reservations together."""
    store = await ready(
        opened(given["url"], Path(given["data"]), given["number"], owner=f"{given['who']}{given['number']}", replicas=1)
    )
    measured = counter(given["measure"], given["limit"], "mo")
    print("ready", flush=True)
    sys.stdin.readline()
    admitted, alone, waits_ms = 0, 0, [0.0]
    for _ in range(given["rounds"]):
        began_s = time.monotonic()
        verdicts = await asyncio.gather(*(take(store, (measured, given["amount"])) for _ in range(given["at_once"])))
        waits_ms.append((time.monotonic() - began_s) * 1000)
        for verdict in verdicts:
            if verdict.refusing < 0:
                admitted += 1
                alone += verdict.local
                if given["settled"]:
                    settle(store, verdict, [(measured, given["amount"])], given["amount"])
        store.tick() if given["rounds"] > 1 else None
        await asyncio.sleep(given["pause_s"])
    for _ in range(200):
        if not store.local and not getattr(store, "_ends", None):
            break
        store.tick()
        await asyncio.sleep(0.05)
    return {"admitted": admitted, "alone": alone, "worst_ms": max(waits_ms), "slow": sum(one > 45 for one in waits_ms)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(burst(json.loads(sys.argv[1])))), flush=True)
    sys.stdin.read()

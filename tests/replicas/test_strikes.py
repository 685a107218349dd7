"""kill -9 and SIGSTOP of each part in turn, under load at all four routers: who else notices, what is booked, what comes back.

Those that one router alone is struck with in tests/campaigns too are nightly. KILLS=N repeats it all N times.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from campaign_clients import Told
from campaign_world import CONTROL, WORKER, kill
from replica_world import REPLICAS, Replicas
from serving import until

pytestmark = pytest.mark.serial
KILLS = int(os.environ.get("KILLS", "1"))
FROZEN_S = 1.5
LONGEST_S = 3.0  # an answer takes half a second at its provider
BACK_S = 15.0
PARTS = ("worker", "control process", "supervisor", "redis", "postgres")
EVERY_TIME = {("worker", "kill"), ("supervisor", "kill"), ("redis", "kill"), ("redis", "stop"), ("postgres", "kill")}
# What clients of the router that is struck may see; those of the others see nothing but whole answers.
ENDS = {
    ("worker", "kill"): {"complete", "cut", "unanswered"},  # what it had under way is gone
    ("supervisor", "kill"): {"complete", "unanswered"},  # its worker drains: what has begun is finished
}


def pids(world: Replicas, part: str, number: int) -> list[int]:
    router = world.routers[number]
    return {
        "worker": router.children(WORKER),
        "control process": router.children(CONTROL),
        "supervisor": [router.process.pid],
    }[part]


def strike(world: Replicas, part: str, how: str, number: int) -> None:
    """Strike, and mend what the outside mends: what has died of the stores, and a router without its supervisor."""
    if part in ("redis", "postgres"):
        store = world.redis if part == "redis" else world.postgres
        if how == "kill":
            (store.stop if part == "redis" else store.kill)()  # type: ignore[union-attr]
            time.sleep(FROZEN_S)
            store.start()
        else:
            store.freeze()
            time.sleep(FROZEN_S)
            store.thaw()
    else:
        struck = pids(world, part, number)
        assert struck
        kill(struck, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "stop":
            time.sleep(FROZEN_S)
            kill(struck, signal.SIGCONT)
        elif part == "supervisor":
            world.routers[number].process.wait(10)
            world.again(number)


def asked(world: Replicas, number: int) -> list[Told]:
    return world.load[number].told


@pytest.mark.timeout(120 * KILLS)
@pytest.mark.parametrize(
    ("part", "how"),
    [
        pytest.param(part, how, marks=() if (part, how) in EVERY_TIME else pytest.mark.nightly)
        for part in PARTS
        for how in ("kill", "stop")
    ],
)
def test_f78_f83_f84_f90_i01_one_part_of_one_router_or_a_store(world: Replicas, part: str, how: str) -> None:
    for round in range(KILLS):
        number = (PARTS.index(part) + (how == "stop") + round) % REPLICAS
        world.begin()
        before = [len(asked(world, n)) for n in range(REPLICAS)]
        began_s = time.monotonic()
        strike(world, part, how, number)
        for n in range(REPLICAS):  # as before, all of them
            until(lambda n=n, much=before[n] + 20: len(asked(world, n)) > much, BACK_S)  # type: ignore[misc]
        until(lambda: all(world.whole(n) for n in range(REPLICAS)), BACK_S)
        until(lambda: world.metric("pointsman_counters_local") == [0.0] * REPLICAS, BACK_S)
        until(lambda: all(b"ledger" not in router.ask("/health")[1] for router in world.routers), BACK_S)
        back_s = time.monotonic() - began_s
        world.rest()
        world.check()
        for n in range(REPLICAS):
            told = asked(world, n)[before[n] :]
            allowed = ENDS.get((part, how), {"complete"}) if n == number else {"complete"}
            assert {one.end for one in told} <= allowed, [one for one in told if one.end not in allowed][:3]
            if n != number or part not in ("worker", "supervisor"):
                assert max(one.ended_s - one.sent_s for one in told) < LONGEST_S
        count = sum(len(asked(world, n)) - before[n] for n in range(REPLICAS))
        print(f"\n{part}, {how}: {count} requests, all as before after {back_s:.1f} s")
    assert "Traceback" not in world.said()

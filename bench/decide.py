"""Measure one decision: 50 deployments, 20 rules, an objective with bounds and a ladder, all from the YAML face.

    python bench/decide.py [--profile]

Prints microseconds, the median and the best of many batches, and what the allocator holds before and after.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
import tracemalloc

from pointsman.config.load import load_text
from pointsman.core.decide import decide
from pointsman.core.health import State
from pointsman.core.request import Request
from pointsman.core.routing import Asked, Surroundings, route
from pointsman.core.strategy import Snapshot
from pointsman.dialects.relay_request import read_features, read_head
from pointsman.dialects.said import read_said
from pointsman.lab.offline import NOBODY, NOW_MS, Offline

DEPLOYMENTS, RULES = 50, 20
BATCHES, TIMES = 200, 50
BODY = b'{"model":"auto","messages":[{"role":"user","content":"Which of the two is cheaper, and by how much?"}]}'


def config() -> str:
    """Return the YAML of the measured policy: the last rule is the one that holds."""
    lines = ["providers:", "  lab: {dialect: openai, base_url: 'http://127.0.0.1:9/v1'}", "deployments:"]
    for n in range(DEPLOYMENTS):
        price = f"{{input: {1 + n * 0.1:.1f}, output: {3 + n * 0.2:.1f}}}"
        lines.append(
            f"  d{n}: {{provider: lab, model: m{n}, context: 128000, quality: {0.5 + n * 0.008:.3f}, price: {price}}}"
        )
    names = ", ".join(f"d{n}" for n in range(DEPLOYMENTS - 1))
    lines += ["routes:", "  best:", f"    candidates: [{names}]"]
    lines += [
        "    objective: {quality: 0.6, latency: 0.2, cost: 0.2}",
        "    quality_floor: 0.5",
        "    limits: {ttft_ms_p95: 5000, usd_per_request: 1.0}",
        "    degrade: [{candidates: [d49]}, {reply: 'Later.'}]",
        "  auto:",
        "    rules:",
    ]
    lines += [
        f"      - {{when: 'caller.team == \"team-{n}\" && features.input_tokens > {n * 100}', use: d{n}}}"
        for n in range(RULES - 1)
    ]
    return "\n".join([*lines, "      - {use: best}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    offline = Offline(load_text(config(), "bench.yaml", {}).policy)
    states = {
        f"d{n}": State(300.0 + n, 50.0 + n, NOW_MS - 100.0, ttft_p95_ms=900.0 + n, sampled=50)
        for n in range(DEPLOYMENTS)
    }
    all_states = tuple(states.values())
    around = Surroundings(offline.routes, "UTC", lambda: states, 0, lambda *_: 0, lambda *_: None, lambda: 0.5)
    head = read_head(BODY)
    features, auto = read_features(head, BODY), offline.routes["auto"]

    def once() -> None:
        said = read_said(head, BODY, {}, ())
        routed = route(Asked(auto, said, features, NOBODY, NOW_MS, 1_700_000_000_000), around)
        chosen = routed.trail.options
        request = Request("id", "chat", chosen.route.name, routed.features, NOW_MS, NOW_MS + 60_000.0)
        snapshot = Snapshot("v", NOW_MS, 0.5, chosen.states_of(all_states), True, routed.detail)
        plan, _ = decide(request, chosen, snapshot)
        assert plan.order

    once()
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(lambda: [once() for _ in range(2_000)])
        pstats.Stats(profile).sort_stats("tottime").print_stats(16)
        return
    batches = []
    tracemalloc.start()
    for _ in range(500):
        once()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5_000):
        once()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for _ in range(BATCHES):
        began = time.perf_counter()
        for _ in range(TIMES):
            once()
        batches.append((time.perf_counter() - began) / TIMES * 1e6)
    print(
        f"{statistics.median(batches):8.1f} µs per decision, median of {BATCHES} batches ({min(batches):.1f} the best)"
    )
    print(f"{grown:8d} bytes more held after 5,000 decisions")


if __name__ == "__main__":
    main()

"""Measure how many requests a second of CPU the pump books from a journal into a ledger in SQLite.

    python bench/pump.py [--requests 20000] [--rounds 5]

Prints, for each kind of journal, microseconds of this process's CPU per request and requests per second of it, the best of the
rounds: frames of one record, as under light load, and of several, as under heavy load; forty keys.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import Admitted, AttemptRow, Record, Settled, encode_records
from pointsman.core.health import State
from pointsman.core.policy import Deployment, Policy, Provider, Route, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.request import Features, Request
from pointsman.core.secret import Secret
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.stores.journal import Journal
from pointsman.stores.sqlite import SqliteWriter

AT_MS = 1_790_000_000_000
NAMES = ("a", "b", "c", "d", "e")
KEYS = 40
KINDS = (  # what it is, strategy, candidates, whether all of them are well, records in a frame
    ("two candidates", "weighted", 2, True, 8),
    ("one record a frame", "weighted", 2, True, 1),
    ("five candidates", "weighted", 5, True, 8),
    ("five, `fastest`", "fastest", 5, True, 8),
    ("five, one ejected", "fastest", 5, False, 8),
)


def policy(strategy: str, count: int) -> Policy:
    price = Price(rates=Rates(input=3_000_000_000, output=2_000_000_000), version="p1", source="config")
    names = NAMES[:count]
    weights = tuple(map(float, range(1, count + 1))) if strategy == "weighted" else ()
    return Policy(
        version="v1",
        source="bench",
        providers={"lab": Provider(name="lab", dialect="openai", base_url="http://lab", api_key=Secret("none"))},
        deployments=tuple(Deployment(name=name, provider="lab", wire=Wire(model=name), price=price) for name in names),
        routes={"r": Route(name="r", candidates=names, strategy=strategy, weights=weights)},
        keys=(),
    )


def records(count: int, candidates: int, *, calm: bool) -> Iterator[Record]:
    """Yield the two records of each request, with figures that differ as real ones do."""
    chance = random.Random(1)
    for n in range(count):
        now_ms = 5_000.0 + n
        states = [State(100.0 + 50.0 * chance.random(), 60.0, now_ms) for _ in range(candidates)]
        if not calm:
            states[0] = State(failures=5, ejections=1, open_until_ms=now_ms + 9_000.0)
        snapshot = Snapshot("v1", now_ms, chance.random(), tuple(states), calm)
        id, at_ms, key = f"req_{AT_MS + n:012x}{n:016x}", AT_MS + n, chance.randrange(KEYS)
        usage, end_ms = Usage(chance.randrange(10, 3_000), chance.randrange(5, 500)), 300.0 + 900.0 * chance.random()
        times = (0.3, 0.5 + chance.random(), 0.7 * end_ms, end_ms)
        caller = (f"key-{key}", f"project-{key % 8}", f"team-{key % 4}", "acme")
        request = Request(id, "chat", "r", Features(usage.input_tokens, 200), now_ms, now_ms + 60_000.0)
        yield Admitted(request, "", at_ms, caller, "r", snapshot)
        said = (usage, chance.randrange(10**6), "measured", "p1", "b-2026", "")
        attempt = AttemptRow("b", "lab", "b", "ok", 200, *times, *said)
        yield Settled(id, at_ms + int(end_ms), "r", "ok", 200, (attempt,), 0.01, 0.05, times[2], end_ms, end_ms - 0.4)


def measured(folder: Path, kind: tuple[str, str, int, bool, int], count: int) -> float:
    """Return microseconds of CPU per request."""
    _, strategy, candidates, calm, together = kind
    journal = Journal(folder / "journal", "i1", 64 << 20, 1 << 40)
    made = list(records(count, candidates, calm=calm))
    for start in range(0, len(made), together):
        journal.append(encode_records(made[start : start + together]))
    del made
    journal.close()
    writer = SqliteWriter(folder / "ledger.sqlite")
    policies = Policies(writer)
    policies.keep(policy(strategy, candidates))
    pump = Pump(folder / "journal", writer, policies)
    began_s = time.process_time()
    while pump.step():
        pass
    used_s = time.process_time() - began_s
    writer.close()
    assert pump.counts.rows == count
    return used_s * 1e6 / count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    best: dict[str, float] = {}
    for _ in range(given.rounds):
        for kind in KINDS:  # in turn, so that a busy machine is unfair to all
            with tempfile.TemporaryDirectory() as folder:
                used_us = measured(Path(folder), kind, given.requests)
            best[kind[0]] = min(used_us, best.get(kind[0], used_us))
    for name, used_us in best.items():
        print(f"{name:20} {used_us:6.1f} us  {1e6 / used_us:8.0f} requests/s")


if __name__ == "__main__":
    main()

"""Measure how many requests a second of CPU the pump books from a journal into a ledger in SQLite.

    python bench/pump.py [--requests 20000] [--rounds 5] [--processes]

Prints, for each kind of journal, microseconds of this process's CPU per request and requests per second of it, the best of the
rounds: frames of one record, as under light load, and of several, as under heavy load; forty keys.

`--processes` measures something else: requests a second by the clock that one process books from six journals, and that the
pump books with its second process, in turns, that one's start included; the best of the rounds, and each of them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.control.second import Second
from pointsman.core.entry import Admitted, AttemptRow, Record, Settled, encode_records
from pointsman.core.health import State
from pointsman.core.log import LogSettings
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
JOURNALS = 6
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


def records(count: int, candidates: int, *, calm: bool, first: int = 0) -> Iterator[Record]:
    """Yield the two records of each request, with figures that differ as real ones do."""
    chance = random.Random(1)
    for n in range(first, first + count):
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


def write(folder: Path, name: str, made: list[Record], together: int) -> None:
    """Write the journal of an incarnation that has ended, so many records in a frame."""
    journal = Journal(folder / "journal", name, 64 << 20, 1 << 40)
    for start in range(0, len(made), together):
        journal.append(encode_records(made[start : start + together]))
    journal.close()


def measured(folder: Path, kind: tuple[str, str, int, bool, int], count: int) -> float:
    """Return microseconds of CPU per request."""
    _, strategy, candidates, calm, together = kind
    write(folder, "i1", list(records(count, candidates, calm=calm)), together)
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


def by_the_clock(folder: Path, count: int, *, second: bool) -> float:
    """Return requests per second that are booked from the journals of a folder."""
    writer = SqliteWriter(folder / "ledger.sqlite")
    policies = Policies(writer)
    policies.keep(policy("weighted", 2))
    pump = Pump(folder / "journal", writer, policies)
    other = Second(pump, str(folder), LogSettings, lambda: second)
    began_s = time.perf_counter()
    while pump.step() or other.pid:
        other.look()
        if not pump.behind:
            time.sleep(0.001)
    took_s = time.perf_counter() - began_s
    writer.close()
    assert pump.counts.rows == count
    return count / took_s


def processes(count: int, rounds: int) -> None:
    """Print what one process and both book from JOURNALS journals."""
    each = count // JOURNALS
    found: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as source:
        for n in range(JOURNALS):
            write(Path(source), f"i{n}", list(records(each, 2, calm=True, first=n * each)), 8)
        for _ in range(rounds):
            for second in found:
                with tempfile.TemporaryDirectory() as folder:
                    shutil.copytree(source, folder, dirs_exist_ok=True)
                    found[second].append(by_the_clock(Path(folder), each * JOURNALS, second=second))
    for second, rates in found.items():
        shown = " ".join(f"{rate:.0f}" for rate in rates)
        print(f"{'two processes' if second else 'one process':20} {max(rates):8.0f} requests/s   ({shown})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", action="store_true")
    given = parser.parse_args()
    if given.processes:
        processes(given.requests, given.rounds)
        return
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

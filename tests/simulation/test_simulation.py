"""The whole gateway under a virtual clock with seeded traffic, faults, reloads and crashes (FAULTS.md section 3).

SEEDS=10000 runs more, and then each fault must have been met; FIRST_SEED=N begins elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from sim_batch import BATCH, new_problems, run_batch
from sim_run import of_line, play, run, shrink, told
from sim_scenario import FAULTS, Scenario

SEEDS = int(os.environ.get("SEEDS", "120"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
ENOUGH_FOR_ALL = 2000  # seeds that meet every fault
PROCESSES = 2
EVENTS = ("crash-any time", "crash-before", "crash-inside", "crash-behind", "crash with requests under way", "reload",
          "reload with requests under way", "drain with requests under way")  # fmt: skip
REGRESSIONS = [
    of_line(line)
    for line in (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.timeout(max(120, SEEDS))
def test_no_seed_breaks_an_invariant() -> None:
    hit, failed = Counter[str](), list[int]()
    end = FIRST_SEED + SEEDS
    batches = [range(first, min(first + BATCH, end)) for first in range(FIRST_SEED, end, BATCH)]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for some, seeds in pool.map(run_batch, batches):
            hit += some
            failed += seeds
    never = [name for name in (*FAULTS, *EVENTS) if not hit[name]]
    print(f"{SEEDS} seeds met: " + ", ".join(f"{name} {count}" for name, count in sorted(hit.items())))
    print(f"never met: {', '.join(never) or 'none'}")
    if failed:
        pytest.fail(f"seeds that fail: {failed}; the first, shrunk:\n{told(shrink(run(failed[0])))}")
    assert not never or SEEDS < ENOUGH_FOR_ALL, f"{SEEDS} seeds never met {never}: those faults were not tested"
    assert len(never) < len(FAULTS) / 3, f"hardly anything goes wrong: {never}"


@pytest.mark.parametrize(("reason", "scenario"), REGRESSIONS, ids=[reason for reason, _ in REGRESSIONS])
def test_what_failed_once_stays_mended(reason: str, scenario: Scenario) -> None:
    report = play(scenario)
    assert not new_problems(report), f"{reason}\n{told(report)}"


@pytest.mark.parametrize("seed", [1, 12, 20, 29, 37, 232])
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    first, second = run(seed), run(seed)
    assert first.journal
    assert first.journal == second.journal
    assert first.clients == second.clients
    assert (first.hit, first.virtual_s) == (second.hit, second.virtual_s)


def test_another_seed_gives_another_run() -> None:
    assert len({run(seed).journal for seed in range(10)}) == 10

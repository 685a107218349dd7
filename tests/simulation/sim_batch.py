"""Batches of seeds for several processes, and what is known to be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sim_run import Report, run

BATCH = 10
# What is known to be wrong and not yet mended: how a problem begins -> why. Empty when all is well.
OPEN: dict[str, str] = {}  # problem's beginning -> why it is known and not yet mended


def new_problems(report: Report) -> list[str]:
    """Return what does not hold, beyond what is known."""
    return [problem for problem in report.problems if not problem.startswith(tuple(OPEN))]


def run_batch(seeds: Iterable[int]) -> tuple[Counter[str], list[int]]:
    """Run seeds; return how often each fault was met, and the seeds that failed."""
    hit, failed = Counter[str](), list[int]()
    for seed in seeds:
        report = run(seed)
        hit += report.hit
        if new_problems(report):
            failed.append(seed)
    return hit, failed

"""Run a seed, judge it, and if it fails find the smallest scenario that still does.

python tests/simulation/sim_run.py SEED ...
"""

from __future__ import annotations

import asyncio
import copy
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sim_checks import check_rest, check_step, check_stopped
from sim_scenario import Scenario, draw
from sim_world import SimWorld, temporary

MOST_TRIES = 150  # of a shrink
MOST_PROBLEMS = 200  # of one run


@dataclass
class Report:
    """Hold how a run went. `journal` and `clients` are all bytes written, for comparing two runs."""

    scenario: Scenario
    problems: list[str]
    hit: Counter[str]
    journal: bytes
    clients: list[bytes]
    virtual_s: float
    requests: int

    @property
    def kinds(self) -> set[str]:
        """Return the invariants that do not hold: I1, I8 ..."""
        return {problem.split(":", 1)[0] for problem in self.problems}


def run(seed: int) -> Report:
    """Play the scenario of a seed and check it."""
    return play(draw(seed))


def play(scenario: Scenario) -> Report:
    """Play a scenario and check it. An error of the simulation itself is a problem like any other."""
    with temporary() as folder:
        world = SimWorld(copy.deepcopy(scenario), Path(folder), check_step, before_stop=check_stopped)
        try:
            world.play()
            check_rest(world)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  to be shrunk like any failure
            world.problems.append(f"run: {type(error).__name__}: {error}")
        finally:
            world.ledger.close()
        return Report(
            scenario,
            list(dict.fromkeys(world.problems))[:MOST_PROBLEMS],
            world.hit,
            b"".join(written.frames for written in world.written),
            [bytes(client.data) for client in world.clients],
            world.loop.time(),
            len(world.sends),
        )


def shrink(report: Report, again: Callable[[Scenario], Report] = play) -> Report:
    """Return the smallest report of the same failure found: parts are left out as long as it still fails alike."""
    wanted, tries, best, smaller = report.kinds, 0, report, True
    while smaller:
        smaller = False
        for part in best.scenario.parts:
            at = 0
            while at < len(getattr(best.scenario, part)) and tries < MOST_TRIES:
                found = again(_without(best.scenario, part, at))
                tries += 1
                if found.kinds & wanted:
                    best, smaller = found, True
                else:
                    at += 1
    return best


def _without(scenario: Scenario, part: str, at: int) -> Scenario:
    fewer = copy.deepcopy(scenario)
    values = getattr(fewer, part)
    if part == "clients" and len(values[at]["requests"]) > 1:
        values[at]["requests"].pop()  # of a client first its requests
    else:
        del values[at]
    return fewer


def told(report: Report) -> str:
    """Return a failure for people: the seed, what does not hold, and the scenario as far as it was shrunk."""
    scenario = report.scenario
    lines = [f"seed {scenario.seed}: {len(report.problems)} problems", *(f"  {p}" for p in report.problems[:10])]
    for part in scenario.parts:
        lines += [f"{part}:", *(f"  {value}" for value in getattr(scenario, part))]
    lines += [
        "config:",
        *(f"  {name}: {value}" for name, value in scenario.config.items()),
        f"drain_s: {scenario.drain_s}",
    ]
    return "\n".join(lines)


def to_line(scenario: Scenario, reason: str) -> str:
    """Return a scenario as a line of regressions.txt; it is the scenario that is kept, for a seed means another one as soon
    as the generator is changed."""
    return f"{reason}\t{msgspec.json.encode(scenario).decode()}"


def of_line(line: str) -> tuple[str, Scenario]:
    """Return the reason and the scenario of a line."""
    reason, _, text = line.partition("\t")
    return reason, msgspec.json.decode(text, type=Scenario)


def main(seeds: list[int]) -> int:
    """Run seeds and tell of those that fail."""
    failed = 0
    for seed in seeds:
        report = run(seed)
        if report.problems:
            failed += 1
            small = shrink(report)
            print(told(small))
            print("for regressions.txt:", to_line(small.scenario, small.problems[0]))
        else:
            print(f"seed {seed}: {report.requests} sends in {report.virtual_s:.0f} virtual seconds; {dict(report.hit)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]]))

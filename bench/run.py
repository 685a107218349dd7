"""Measure the gateway against nginx and HAProxy doing plain reverse proxying, on one core each, in the same run.

docs/benchmark.md says what is measured and how to read it. Linux only: affinity and /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import measures
import procs
import report
from systems import COMPILED, HERE, NAMES, NEEDED, RUN, BenchError, System, Upstreams, systems

INSTALL_S = 600


def main() -> int:
    """Run the benchmark; exit 1 when something failed, or with --strict when a target or the last run is missed."""
    options = arguments()
    if options.profile:
        return subprocess.run([sys.executable, str(HERE / "inprocess.py"), "--profile"], check=False).returncode
    compiles = "pointsman" in options.systems
    install_missing(set(options.systems) & set(NEEDED) | {"nginx", "wrk"} | ({"cc"} if compiles else set()))
    prepare()
    if compiles:
        print("compiling what every request passes through ...", flush=True)
        build = [sys.executable, str(HERE.parent / "hatch_build.py"), str(COMPILED)]
        if subprocess.run(build, check=False).returncode:
            raise SystemExit("bench: it could not be compiled: see above")
    try:
        rounds = run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return conclude(rounds, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one short round; not kept in the history")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--only", type=_names(measures.TESTS), default=list(measures.TESTS), metavar="TESTS")
    parser.add_argument("--systems", type=_names(NAMES), default=list(NAMES))
    parser.add_argument("--strict", action="store_true", help="exit 1 on a missed target or a regression")
    parser.add_argument("--profile", action="store_true", help="say where the time of one request goes, and stop")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names, each of which must be one of `known`."""
    allowed = list(known)

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(allowed):
            raise argparse.ArgumentTypeError(f"some of: {', '.join(allowed)}")
        return names

    return parse


def install_missing(wanted: set[str]) -> None:
    """Install the Debian packages of programs that are missing, as root; otherwise say which to install."""
    missing = sorted(NEEDED[name] for name in wanted if not shutil.which(name))
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"bench: please install {', '.join(missing)} (Debian: apt-get install {' '.join(missing)})")
    print(f"installing {', '.join(missing)} ...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", *command], env=env, check=True, timeout=INSTALL_S, stdout=subprocess.DEVNULL)


def prepare() -> None:
    """Make the run folder, raise the limit of open files for everything started from here, and let it keep its bytecode: an
    installed package has it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    RUN.mkdir(exist_ok=True)
    for log in RUN.glob("*.log"):
        log.unlink()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))


def run(options: argparse.Namespace) -> report.Rounds:
    """Return the samples of all rounds. Raise BenchError."""
    cores = procs.cores()
    os.sched_setaffinity(0, {cores[1]})
    order = random.Random(time.time_ns())
    rounds: report.Rounds = []
    with Upstreams(cores[1]) as upstreams:
        known = systems(upstreams)
        chosen = [known[name] for name in ("direct", *options.systems)]
        for number in range(1 if options.quick else options.rounds):
            lengths = measures.QUICK if options.quick else measures.FULL
            bench = measures.Bench(upstreams=upstreams, cores=cores, lengths=lengths, seed=number)
            order.shuffle(chosen)
            rounds.append({system.name: one_system(bench, system, options.only) for system in chosen})
    return rounds


def one_system(bench: measures.Bench, system: System, tests: list[str]) -> dict[str, measures.Sample]:
    """Return one round's samples of one system."""
    samples: dict[str, measures.Sample] = {}
    try:
        if "idle" not in tests:
            system.start(bench.cores[0])
        for test in [test for test in tests if system.command or test in measures.DIRECT]:
            samples[test] = measures.take(test, bench, system)
            shown = "  ".join(f"{name} {value:.4g}" for name, value in samples[test].items())
            print(f"[{bench.seed + 1}] {system.name:10} {test:11} {shown}", flush=True)
    finally:
        system.stop()
    return samples


def conclude(rounds: report.Rounds, options: argparse.Namespace) -> int:
    """Print the result, keep it, and return the exit status."""
    text, missed = report.table(rounds)
    now = report.entry(rounds)
    lines, worse = report.compared(now, report.last())
    print(f"\n{text}\n")
    print("\n".join(lines))
    if warning := report.bottleneck(rounds):
        print(warning)
    if now["noisy"]:
        print(f"others used the cores during: {', '.join(now['noisy'])}")
    if options.quick or options.rounds < 3 or set(options.only) != set(measures.TESTS):
        print("not kept in the history: that takes all tests and at least three rounds")
    else:
        report.store(now)
        print(f"kept in {os.path.relpath(report.HISTORY)}")
    for problem in [f"target missed: {title}" for title in missed] + worse:
        print(problem)
    return 1 if options.strict and (missed or worse) else 0


if __name__ == "__main__":
    sys.exit(main())

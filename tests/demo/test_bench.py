"""The benchmark's own parts: its loads against its upstream without a gateway, and its judgement."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def upstream():
    import systems

    port = systems.free_port()
    process = subprocess.Popen([sys.executable, str(BENCH / "streamserver.py"), str(port)])
    try:
        systems.wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def load(port, key, **changed):
    spec = {"port": port, "model": "pace-5", "key": key, "connections": 8, "seconds": 1, "ramp_s": 0.3, "once": False}
    done = subprocess.run(
        [sys.executable, str(BENCH / "streamload.py")],
        input=json.dumps(spec | changed),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_streams_come_whole_and_paced(upstream):
    import payloads

    seen = load(upstream, payloads.UPSTREAM_KEY)
    assert seen["failed"] == 0
    assert seen["streams"] >= 8
    assert seen["events"] == seen["streams"] * (payloads.EVENTS + 3)
    assert 4 < seen["gap_ms"]["p50"] < 50


def test_forwarding_the_clients_key_is_refused(upstream):
    import payloads

    seen = load(upstream, payloads.CLIENT_KEY, once=True)
    assert seen["streams"] == 0
    assert "401" in seen["note"]


def test_cpu_and_memory_of_a_process_tree_are_seen():
    import procs

    code = "import time; until = time.process_time() + 0.2\nwhile time.process_time() < until: pass\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        until_s = time.monotonic() + 30
        while procs.cpu_s([process.pid]) <= 0.1 and time.monotonic() < until_s:
            time.sleep(0.05)
        assert process.pid in procs.tree(process.pid)
        assert procs.cpu_s([process.pid]) > 0.1
        assert procs.rss_mib([process.pid])[process.pid] > 1
    finally:
        process.kill()
        process.wait()


def rounds(ours, theirs):
    return [
        {
            "pointsman": {"throughput": {"per_s": a, "foreign": 0.0}},
            "nginx": {"throughput": {"per_s": b, "foreign": 0.0}},
        }
        for a, b in zip(ours, theirs, strict=True)
    ]


def test_ratios_are_taken_within_a_round_and_then_the_median():
    import report

    entry = report.entry(rounds([10, 30, 20], [20, 30, 80]))
    assert entry["ratios"]["throughput"] == 0.5
    assert entry["absolute"]["pointsman"]["throughput.per_s"] == 20


@pytest.mark.parametrize(("ours", "missed"), [(40, False), (20, True)])
def test_a_missed_target_is_named(ours, missed):
    import report

    _, titles = report.table(rounds([ours], [100]))
    assert bool(titles) is missed


@pytest.mark.parametrize(
    ("name", "old", "new", "worse"),
    [
        ("throughput", 0.50, 0.44, True),
        ("throughput", 0.50, 0.46, False),
        ("cpu_per_event", 1.0, 1.2, True),
        ("cpu_per_event", 1.0, 0.7, False),
    ],
)
def test_a_ratio_that_got_worse_by_more_than_a_tenth_is_a_regression(name, old, new, worse):
    import report

    before = {"date": "2026-01-01T00:00:00", "commit": "abc", "ratios": {name: old}}
    _, found = report.compared({"ratios": {name: new}}, before)
    assert bool(found) is worse


def test_the_in_process_measurement_still_fits_the_gateway():
    done = subprocess.run(
        [sys.executable, str(BENCH / "inprocess.py")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "µs per request" in done.stdout

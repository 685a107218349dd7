"""The demo as a user runs it: real processes, the official client, an outage; and that its claims can fail."""

import asyncio
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from pointsman.lab import demo_bill
from pointsman.lab.demo_traffic import ROUTES, Outage, arranged
from pointsman.lab.traffic import requests

ROOT = Path(__file__).parents[2]
PRICES = {"small": (Decimal("0.25"), Decimal("1")), "large": (Decimal("5"), Decimal("20"))}


@pytest.mark.nightly  # .ci/run runs `make demo` itself
def test_the_demo_ends_well_and_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pointsman.lab.demo", "--folder", str(tmp_path / "demo")],
        cwd=ROOT,
        env=os.environ | {"CI": "true"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    said = re.search(r"demo: (\d+) requests, (\d+) client errors, (\d+) failed over, the bill is (\w+)", done.stdout)
    assert said, done.stdout[-2000:]
    assert int(said[1]) >= 200
    assert said[2] == "0"
    assert int(said[3]) > 0
    assert said[4] == "equal"
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_every_kind_of_request_has_a_route():
    assert {one.category for one in requests()} == set(ROUTES)


def test_arranging_loses_no_request_and_puts_whole_answers_in_the_middle():
    asked = requests()
    ordered = arranged(asked)
    assert sorted(one.id for one in ordered) == sorted(one.id for one in asked)
    middle = len(ordered) // 2
    assert not any(one.kwargs.get("stream") for one in ordered[middle - 12 : middle + 6])


async def test_the_outage_waits_for_streams_and_streams_wait_for_it():
    switched = []

    async def switch(way):
        switched.append(way)

    outage = Outage(4, switch)  # down at request 2, up at 3
    await outage.admit(0, stream=True)
    await outage.admit(2, stream=False)
    late = asyncio.create_task(outage.admit(3, stream=True))
    await asyncio.sleep(0.01)
    assert "down" not in switched
    assert not late.done()
    outage.left(stream=True)
    await late
    await outage.end()
    assert "down" in switched


def row(**changed):
    values = {"id": "r1", "attempts": 1, "deployment": "small", "planned": "small", "outcome": "ok", "failures": []}
    return values | {"input_tokens": 100, "output_tokens": 10, "charge_nano": 35_000} | changed


def entry(**changed):
    values = {"request_id": "r1", "model": "small", "status": 200, "outcome": "complete"}
    return values | {"prompt_tokens": 100, "completion_tokens": 10} | changed


def test_an_equal_bill_is_found_equal():
    audit = demo_bill.audit([row()], [entry(), entry(status=503)], PRICES)
    assert audit.wrong == ()
    assert audit.billed_nano == audit.served_nano == 35_000
    assert (audit.dearest, audit.dearest_nano) == ("large", 700_000)


@pytest.mark.parametrize(
    ("rows", "served", "said"),
    [
        ([row(charge_nano=34_999)], [entry()], "charge"),
        ([row(output_tokens=9)], [entry()], "output tokens"),
        ([row()], [entry(model="large")], "deployment"),
        ([row()], [], "0 providers answered"),
        ([row()], [entry(), entry()], "2 providers answered"),
        ([], [entry()], "not in the ledger"),
        ([row(charge_nano=None)], [entry()], "charge"),
    ],
)
def test_an_unequal_bill_is_told(rows, served, said):
    assert said in " ".join(demo_bill.audit(rows, served, PRICES).wrong)


@pytest.mark.parametrize(("ended", "counted"), [("unreachable", True), ("unsupported", False)])
def test_only_what_a_provider_failed_counts_as_failed_over(ended, counted):
    audit = demo_bill.audit([row(attempts=2, planned="large", failures=[ended])], [entry()], PRICES)
    assert audit.failed_over == (("r1",) if counted else ())

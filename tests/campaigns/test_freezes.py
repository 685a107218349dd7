"""Parts that stop without dying: the data plane goes on, and the ledger catches up (faults 83, 90; I31, I32)."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaign_world import CONTROL, WORKER, Campaign, kill, mock_values
from serving import until

FROZEN_S = float(os.environ.get("FROZEN_S", "2"))
LOCKED_S = FROZEN_S + 4.0  # longer than the ledger's writer waits for a lock (`stores/sqlite.py:BUSY_S`)
QUICK = {"ttft_ms": {"p50": 20, "p95": 40}, "tokens_per_s": 200, "output_tokens": {"p50": 10, "p95": 14}}
CLIENTS = 20


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Freeze processes for a while."""
    kill(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pids, signal.SIGCONT)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the ledger's write lock, as a backup or another program would."""
    db = sqlite3.connect(path, isolation_level=None, timeout=20)
    with contextlib.closing(db):
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def rate(campaign: Campaign, seconds: float) -> tuple[float, float]:
    """Return whole answers a second in the next `seconds`, and the longest of those in seconds."""
    before, began_s = len(campaign.clients.told), time.monotonic()
    campaign.clients.pause(seconds)
    took_s = time.monotonic() - began_s
    ended = [t for t in campaign.clients.told[before:] if t.end == "complete"]
    return len(ended) / took_s, max((t.ended_s - t.sent_s for t in ended), default=0.0)


def probes(campaign: Campaign) -> None:
    for path in ("/livez", "/readyz"):
        began_s = time.monotonic()
        assert campaign.router.ask(path)[0] == 200
        assert time.monotonic() - began_s < 1.0


@pytest.mark.serial
@pytest.mark.parametrize(
    ("what", "seconds"),
    [("control process", FROZEN_S), pytest.param("ledger", LOCKED_S, marks=pytest.mark.nightly)],
    ids=["control-process", "ledger-lock"],
)
def test_f83_f90_while_nothing_can_be_booked_requests_are_answered_as_before(
    tmp_path: Path, what: str, seconds: float
) -> None:
    with Campaign(tmp_path, clients=CLIENTS, workers=1, values=mock_values(QUICK)) as campaign:
        campaign.under_way(CLIENTS // 2)
        free, _ = rate(campaign, 2.0)
        breaks: Callable[[], contextlib.AbstractContextManager[None]] = (
            (lambda: stopped(campaign.router.children(CONTROL)))
            if what == "control process"
            else (lambda: locked(campaign.data / "ledger.sqlite"))
        )
        with breaks():
            held, longest_s = rate(campaign, seconds)
            probes(campaign)
        ended_s = time.monotonic()
        campaign.check()
        caught_up_s = time.monotonic() - ended_s
        campaign.end()
        assert {told.end for told in campaign.books.told.values()} == {"complete"}
        print(f"\n{what} held {seconds:.0f} s: {free:.0f} answers/s before, {held:.0f} meanwhile, "
              f"longest {longest_s * 1000:.0f} ms; booked {caught_up_s:.1f} s after; {campaign.figures()}")  # fmt: skip
    assert held > 0.6 * free  # on a machine that does other things too
    assert longest_s < 2.0


@pytest.mark.serial
@pytest.mark.nightly
def test_f90_a_router_that_starts_while_the_ledger_is_locked_waits_or_says_why(tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=1, workers=1, values=mock_values(QUICK)) as campaign:
        campaign.under_way(1)
        campaign.end()
        with locked(campaign.data / "ledger.sqlite"), pytest.raises(AssertionError) as failed:
            campaign.start()  # needs the ledger: it keeps the policy that it serves
        assert "ledger" in str(failed.value) and "Traceback" not in str(failed.value)
        campaign.start()
        campaign.under_way(1)
        campaign.end()


@pytest.mark.serial
@pytest.mark.nightly
def test_one_frozen_worker_of_two_holds_up_its_own_clients_only(tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=40, workers=2, values=mock_values(QUICK)) as campaign:
        campaign.under_way(20)
        frozen = campaign.router.children(WORKER)[:1]
        with stopped(frozen):
            campaign.clients.pause(0.5)
            held, _ = rate(campaign, FROZEN_S)
        campaign.check()
        campaign.end()
        assert {told.end for told in campaign.books.told.values()} == {"complete"}
        longest_s = max(told.ended_s - told.sent_s for told in campaign.books.told.values())
        print(f"\none worker of two frozen {FROZEN_S:.0f} s: {held:.0f} answers/s by the other, longest wait "
              f"{longest_s:.1f} s, none lost; {campaign.figures()}")  # fmt: skip
    assert held > 10


@pytest.mark.serial
@pytest.mark.nightly
def test_f83_killed_while_nothing_can_be_booked_the_next_control_process_catches_up(tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=CLIENTS, workers=1, values=mock_values(QUICK)) as campaign:
        campaign.under_way(CLIENTS // 2)
        control = campaign.router.children(CONTROL)
        with stopped(control):
            campaign.clients.pause(1.0)
            kill(control)
        until(lambda: campaign.router.children(CONTROL) not in ([], control), 10)
        campaign.check()
        campaign.end()

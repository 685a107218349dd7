"""A disk that is full, or read-only, under a running router (fault 82): what cannot be booked is refused, and it comes back."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import WORKER, Campaign, kill, mock_values
from serving import until

from pointsman.core.entry import Admitted, Settled, decode_records
from pointsman.stores.journal import read_all

DISK_KIB = 4096
CLIENTS = 20
QUICK = {"ttft_ms": {"p50": 20, "p95": 40}, "tokens_per_s": 100, "output_tokens": {"p50": 10, "p95": 14}}


@contextlib.contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    """Mount something, and take it away whatever happens."""
    if subprocess.run(["mount", *arguments, place], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs"):
        yield place


def fill(place: Path) -> None:
    """Write until nothing more fits."""
    with (place / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def ends_since(campaign: Campaign, at: int) -> Counter[str]:
    return Counter(told.code or told.end for told in campaign.clients.told[at:] if told.ended_s)


@pytest.mark.serial
def test_f82_on_a_full_disk_requests_are_refused_and_none_is_lost_and_it_recovers_by_itself(
    disk: Path, tmp_path: Path
) -> None:
    with Campaign(
        tmp_path, clients=CLIENTS, workers=1, values=mock_values(QUICK), data=disk / "data", limits={"idle_ms": 5000}
    ) as campaign:
        workers = campaign.router.children(WORKER)
        campaign.under_way(CLIENTS // 2)
        campaign.clients.pause(0.5)
        fill(disk)
        until(lambda: ends_since(campaign, 0)["ledger_unavailable"] > 50, 20)
        at = len(campaign.clients.told)
        until(lambda: len(campaign.clients.told) > at + 200, 10)
        full = ends_since(campaign, at)
        status, body, headers = campaign.router.chat("main")
        assert (
            status == 503 and b'"code":"ledger_unavailable"' in body.replace(b": ", b":") and "retry-after" in headers
        )
        assert campaign.router.ask("/livez")[0] == 200
        (disk / "ballast").unlink()
        freed_s = time.time()
        until(lambda: any(t.end == "complete" and t.sent_s > freed_s for t in campaign.clients.told), 5)
        recovered_s = (
            min(t.sent_s for t in campaign.clients.told if t.end == "complete" and t.sent_s > freed_s) - freed_s
        )
        campaign.clients.pause(0.5)
        campaign.check()
        campaign.end()
        assert workers and "died" not in campaign.said()  # nobody had to be started again
        assert {told.end for told in campaign.books.told.values()} <= {"complete", "error"}
        print(f"\ndisk full: then {dict(full)}; the first request answered was sent {recovered_s:.2f} s after; "
              f"{campaign.figures()}")  # fmt: skip
    assert set(full) <= {"ledger_unavailable", "complete"} and full["ledger_unavailable"] >= 150
    assert recovered_s < 2.0


@pytest.mark.serial
@pytest.mark.nightly
def test_f82_a_worker_killed_on_a_full_disk_leaves_only_whole_records(disk: Path, tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=CLIENTS, workers=1, values=mock_values(QUICK), data=disk / "data") as campaign:
        campaign.under_way(CLIENTS // 2)
        fill(disk)
        until(lambda: ends_since(campaign, 0)["ledger_unavailable"] > 20, 20)
        kill(campaign.router.children(WORKER), signal.SIGKILL)
        records = [r for payload in read_all(disk / "data" / "journal") for r in decode_records(payload)]
        assert all(isinstance(r, Admitted | Settled) for r in records)
        until(lambda: "No space left" in campaign.said(), 10)  # it cannot start, and says why
        (disk / "ballast").unlink()
        campaign.clients.rest()
        until(lambda: answers(campaign), 15)
        assert "Traceback" not in campaign.said(), campaign.said()
        assert campaign.router.stop(within_s=60) == 0


def answers(campaign: Campaign) -> bool:
    try:
        return campaign.router.chat("main")[0] == 200
    except OSError:
        return False


@pytest.mark.serial
@pytest.mark.nightly
def test_f82_a_start_on_a_full_disk_says_so(disk: Path, tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=1, workers=1, values=mock_values(QUICK), data=disk / "data") as campaign:
        campaign.under_way(1)
        campaign.end()
        fill(disk)
        with pytest.raises(AssertionError) as failed:
            campaign.start()
        said = str(failed.value)
        assert os.strerror(errno.ENOSPC) in said or "full" in said
        assert "Traceback" not in said
        (disk / "ballast").unlink()
        campaign.start()
        campaign.under_way(1)
        campaign.end()


@pytest.mark.serial
@pytest.mark.nightly
def test_f82_a_data_folder_that_became_read_only_is_told_and_used_again(tmp_path: Path) -> None:
    with Campaign(tmp_path, clients=4, workers=1, values=mock_values(QUICK)) as campaign:
        campaign.under_way(2)
        campaign.clients.rest()
        with mounted(campaign.data, "--bind", str(campaign.data)):
            subprocess.run(["mount", "-o", "remount,bind,ro", campaign.data], check=True)
            kill(campaign.router.children(WORKER), signal.SIGKILL)
            until(lambda: "Read-only file system" in campaign.said(), 10)
            with pytest.raises(OSError):
                campaign.router.chat("main")
        until(lambda: answers(campaign), 15)
        assert "Traceback" not in campaign.said(), campaign.said()
        assert campaign.router.stop(within_s=60) == 0

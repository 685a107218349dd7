"""People who look at the dashboard of a router under traffic do not slow the traffic down."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from serving import Serving, Upstream

from pointsman.stores.sqlite import FILE

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]

ROUNDS, ROUND_S = 4, 1.5  # with and without somebody who looks, in turns
MOST_RATIO, NOISE_MS = (
    1.5,
    5.0,
)  # of the p99 beside pages to that without; of a test on two cores that do other things too


class Clicking:
    """Somebody who clicks through all pages in a browser, when asked to; a process of its own."""

    def __init__(self, router: Serving) -> None:
        token = (router.data / "admin-token").read_text().strip()
        args = (f"http://127.0.0.1:{router.admin_port}", token, CHROMIUM)
        self._process = subprocess.Popen(
            (sys.executable, str(Path(__file__).parent / "clicking.py"), *args),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self._said() == "ready"

    def go(self) -> None:
        self._tell("go")

    def stop(self) -> tuple[int, int]:
        """Return how many pages were looked at, and how many were not there."""
        self._tell("stop")
        seen, missing = self._said().split()
        return int(seen), int(missing)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def router(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A router over a ledger of a million requests."""
    folder = tmp_path_factory.mktemp("beside")
    upstream = Upstream()
    upstream.RequestHandlerClass.disable_nagle_algorithm = True  # else its two writes wait 40 ms for an acknowledgement
    config = folder / "router.yaml"
    config.write_text(upstream.config())
    (folder / "data").mkdir()
    shutil.copy(site.data / FILE, folder / "data" / FILE)
    serving = Serving(folder, str(config))
    yield serving
    serving.kill()
    upstream.shutdown()
    upstream.server_close()


def times_ms(router: Serving) -> list[float]:
    """Send requests one after the other over one connection for a while; return how long each took."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
    body, found = json.dumps({"model": "main", "messages": [{"role": "user", "content": "hello"}]}), []
    until_s = time.monotonic() + ROUND_S
    while (began_s := time.monotonic()) < until_s:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        found.append(1000 * (time.monotonic() - began_s))
        assert answer.status == 200
    connection.close()
    return found


def at(times: list[float], share: float) -> float:
    """Return a percentile, by nearest rank."""
    return sorted(times)[-(-int(share * 1000) * len(times) // 1000) - 1]


@pytest.mark.nightly
def test_traffic_does_not_notice_who_looks_at_it(router: Serving) -> None:
    times_ms(router)  # connections, files
    alone: list[float] = []
    beside: list[float] = []
    seen = missing = 0
    clicking = Clicking(router)
    try:
        for n in range(ROUNDS):
            for busy in (n % 2 == 0, n % 2 == 1):  # in turns, so that what else the machine does falls on both
                if busy:
                    clicking.go()
                (beside if busy else alone).extend(times_ms(router))
                if busy:
                    pages, lost = clicking.stop()
                    seen, missing = seen + pages, missing + lost
    finally:
        clicking.end()
    figures = [(share, at(alone, share), at(beside, share)) for share in (0.5, 0.95, 0.99)]
    told = ", ".join(f"p{100 * share:.0f} {quiet:.1f} ms alone, {busy:.1f} ms beside" for share, quiet, busy in figures)
    print(f"\n{len(alone)} and {len(beside)} requests: {told} {seen} pages in a browser over a million requests")
    assert seen >= 2 * ROUNDS and missing == 0
    _, quiet, busy = figures[2]
    assert busy <= MOST_RATIO * quiet + NOISE_MS

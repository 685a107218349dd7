"""People who look at the dashboard of a router under traffic do not slow the traffic down."""

from __future__ import annotations

import http.client
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from many_rows import fill
from serving import Serving, Upstream

pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]

ROWS, REQUESTS, PEOPLE = 100_000, 150, 3
PATHS = (
    "/",
    "/live",
    "/requests",
    "/requests?q=nowhere+at+all",
    "/usage?by=key&then=model&since=30d",
    "/usage?by=hour&since=30d",
)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Serving]:
    upstream = Upstream()
    config = tmp_path / "router.yaml"
    config.write_text(upstream.config())
    fill(tmp_path / "data", ROWS, int(time.time() * 1000))
    serving = Serving(tmp_path, str(config))
    yield serving
    serving.kill()
    upstream.shutdown()
    upstream.server_close()


def times_ms(router: Serving) -> list[float]:
    """Send requests one after the other; return how long each took."""
    found = []
    for _ in range(REQUESTS):
        began_s = time.monotonic()
        assert router.chat("main")[0] == 200
        found.append(1000 * (time.monotonic() - began_s))
    return found


def cookie(router: Serving) -> str:
    """Log in; return the cookie."""
    fields = urlencode({"credential": (router.data / "admin-token").read_text().strip(), "next": "/"})
    connection = http.client.HTTPConnection("127.0.0.1", router.admin_port, timeout=20)
    connection.request("POST", "/login", fields, {"content-type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    assert answer.status == 303
    return str(answer.getheader("set-cookie")).partition(";")[0]


def test_traffic_does_not_notice_who_looks_at_it(router: Serving) -> None:
    times_ms(router)  # connections, files
    alone = times_ms(router)
    given, done, looks = cookie(router), threading.Event(), []

    def look() -> None:
        while not done.is_set():
            for path in PATHS:
                connection = http.client.HTTPConnection("127.0.0.1", router.admin_port, timeout=20)
                connection.request("GET", path, headers={"cookie": given, "accept": "text/html"})
                looks.append(connection.getresponse().status)
                connection.close()

    people = [threading.Thread(target=look, daemon=True) for _ in range(PEOPLE)]
    for one in people:
        one.start()
    watched = times_ms(router)
    done.set()
    for one in people:
        one.join(30)
    quiet, busy = statistics.median(alone), statistics.median(watched)
    print(f"\nmedian of a request: {quiet:.1f} ms alone, {busy:.1f} ms beside {len(looks)} pages")
    assert len(looks) >= len(PATHS) and set(looks) <= {200, 503} and looks.count(200) > len(looks) / 2
    assert busy < 3 * quiet + 15  # this test's own threads take part of the machine too


def test_s06_an_address_in_a_header_gives_no_further_tries(router: Serving) -> None:
    found = [
        router.ask("/v1/usage", admin=True, authorization="Bearer wrong", **{"x-forwarded-for": f"10.0.0.{n}"})[0]
        for n in range(12)
    ]
    assert found[0] == 401 and found[-1] == 429

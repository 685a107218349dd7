"""A newer price list: fetched from where the operator says, checked, told with what it means, put in force or offered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from records import AT_MS, admitted, attempt, decided, policy, request_row, settled

from pointsman.config import price_list
from pointsman.config.price_list import ListError, PriceList, bundled, encoded, in_force
from pointsman.control.price_refresh import OFFERED, Impact, check, impacts, put_in_force, read
from pointsman.control.price_watch import FIRST_S, PriceWatch
from pointsman.core.contracts import PriceSettings
from pointsman.core.notice import Notice
from pointsman.core.policy import Listener, Policy
from pointsman.core.pricing import Rates, versioned
from pointsman.core.secret import Secret
from pointsman.core.usage import Usage
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import Batch, attempt_rows
from pointsman.stores.price_history import note_prices

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINI, NANO = "openai/gpt-5-mini", "openai/gpt-5-nano"


class Site(ThreadingHTTPServer):
    """Serve one price list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Got)
        self.body, self.status, self.asked = b"", 200, 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.json?token=canary-secret"


class _Got(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.shutdown()
    made.server_close()


def edited(prices: dict[str, dict[str, Any]], gone: str = "") -> PriceList:
    """Return the library's list with other prices of some models, and one that is gone."""
    plain = deepcopy(bundled())
    for (provider, name), model in plain.models():
        model["prices"].update(prices.get(f"{provider}/{name}", {})) if isinstance(model["prices"], dict) else None
    for provider in plain.providers:
        provider["models"] = [one for one in provider["models"] if f"{provider['id']}/{one['id']}" != gone]
    return plain


def plain(found: PriceList) -> bytes:
    """Return a list as the library's own file has it."""
    return json.dumps(json.loads(encoded(found))["providers"]).encode()


NEWER = edited({MINI: {"input_mtok": 0.2}, NANO: {"input_mtok": 0}}, gone="openai/gpt-5")


def test_what_changes_is_told_and_what_is_strange_is_held_back() -> None:
    found = check(bundled(), NEWER, NOW)
    told = {one.model: one for one in found.changes}
    assert set(told) == {MINI, NANO, "openai/gpt-5"}
    [figure] = told[MINI].figures
    assert (figure.name, figure.old, figure.new, figure.percent) == ("input", 250_000_000, 200_000_000, -20.0)
    assert told[NANO].held == "input goes to zero" and told["openai/gpt-5"].kind == "gone"
    assert found.result.held == {NANO: "input goes to zero"} and found.result.stale == {"openai/gpt-5": "2026-11-22"}
    assert check(bundled(), NEWER, NOW, (NANO,)).held == [] == check(bundled(), NEWER, NOW, ("all",)).held
    assert check(bundled(), bundled(), NOW).changes == ()


def test_a_price_that_is_to_go_to_zero_later_is_held_back_now() -> None:
    new = deepcopy(bundled())
    model = next(model for key, model in new.models() if key == ("openai", "gpt-5-mini"))
    later = {"constraint": {"start_date": "2026-12-24"}, "prices": {"input_mtok": 0, "output_mtok": 2}}
    model["prices"] = [{"prices": model["prices"]}, later]
    [change] = check(bundled(), new, NOW).changes
    assert change.held == "input goes to zero" and change.later == ("2026-12-24",)


def test_it_is_put_in_force_whole_and_the_one_before_is_kept(tmp_path: Path) -> None:
    for n in range(price_list.MOST_OLD + 3):
        put_in_force(tmp_path, msgspec.structs.replace(NEWER, origin=f"list {n}"))
    assert in_force(tmp_path / price_list.FILE).origin == f"list {price_list.MOST_OLD + 2}"
    kept = sorted((tmp_path / price_list.OLD).glob("*.json"))
    assert len(kept) == price_list.MOST_OLD and in_force(kept[-1]).origin == f"list {price_list.MOST_OLD + 1}"
    assert (tmp_path / price_list.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("status", "body", "said"), [(404, b"", "status 404"), (302, b"", "status 302"), (200, b"<html>", "is not JSON")]
)
def test_what_is_no_list_there_is_said_without_the_secret(site: Site, status: int, body: bytes, said: str) -> None:
    site.status, site.body = status, body
    with pytest.raises(ListError, match=said) as caught:
        read(site.url)
    assert "canary" not in str(caught.value) and site.asked == 1  # no redirect is followed


def test_only_safe_addresses_are_asked(tmp_path: Path) -> None:
    for url in ("http://prices.example.com/x", "ftp://prices.example.com/x", "file:///etc/passwd"):
        with pytest.raises(ListError, match="expected an https:// URL"):
            read(url)
    with pytest.raises(ListError, match="cannot be read: No such file"):
        read(str(tmp_path / "none.json"))


def in_use(origin: str, accept: Any = "auto") -> Policy:
    """Return a policy whose deployment `large` is gpt-5-mini of the list."""
    made = policy()
    price = versioned(Rates(input=250_000_000, output=2_000_000_000), "genai-prices")
    large = msgspec.structs.replace(made.deployments[1], listed=MINI, price=price)
    settings = PriceSettings(origin=Secret(origin), refresh_s=3_600.0, accept=accept)
    return msgspec.structs.replace(made, deployments=(made.deployments[0], large), listener=Listener(prices=settings))


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """A ledger with ten requests of yesterday, of 1,000,000 tokens in and 1,000 out each."""
    found = Stores(tmp_path)
    writer = found.writer()
    with writer.changing() as db:
        note_prices(db, in_use(""), AT_MS)
    batch, now_s = Batch(), (time.time_ns() // 1_000_000 - AT_MS) // 1000
    for n in range(10):
        done = settled(now_s - 86_400 - n, attempt(usage=Usage(1_000_000, 1_000)))
        batch.requests.append(request_row(admitted(now_s - 86_400 - n), done, decided().head, {}))
        batch.attempts += attempt_rows(done)
    writer.write(batch)
    writer.close()
    return found


def test_what_it_means_is_reckoned_over_the_last_thirty_days(stores: Stores) -> None:
    with stores.reader() as reader:
        found = impacts(reader, bundled(), NEWER, datetime.now(UTC))
    assert found == {MINI: Impact(10, 2_520_000_000, 2_020_000_000)}


class Watched:
    """A PriceWatch with a clock of its own, and what it tells."""

    def __init__(self, stores: Stores, policy: Callable[[], Policy]) -> None:
        self.now_s = 0.0
        self.told: list[Notice] = []
        self.watch = PriceWatch(stores, policy, self.told.append, lambda: self.now_s)

    def later(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.watch.step()


def test_on_schedule_it_comes_into_force_and_is_told_with_what_it_means(site: Site, stores: Stores) -> None:
    site.body = plain(NEWER)
    watched = Watched(stores, lambda: in_use(site.url))
    assert not watched.later(1) and site.asked == 0
    assert watched.later(FIRST_S) and site.asked == 1
    held = in_force(stores.data / price_list.FILE)
    assert dict(held.models())["openai", "gpt-5-mini"]["prices"]["input_mtok"] == Decimal("0.2")
    [notice] = watched.told
    assert notice.kind == "price" and "taken over" in notice.text and "canary" not in notice.text
    assert f"{MINI} input 0.25 -> 0.20 (-20 %), -0.50 USD over 30 days" in notice.text
    assert NANO not in notice.text  # nobody uses it
    assert (watched.watch.counts.price_refreshes, watched.watch.counts.prices_held) == (1, 1)
    assert not watched.later(3_599) and watched.later(1) and len(watched.told) == 1  # nothing new
    assert len(list((stores.data / price_list.OLD).glob("*"))) == 0


def test_by_hand_it_waits_and_is_told_once(site: Site, stores: Stores) -> None:
    site.body = plain(NEWER)
    watched = Watched(stores, lambda: in_use(site.url, "manual"))
    assert watched.later(FIRST_S) and watched.later(3_600)
    assert not (stores.data / price_list.FILE).exists() and in_force(stores.data / OFFERED).stale == {}
    [notice] = watched.told
    assert f"pointsman prices refresh --from {stores.data / OFFERED} --write" in notice.text
    found = check(bundled(), read(str(stores.data / OFFERED)), NOW)
    put_in_force(stores.data, found.result)
    assert not (stores.data / OFFERED).exists()


def test_what_cannot_be_had_is_counted_and_said_once(
    site: Site, stores: Stores, capfd: pytest.CaptureFixture[str]
) -> None:
    site.status = 500
    watched = Watched(stores, lambda: in_use(site.url))
    assert watched.later(FIRST_S) and watched.later(3_600)
    assert (watched.watch.counts.price_refresh_failures, watched.told) == (2, [])
    said = capfd.readouterr().err
    assert said.count("is answered with status 500; what was in force stays") == 1 and "canary" not in said


def test_without_a_setting_nobody_is_asked(stores: Stores) -> None:
    watched = Watched(stores, policy)
    assert not watched.later(1_000_000)

"""Records that come twice, late or out of order, prices that change meanwhile, and clocks that jump (faults 86, 88, 89)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from records import admitted, policy, settled
from serving import Serving, Upstream, until
from sim_run import play, told
from sim_scenario import Scenario, draw

from pointsman.control.pump import Pump
from pointsman.control.replay import Policies
from pointsman.core.entry import Record, encode_records
from pointsman.stores.journal import Journal
from pointsman.stores.sqlite import FILE, SqliteWriter

HOUR_MS = 3_600_000


def book(data: Path, *records: Record, incarnation: str, living: bool = False) -> Journal:
    """Write records as one worker, and have a new pump take them."""
    journal = Journal(data / "journal", incarnation, 4_000, 1 << 30)
    for record in records:
        journal.append(encode_records([record]))
    if not living:
        journal.close()
    pump(data)
    return journal


def pump(data: Path) -> None:
    """Run a pump that knows nothing but the ledger until nothing is left."""
    writer = SqliteWriter(data / FILE)
    policies = Policies(writer)
    policies.keep(policy())
    running = Pump(data / "journal", writer, policies)
    while running.step():
        pass
    writer.close()


def rows(data: Path) -> list[tuple[str, str, int, int]]:
    """Return id, outcome, charge and attempts booked of every request."""
    statement = (
        "SELECT id, outcome, charge_nano, (SELECT COUNT(*) FROM attempts WHERE request_id = requests.id) "
        "FROM requests ORDER BY id"
    )
    return list(sqlite3.connect(data / FILE).execute(statement))


def test_f89_a_settlement_that_comes_twice_counts_once(tmp_path: Path) -> None:
    again = msgspec.structs.replace(settled(0), outcome="server_error", attempts=())
    journal = book(tmp_path, admitted(0), settled(0), settled(0), again, incarnation="i1", living=True)
    once = rows(tmp_path)
    assert [(row[1], row[3]) for row in once] == [("ok", len(settled(0).attempts))] and once[0][2] > 0
    journal.append(encode_records([settled(0)]))  # and again, for a pump that was started anew
    journal.close()
    pump(tmp_path)
    book(tmp_path, settled(0), incarnation="i2")  # and out of another worker's journal
    assert rows(tmp_path) == once


def test_f89_an_end_before_its_admission_and_in_any_order_gives_one_row_each(tmp_path: Path) -> None:
    book(tmp_path, settled(1), admitted(1), admitted(0), admitted(2), settled(2), settled(0), incarnation="i1")
    found = rows(tmp_path)
    assert [row[0] for row in found] == [admitted(n).id for n in range(3)]
    assert {row[1] for row in found} == {"ok"}
    assert len({row[2] for row in found}) == 1


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    server.slow_s = 25.0  # longer than a reload takes, however slow the machine is
    yield server
    server.shutdown()
    server.server_close()


def test_f88_a_price_that_changes_meanwhile_is_not_that_of_what_runs(tmp_path: Path, upstream: Upstream) -> None:
    price = "price: {input: 1, output: 10}"
    paced = f"  paced: {{provider: up, model: paced-1, context: 8000, {price}}}\nroutes:"
    text = upstream.config().replace("routes:", paced)
    config = tmp_path / "router.yaml"
    config.write_text(text)
    router = Serving(tmp_path, str(config))
    try:
        ended: list[int] = []
        running = threading.Thread(target=lambda: ended.append(router.chat("paced", "before", stream=True)[0]))
        running.start()
        until(lambda: upstream.served == 1, 5)
        config.write_text(text.replace(price, "price: {input: 100, output: 1000}"))
        assert router.ask("/v1/config/reload", "POST", admin=True)[0] == 200
        assert router.chat("main", "after")[0] == 200
        assert not ended  # what runs began before and ends after
        upstream.goes_on.set()
        running.join()
        before, after = sorted(router.rows(2), key=lambda row: row["client_id"] != "before")
        assert ended == [200]
        assert (before["charge_nano"], after["charge_nano"]) == (200_000, 20_000_000)  # 100 tokens in, 10 out
        assert before["price_version"] != after["price_version"]
        assert before["config_version"] != after["config_version"]
    finally:
        router.kill()


def with_jumps(seed: int, *names: str) -> Scenario:
    """Return the scenario of a seed with nothing going wrong but the wall clock."""
    scenario = draw(seed)
    scenario.crashes, scenario.reloads = [], []
    for route in scenario.config["routes"].values():
        route.pop("cache", None)  # an hour is what its answers are kept for
    length_s = scenario.drain_s / (len(names) + 1)
    scenario.faults = [
        {"name": name, "provider": "p0", "start_s": length_s * (n + 1), "end_s": scenario.drain_s, "probability": 1.0}
        for n, name in enumerate(names)
    ]
    return scenario


@pytest.mark.parametrize("names", [("f86-clock-jump",), ("f86-clock-back",), ("f86-clock-back", "f86-clock-jump")])
@pytest.mark.parametrize("seed", [3, 7, 11, 19])
def test_f86_a_wall_clock_that_jumps_an_hour_changes_no_duration_and_no_answer(
    seed: int, names: tuple[str, ...]
) -> None:
    jumped, straight = play(with_jumps(seed, *names)), play(with_jumps(seed))
    assert not jumped.problems, told(jumped)
    assert all(jumped.hit[name] for name in names)
    assert jumped.requests == straight.requests
    assert jumped.virtual_s == pytest.approx(straight.virtual_s, abs=0.5)  # nothing waited for an hour to go by

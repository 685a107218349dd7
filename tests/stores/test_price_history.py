"""Prices in force and reckonings, in SQLite and PostgreSQL: noted when they change, kept beside the rows, never changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ledgers import Ledger
from records import AT_MS, admitted, attempt, decided, policy, request_row, settled

from pointsman.control.reckoning import Timeline, Wish, reckon, reckoning_of, total
from pointsman.control.replay import Policies
from pointsman.core.policy import Policy
from pointsman.core.pricing import Price, Rates, charge, versioned
from pointsman.core.usage import Usage
from pointsman.stores.ledger import Batch, LedgerError, attempt_rows, recovered_row
from pointsman.stores.price_history import note_prices, price_history, price_of_version, prices_in_force, versions_like
from pointsman.stores.reckonings import keep, reckoned, reckoning, reckonings

CHEAP = versioned(Rates(input=10**9, output=2 * 10**9), "config")
DEAR = versioned(
    Rates(input=4 * 10**9, output=8 * 10**9, cache_read=10**8), "overlay", variants={"flex": Rates(input=7, output=9)}
)
DAY_MS = 86_400_000


def at_price(price: Price | None, version: str = "v1") -> Policy:
    made = policy(version)
    mini, large = made.deployments
    return msgspec.structs.replace(
        made, deployments=(mini, msgspec.structs.replace(large, price=price, listed="lab/l"))
    )


def wish(ledger: Ledger, since_ms: int = 0, until_ms: int = 1 << 60) -> Wish:
    with ledger.reader() as reader:
        return Wish(since_ms=since_ms, until_ms=until_ms, upto_seq=reader.newest(), origin="test", actor="me")


def book(ledger: Ledger, *rows: tuple[int, Price | None, Usage, dict[str, Any]]) -> None:
    """Book a request for each: its number (seconds after AT_MS), the price that it was charged at, what it used."""
    batch = Batch()
    for n, price, usage, more in rows:
        tier = more.pop("tier", None)
        cost = charge(usage, price, tier)
        sent = attempt(
            usage=usage,
            charge_nano=-1 if cost.nano is None else cost.nano,
            charge_state=cost.state,
            price_version=price.version if price else "",
            **more,
        )
        done = settled(n, sent)
        batch.requests.append(request_row(admitted(n), done, decided().head, {}))
        batch.attempts += attempt_rows(done)
    ledger.writer().write(batch)


def test_a_price_is_noted_when_it_changes_and_only_then(ledger: Ledger) -> None:
    writer = ledger.writer()
    for n, price in enumerate((CHEAP, CHEAP, DEAR, None, CHEAP)):
        with writer.changing() as db:
            note_prices(db, at_price(price, f"v{n}"), AT_MS + n)
    with ledger.reader() as reader:
        found = price_history(reader.ask, "large")
        assert [(one.at_ms - AT_MS, one.version, one.config_version) for one in found] == [
            (0, CHEAP.version, "v0"),
            (2, DEAR.version, "v2"),
            (3, "", "v3"),
            (4, CHEAP.version, "v4"),
        ]
        assert [one.price for one in found] == [CHEAP, DEAR, None, CHEAP]
        assert price_history(reader.ask, "large-1") == price_history(reader.ask, "lab/l") == found
        assert price_history(reader.ask, "nothing") == []
        now = {one.deployment: one.version for one in prices_in_force(reader.ask)}
        assert now == {"large": CHEAP.version, "mini": ""}
        noted = price_of_version(reader.ask, DEAR.version)
        assert noted is not None and noted.price == DEAR and noted.at_ms == AT_MS + 2
        assert versions_like(reader.ask, DEAR.version.partition("#")[2][:5]) == [DEAR.version]
        assert versions_like(reader.ask, "zz") == versions_like(reader.ask, "") == []


def test_a_config_version_that_is_kept_notes_its_prices(ledger: Ledger) -> None:
    Policies(ledger.writer()).keep(at_price(DEAR))
    with ledger.reader() as reader:
        assert {one.deployment: one.price for one in prices_in_force(reader.ask)} == {"large": DEAR, "mini": None}


USED = Usage(1_000, 500, 200)


def test_the_same_prices_give_the_same_charges_whatever_the_service_tier(ledger: Ledger) -> None:
    with ledger.writer().changing() as db:
        note_prices(db, at_price(DEAR), AT_MS)
    rows = [
        (n, DEAR, Usage(n * 997 % 5_000, n * 31 % 700), {"tier": "flex" if n % 3 == 0 else None}) for n in range(1, 60)
    ]
    book(ledger, *rows)
    with ledger.reader() as reader:
        made = reckon(reader, wish(ledger), Timeline([(0, {"large": DEAR})]))
        sums = total(made.lines())
        assert sums.booked_nano == sums.reckoned_nano > 0 and (sums.attempts, sums.assumed) == (59, 0)
        assert sums.booked_nano == sum(row["charge_nano"] for row in reader.recent(100))


def test_what_had_no_price_gets_one_and_no_row_is_changed(ledger: Ledger) -> None:
    book(ledger, (1, None, USED, {}), (2, CHEAP, USED, {}), (3, None, Usage(source="unknown"), {}))
    with ledger.reader() as reader:
        before = reader.recent(10)
        made = reckon(reader, wish(ledger), Timeline([(0, {"large": CHEAP})]))
        lines = made.lines()
        [line] = lines
        cost = charge(USED, CHEAP).nano
        assert cost is not None and cost == 2_000_000
        assert (line.sums.booked_nano, line.sums.booked_unpriced) == (cost, 2)
        assert (line.sums.newly_priced, line.sums.newly_priced_nano, line.sums.unpriced) == (1, cost, 1)
        assert line.sums.reckoned_nano == 2 * cost
        head = reckoning_of(made, wish(ledger), AT_MS)
        with ledger.writer().changing() as db:
            keep(db, head, lines)
        assert reader.recent(10) == before
    with ledger.reader() as reader:
        assert reckonings(reader.ask) == [head] and reckoning(reader.ask, head.id[:8]) == head
        assert reckoned(reader.ask, head.id) == lines and reckoning(reader.ask, "rck_zz") is None
    assert head.difference_nano == cost


@pytest.mark.parametrize(
    "statement", ["UPDATE reckonings SET booked_nano = 1", "DELETE FROM reckonings", "DELETE FROM reckoning_sums"]
)
def test_what_was_reckoned_is_not_changed(ledger: Ledger, statement: str) -> None:
    book(ledger, (1, CHEAP, USED, {}))
    with ledger.reader() as reader:
        made = reckon(reader, wish(ledger), Timeline([(0, {"large": DEAR})]))
    writer = ledger.writer()
    with writer.changing() as db:
        keep(db, reckoning_of(made, wish(ledger), AT_MS), made.lines())
    with pytest.raises(LedgerError, match="what was reckoned is not"), writer.changing() as db:
        db.execute(statement)


def test_each_attempt_has_the_price_of_its_moment_and_of_its_deployment_or_model(ledger: Ledger) -> None:
    day_s = DAY_MS // 1000
    book(
        ledger,
        (0, CHEAP, USED, {}),
        (day_s, CHEAP, USED, {}),
        (2 * day_s, CHEAP, USED, {"deployment": "renamed"}),
        (3 * day_s, CHEAP, USED, {"deployment": "gone", "model": "gone-1"}),
    )
    parts = [(AT_MS + 1_000, {"large": DEAR, "lab/large-1": DEAR}), (0, {"large": CHEAP})]
    with ledger.reader() as reader:
        found = {line.day: line.sums for line in reckon(reader, wish(ledger), Timeline(parts)).lines()}
        some = reckon(reader, wish(ledger, AT_MS + DAY_MS, AT_MS + 2 * DAY_MS), Timeline(parts)).lines()
    cheap, dear = charge(USED, CHEAP).nano, charge(USED, DEAR).nano
    assert [one.reckoned_nano for one in found.values()] == [cheap, dear, dear, 0]
    assert [one.unpriced for one in found.values()] == [0, 0, 0, 1] and len(some) == 1
    assert [one.assumed for one in found.values()] == [1, 1, 1, 0]  # the history has no such version


def test_what_no_provider_bills_stays_free_and_the_dead_keep_their_estimate(ledger: Ledger) -> None:
    batch = Batch()
    free = attempt(outcome="unreachable", usage=Usage(source="unknown"), charge_nano=0, charge_state="measured")
    done = settled(1, free, attempt(usage=USED, charge_nano=5, price_version=""))
    batch.requests = [
        request_row(admitted(1), done, decided().head, {}),
        recovered_row(admitted(2), decided().head, {}),
    ]
    batch.attempts = attempt_rows(done)
    ledger.writer().write(batch)
    with ledger.reader() as reader:
        sums = total(reckon(reader, wish(ledger), Timeline([(0, {"large": DEAR})])).lines())
        held = next(row["charge_nano"] for row in reader.recent(5) if row["recovered"])
    dear = charge(USED, DEAR).nano
    assert dear is not None
    assert sums.reckoned_nano == dear + held and (sums.attempts, sums.carried, sums.unpriced) == (3, 1, 0)


def test_more_requests_than_a_page_are_all_reckoned(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.stores.reckonings.PAGE", 7)
    book(ledger, *[(n, CHEAP, USED, {}) for n in range(50)])
    with ledger.reader() as reader:
        assert total(reckon(reader, wish(ledger), Timeline([(0, {"large": CHEAP})])).lines()).attempts == 50

"""Two data folders with one database, in this process: what is published of the key store, what is owed to the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from records import policy

from pointsman.control import keystore
from pointsman.control.keeper import Keeper
from pointsman.control.replay import Policies
from pointsman.core.secret import Secret
from pointsman.stores import callers_file
from pointsman.stores.callers import Unavailable
from pointsman.stores.choose import Stores, stores_at
from pointsman.stores.ledger import LedgerAway
from pointsman.stores.ledger_postgres import PostgresWriter
from servers import PASSWORD, PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.database()
    if not postgres.is_running:
        postgres.start()


@pytest.fixture
def pair(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Stores, Stores]:
    monkeypatch.setenv("POINTSMAN_PEPPER", "p" * 43)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return Stores(tmp_path / "here", Secret(url), Secret(url)), Stores(tmp_path / "there", Secret(url), Secret(url))


def kept(stores: Stores) -> tuple[Keeper, list[int]]:
    failures: list[int] = []
    return Keeper(stores, lambda: failures.append(1)), failures


def names(stores: Stores) -> set[str]:
    return {key.name for key in callers_file.read(stores.data).keys}


def test_what_one_router_changes_the_other_publishes(
    pair: tuple[Stores, Stores], postgres: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    here, there = pair
    keeper, failures = kept(there)
    keeper.step()
    assert names(there) == set() and not callers_file.read(there.data).closed
    with keystore.acting(here, "me") as acting:
        acting.add_key("dev")
    keeper.step()
    assert names(here) == names(there) == {"dev"} and callers_file.read(there.data).closed
    postgres.kill()
    keeper.step()
    keeper.step()
    assert names(there) == {"dev"} and len(failures) == 2  # what is known goes on
    postgres.start()
    with keystore.acting(here, "me") as acting:
        acting.add_key("more")
    keeper.step()
    keeper.step()
    assert names(there) == {"dev", "more"}
    keeper.close()
    assert PASSWORD not in capfd.readouterr().err


def test_what_was_published_of_another_store_does_not_stay(pair: tuple[Stores, Stores]) -> None:
    here, _ = pair
    alone = Stores(here.data)
    with keystore.acting(alone, "me") as acting:
        acting.add_key("old")
    with keystore.acting(Stores(pair[1].data, here.ledger, here.callers), "me") as acting:
        acting.add_key("new")  # the same number of changes
    keeper, _ = kept(here)
    keeper.step()
    assert names(here) == {"new"}
    keeper.close()


def test_a_router_with_a_pepper_of_its_own_is_refused(
    pair: tuple[Stores, Stores], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.delenv("POINTSMAN_PEPPER")
    keystore.opened(here, create=True).close()  # makes the file `pepper`, as there is no store yet
    with pytest.raises(Unavailable, match="its pepper is missing: bring back"):
        keystore.opened(there, create=True)
    (there.data / "pepper").write_text("q" * 43)
    with pytest.raises(Unavailable, match="another pepper"):
        keystore.opened(there, create=True)
    assert not (there.data / callers_file.PUBLISHED).exists()


def test_a_policy_is_owed_while_the_ledger_is_away(
    pair: tuple[Stores, Stores], postgres: PostgresServer, url: str
) -> None:
    here, _ = pair
    with contextlib.closing(PostgresWriter(url, "x")) as writer:
        policies = Policies(writer, here.data / "owed")
        policies.settle()
        postgres.kill()
        policies.keep(policy())
        assert [path.name for path in (here.data / "owed").iterdir()] == ["v1"]
        assert b"canary" not in (here.data / "owed" / "v1").read_bytes()
        with pytest.raises(LedgerAway):
            policies.settle()
        postgres.start()
        policies.settle()
        assert writer.policy("v1") is not None and not list((here.data / "owed").iterdir())


def test_commands_find_stores_by_a_note_without_passwords(pair: tuple[Stores, Stores], url: str) -> None:
    here, _ = pair
    assert stores_at(here.data, {}) == Stores(here.data)
    here.note()
    found = stores_at(here.data, {})
    assert found.ledger.reveal() == found.callers.reveal() == url.replace(f":{PASSWORD}@", "@")
    assert stores_at(here.data, {"POINTSMAN_LEDGER": url}).ledger == here.ledger
    Stores(here.data).note()
    assert stores_at(here.data, {}) == Stores(here.data)
    with pytest.raises(ValueError, match="POINTSMAN_CALLERS is no URL"):
        stores_at(here.data, {"POINTSMAN_CALLERS": f"mysql://u:{PASSWORD}@h/d"})

"""What only stores in PostgreSQL do: several processes at once, a server that fails or hangs, and what is said of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from records import admitted, attempt, feedback, request_row, settled

from pointsman.stores import ledger_postgres
from pointsman.stores import postgres as link_module
from pointsman.stores.audit import broken_at
from pointsman.stores.callers import MOST_LISTED, Page, Unavailable
from pointsman.stores.callers_postgres import PostgresCallers
from pointsman.stores.ledger import (
    Batch,
    LedgerAway,
    LedgerError,
    LedgerMissing,
    Mark,
    attempt_rows,
    feedback_row,
)
from pointsman.stores.ledger_postgres import PostgresReader, PostgresWriter
from pointsman.stores.ledger_schema import MIGRATIONS
from pointsman.stores.postgres import Link, LinkError, shown
from servers import PASSWORD, PostgresServer

PEPPER = b"p" * 43
AT_ONCE = 4

OPEN = """
import sys
from pointsman.stores.ledger_postgres import PostgresWriter
from pointsman.stores.callers_postgres import PostgresCallers
url, name = sys.argv[1:]
sys.stdin.readline()
writer = PostgresWriter(url, name)
assert writer.marks() == {}
writer.close()
PostgresCallers(url, b"p" * 43).close()
"""

CHANGE = """
import sys
from pointsman.stores.callers_postgres import PostgresCallers
url, name = sys.argv[1:]
store = PostgresCallers(url, b"p" * 43)
sys.stdin.readline()
for n in range(30):
    store.acting(name).add_key(f"{name}-{n}")
store.close()
"""


def at_once(code: str, url: str, count: int) -> None:
    """Run a program as so many processes that begin together."""
    running = [
        subprocess.Popen([sys.executable, "-c", code, url, f"p{n}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for n in range(count)
    ]
    for one in running:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    for one in running:
        _, said = one.communicate(timeout=60)
        assert one.returncode == 0, said.decode()


def requests(*numbers: int, **more: object) -> Batch:
    made = Batch()
    for n in numbers:
        ended = settled(n, attempt())
        made.requests.append(request_row(admitted(n, **more), ended, None, {}))
        made.attempts += attempt_rows(ended)
    return made


@pytest.fixture
def writer(postgres_url: str) -> Iterator[PostgresWriter]:
    made = PostgresWriter(postgres_url, "here")
    yield made
    made.close()


@pytest.fixture
def failing(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """The server, for a test that lets it fail; waits are short."""
    monkeypatch.setattr(ledger_postgres, "WRITE_S", 0.5)
    monkeypatch.setattr(link_module, "CONNECT_S", 0.5)
    monkeypatch.setattr(link_module, "GRACE_S", 0.2)
    yield postgres
    postgres.thaw()
    if not postgres.is_running:
        postgres.start()


def test_several_processes_start_at_once_on_an_empty_database(postgres: PostgresServer, postgres_url: str) -> None:
    at_once(OPEN, postgres_url, AT_ONCE)
    name = postgres_url.rpartition("/")[2]
    assert postgres.sql("SELECT number FROM pointsman_ledger.version", name) == str(len(MIGRATIONS))
    assert postgres.sql("SELECT count(*) FROM pointsman_callers.meta WHERE name = 'pepper'", name) == "1"


def test_s24_the_audit_log_stays_one_chain_when_several_processes_write_it(postgres_url: str) -> None:
    at_once(CHANGE, postgres_url, 2)
    with PostgresCallers(postgres_url, PEPPER) as store:
        acting = store.acting("me")
        rows = acting.audit(Page(0, MOST_LISTED))
        assert len(rows) == 60 and broken_at(rows) == (0, rows[-1].hash)
        assert {row.actor for row in rows} == {"p0", "p1"} and store.revision() == 60


def test_s24_the_database_takes_no_change_of_the_log(postgres_url: str) -> None:
    with PostgresCallers(postgres_url, PEPPER) as store:
        store.acting("me").add_key("dev")
    link = Link(postgres_url, "pointsman_callers", limit_s=5)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(LinkError, match="append-only"):
            link.execute(statement)
    link.close()


def test_a_key_store_is_refused_that_is_newer_or_of_another_pepper(postgres: PostgresServer, postgres_url: str) -> None:
    PostgresCallers(postgres_url, PEPPER).close()
    with pytest.raises(Unavailable, match="another pepper"):
        PostgresCallers(postgres_url, b"q" * 43)
    postgres.sql("UPDATE pointsman_callers.version SET number = 99", postgres_url.rpartition("/")[2])
    with pytest.raises(Unavailable, match="newer version of pointsman"):
        PostgresCallers(postgres_url, PEPPER)


def test_marks_are_those_of_one_data_folder(writer: PostgresWriter, postgres_url: str) -> None:
    other = PostgresWriter(postgres_url, "there")
    writer.write(Batch(marks={"a.1.pmj": Mark(10)}))
    other.write(Batch(marks={"a.1.pmj": Mark(20, 1), "b.1.pmj": Mark(5)}))
    assert writer.marks() == {"a.1.pmj": Mark(10)} and other.marks() == {"a.1.pmj": Mark(20, 1), "b.1.pmj": Mark(5)}
    writer.forget(["a.1.pmj", "b.1.pmj"])
    assert writer.marks() == {} and len(other.marks()) == 2
    other.close()


def test_i02_what_two_routers_write_is_there_once(writer: PostgresWriter, postgres_url: str) -> None:
    other = PostgresWriter(postgres_url, "there")
    assert writer.write(requests(0, 1)) == 2 and other.write(requests(1, 2)) == 1
    assert writer.write(requests(3, 3)) == 1  # also within one batch
    with PostgresReader(postgres_url) as reader:
        assert [row["id"] for row in reader.recent(9)] == [admitted(n).id for n in range(4)]
    other.close()


def test_who_follows_the_rows_misses_none_while_several_write(postgres_url: str) -> None:
    def write(name: str, first: int) -> None:
        with contextlib.closing(PostgresWriter(postgres_url, name)) as mine:
            for n in range(first, first + 400, 4):
                mine.write(requests(n, n + 1, n + 2, n + 3))

    PostgresWriter(postgres_url, "first").marks()
    threads = [threading.Thread(target=write, args=(f"w{n}", n * 1_000)) for n in range(3)]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    last = 0
    with PostgresReader(postgres_url) as reader:
        while len(seen) < 1_200:
            alive = any(thread.is_alive() for thread in threads)
            found = reader.recent(50, after=last)
            seen += [row["id"] for row in found]
            last = found[-1]["seq"] if found else last
            assert alive or found, len(seen)
    assert len(set(seen)) == 1_200
    for thread in threads:
        thread.join()


def test_a_character_that_the_database_cannot_hold_stops_nothing(writer: PostgresWriter, postgres_url: str) -> None:
    batch = requests(0, client_id="a\0b", session="\0")
    batch.feedback.append(feedback_row(feedback(0, comment="c\0")))
    assert writer.write(batch) == 1
    with PostgresReader(postgres_url) as reader:
        [row] = reader.recent(1)
        assert (row["client_id"], row["session"]) == ("a\ufffdb", "\ufffd") and reader.feedback_counts(0).given == 1


@pytest.mark.parametrize("fail", [PostgresServer.kill, PostgresServer.freeze], ids=["killed", "frozen"])
def test_a_server_that_is_away_is_said_in_time_and_found_again(
    failing: PostgresServer, fail: Callable[[PostgresServer], None]
) -> None:
    url = failing.database()
    writer = PostgresWriter(url, "here")
    assert writer.write(requests(0)) == 1
    fail(failing)
    for _ in range(3):
        began_s = time.monotonic()
        with pytest.raises(LedgerAway) as raised:
            writer.write(requests(0, 1))
        assert time.monotonic() - began_s < 2 and PASSWORD not in str(raised.value)
        assert f"127.0.0.1:{failing.port}" in str(raised.value)
    with pytest.raises(LedgerAway):
        PostgresReader(url, limit_s=0.5)
    with pytest.raises(Unavailable):
        PostgresCallers(url, PEPPER)
    failing.thaw()
    if not failing.is_running:
        failing.start()
    until_s = time.monotonic() + 60
    while True:
        try:
            writer.write(requests(0, 1))
            break
        except LedgerAway:
            assert time.monotonic() < until_s
    with PostgresReader(url) as reader:
        assert [row["id"] for row in reader.recent(9)] == [admitted(0).id, admitted(1).id]
    writer.close()


def test_a_connection_that_is_lost_within_a_transaction_commits_nothing(failing: PostgresServer) -> None:
    with PostgresCallers(failing.database(), PEPPER) as store:

        def change() -> None:
            with store.change() as db:
                db.execute("SELECT 1")
                failing.kill()
                failing.start()
                db.execute("SELECT 1")

        with pytest.raises(Unavailable):
            change()
        assert store.revision() == 0 and store.acting("me").audit() == []


def test_s07_what_is_refused_is_said_without_the_password(postgres: PostgresServer, postgres_url: str) -> None:
    wrong = postgres_url.replace(PASSWORD, "canary-password")
    nowhere = postgres_url.rpartition("/")[0] + "/nowhere"
    odd = postgres_url + "?sslmode=canary-mode"
    unknown = "postgresql://u:canary-password@no-such-host.invalid/db"
    for url, expected in (
        (wrong, "password authentication failed"),
        (nowhere, "does not exist"),
        (odd, "sslmode"),
        (unknown, "no-such-host.invalid"),
    ):
        writer = PostgresWriter(url, "here")
        with pytest.raises(LedgerError, match=expected) as raised:
            writer.marks()
        assert PASSWORD not in repr(raised.value) and "canary-password" not in repr(raised.value)
        assert raised.value.__cause__ is None and raised.value.__suppress_context__
        writer.close()
    with pytest.raises(LedgerMissing, match="there is no ledger at postgresql://postgres@127"):
        PostgresReader(postgres_url)
    assert shown("postgresql://u:canary@h:1/d?password=canary") == "postgresql://u@h:1/d"


def test_a_missing_driver_is_said_with_what_to_do(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    writer = PostgresWriter(postgres_url, "here")
    with pytest.raises(LedgerError, match=r"pip install 'pointsman\[postgres\]'"):
        writer.marks()
    writer.close()

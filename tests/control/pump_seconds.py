"""What the tests of the pump's second process share: journals to book, ledgers to compare, and small pieces in every process.

Run as a module it is one of the processes: the first one with a data folder as its argument, the second one without.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledgers import SqliteLedger
from records import AT_MS, admitted, attempt, feedback, id_of, policy, settled

from pointsman.control import second, second_main
from pointsman.control import segment as segment_module
from pointsman.control.main import PumpThread
from pointsman.control.pump import Pump
from pointsman.control.replay import Policies, decision_again
from pointsman.control.second import Second
from pointsman.core.entry import Record, encode_records
from pointsman.core.footprint import Footprint, Signals
from pointsman.core.log import LogSettings
from pointsman.stores.journal import Journal
from pointsman.stores.ledger import SHOWN_COLUMNS
from pointsman.stores.sqlite import FILE, SqliteWriter

WITHIN_S = 60.0  # for what takes a second on a quiet machine
JOURNALS = 6
REQUESTS = 6_000
SMALL_BYTES = 16 * 1024  # of a piece: some dozens in each journal
HERE = Path(__file__).parent
PATHS = (HERE, HERE.parent / "stores", HERE.parent)


def until(true: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait until something is so; AssertionError when it is not in time."""
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, f"nothing came within {within_s} s"
        time.sleep(0.005)


def watched() -> Any:
    """Return the policy of the tests, with signals."""
    made = policy()
    routes = {name: msgspec.structs.replace(route, signals=Signals()) for name, route in made.routes.items()}
    return msgspec.structs.replace(made, routes=routes)


def happened(n: int) -> Iterator[Record]:
    """Yield what request number `n` leaves: one of 50 does not end, one of 10 is sent twice, one of 20 is judged, and one of 12
    is asked again by the next one, which another worker gets."""
    at_ms, seen = AT_MS - 430_000 + n * 10, None
    if n % 12 < 2:
        who = (n - n % 12).to_bytes(8, "big")
        seen = Footprint(who, b"whole", b"past", b"", b"", named=True, again=False, patience_ms=0)
    caller = (f"key-{n // 12 % 7}", "site", "web", "acme")
    yield admitted(n, at_ms=at_ms, caller=caller, footprint=seen)
    if n % 50 != 7:
        sends = (attempt(outcome="timeout", status=504), attempt()) if n % 10 == 3 else (attempt(),)
        yield settled(n, *sends, at_ms=at_ms + 5)
    if n % 20 == 4:
        yield feedback(n)


def opened(data: Path, segment_bytes: int = 300_000) -> list[Journal]:
    """Return the journals of workers that live, with what happened to all requests in turn, and the policy in the ledger."""
    data.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    journals = [Journal(data / "journal", f"i{n}", segment_bytes, 1 << 30) for n in range(JOURNALS)]
    late: list[list[Record]] = [[] for _ in journals]
    for n in range(REQUESTS):
        first, *rest = happened(n)
        waiting = late[n % JOURNALS]
        journals[n % JOURNALS].append(encode_records([first, *waiting]))
        waiting[:] = rest
        if chance.random() < 0.5:
            journals[n % JOURNALS].append(encode_records(waiting)) if waiting else None
            waiting.clear()
    for journal, waiting in zip(journals, late, strict=True):
        if waiting:
            journal.append(encode_records(waiting))
    writer = SqliteWriter(data / FILE)
    Policies(writer).keep(watched())
    writer.close()
    return journals


def close(journals: list[Journal]) -> None:
    for journal in journals:
        journal.close()


def pump_of(data: Path) -> tuple[Pump, SqliteWriter]:
    writer = SqliteWriter(data / FILE)
    return Pump(data / "journal", writer, Policies(writer)), writer


def alone(data: Path) -> Pump:
    """Book all there is with one process."""
    pump, writer = pump_of(data)
    while pump.step():
        pass
    writer.close()
    assert pump.counts.errors == 0
    return pump


def second_of(pump: Pump, data: Path, may: Callable[[], bool] = lambda: True) -> Second:
    return Second(pump, str(data), LogSettings, may)


def together(pump: Pump, other: Second, each: Callable[[], object] = lambda: None) -> None:
    """Book all there is with both; `each` is called after each step."""
    end_s = time.monotonic() + WITHIN_S
    while pump.step() or other.pid:
        other.look()
        each()
        assert time.monotonic() < end_s
        if not pump.behind:
            time.sleep(0.001)
    assert pump.counts.errors == 0


def books(data: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the ledger of a folder says, whatever the order it was booked in; without what is told by numbers."""
    ledger = SqliteLedger(data / FILE)
    shown = ", ".join(SHOWN_COLUMNS)
    found = {"requests": ledger.ask(f"SELECT {shown} FROM requests ORDER BY id")}
    for table in ("sends", "feedback", "hours", "days", "footprints", "marks"):
        found[table] = sorted(ledger.ask(f"SELECT * FROM {table}"), key=repr)
    found["feedback"] = sorted([row[1:] for row in found["feedback"]], key=repr)  # seq
    with ledger.reader() as reader:
        for n in range(0, REQUESTS, 97):
            entry = reader.entry(id_of(n))
            assert entry is not None
            assert decision_again(entry) is not None
    kept = ledger.ask("SELECT COUNT(*), COUNT(DISTINCT id), MAX(seq) FROM requests")
    assert kept == [(REQUESTS, REQUESTS, REQUESTS)]
    ledger.close()
    return found


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "journal").iterdir())


def make_small() -> None:
    """Read pieces so small that each journal has many, and lend what is worth none."""
    segment_module.PIECE_BYTES = second.PIECE_BYTES = SMALL_BYTES
    second.WORTH_BYTES, second.STEPS = SMALL_BYTES, 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those that it starts be as `make_small` says."""
    for module, name in ((segment_module, "PIECE_BYTES"), (second, "PIECE_BYTES")):
        monkeypatch.setattr(module, name, 0)
    for name in ("WORTH_BYTES", "STEPS"):
        monkeypatch.setattr(second, name, 0)
    make_small()  # what it sets is taken back with the rest
    monkeypatch.setattr(second, "MODULE", "pump_seconds")
    source = str(Path(second.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, *map(str, PATHS)]))


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the journals of workers that are dead."""
    data = tmp_path_factory.mktemp("journals")
    close(opened(data))
    return data


@pytest.fixture(scope="module")
def expected(journals: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """What one process books from them."""
    data = tmp_path_factory.mktemp("expected") / "data"
    shutil.copytree(journals, data)
    alone(data)
    found = books(data)
    assert found["marks"] == [] and len(found["feedback"]) > REQUESTS // 20  # signals too
    return found


@pytest.fixture
def data(journals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(journals, tmp_path / "data"))


def _first(data: Path) -> None:
    """Be the thread of a control process, and say the number of the second process; 0: there was no more to do for one."""
    make_small()
    second.MODULE = "pump_seconds"
    pump, _ = pump_of(data)
    thread = PumpThread(pump, data)
    thread.second = second_of(pump, data)
    thread.start()
    other = thread.second
    until(lambda: other.pid or (pump.counts.up and pump.unread and not any(pump.unread.values())))
    print(other.pid, flush=True)
    thread.join()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _first(Path(sys.argv[1]))
    else:
        make_small()
        second_main.main()

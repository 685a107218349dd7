"""The books write what came in one turn together; a record that is large must not take others' with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.core.entry import Admitted, decode_records
from pointsman.core.request import Features, Request
from pointsman.core.strategy import Detail, Snapshot
from pointsman.gateway.books import Books
from pointsman.observe.metrics import Metrics
from pointsman.stores.journal import Journal, JournalError, read_all

KB = 1024


class Waiting:
    """Note whether its record was booked."""

    def __init__(self) -> None:
        self.said = ""

    def booked(self) -> None:
        self.said = "booked"

    def unbooked(self, error: JournalError) -> None:
        self.said = f"refused: {error}"


def record(number: int, size: int) -> Admitted:
    detail = Detail({"request.metadata": {"k": "v" * size}})
    request = Request(f"req_{number}", "chat", "r", Features(1), 0.0, 1.0)
    return Admitted(request, "", 0, ("k", "", "", ""), "r", Snapshot("v1", 0.0, 0.5, (), False, detail))


async def turn(folder: Path, sizes: list[int]) -> list[str]:
    """Book records of these sizes in one turn; return what each was told."""
    journal = Journal(folder, "w-1", 64 * KB * KB, 1024 * KB * KB)
    books = Books(journal, Metrics())
    waiting = [Waiting() for _ in sizes]
    for number, (size, one) in enumerate(zip(sizes, waiting, strict=True)):
        books.admit(record(number, size), one)
    books.turn()
    journal.close()
    return [one.said for one in waiting]


async def test_many_large_records_of_one_turn_are_all_booked(tmp_path: Path) -> None:
    assert await turn(tmp_path, [400 * KB] * 30) == ["booked"] * 30
    found = [one.id for payload in read_all(tmp_path) for one in decode_records(payload)]
    assert found == [f"req_{n}" for n in range(30)]


async def test_one_record_that_is_too_large_is_refused_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = await turn(tmp_path, [1, 1, 5 * KB * KB, 1])
    assert [one.partition(":")[0] for one in said] == ["booked", "booked", "refused", "booked"]
    found = [one.id for payload in read_all(tmp_path) for one in decode_records(payload)]
    assert found == ["req_0", "req_1", "req_3"]
    capfd.readouterr()

"""Stored bodies on the disk: sealed, found, deleted one by one and in time, bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.stores import bodies as module
from pointsman.stores.bodies import Bodies, Body, until_of

AT_MS = 1_795_000_000_000
WHO = ("dev", "site", "web", "acme")
SECRET = "canary-of-a-body"


def body(n: int, ttl_s: float = 3_600.0, at_ms: int = AT_MS, text: str = SECRET) -> Body:
    return Body(f"req_{n}", at_ms, until_of(at_ms, ttl_s), WHO, "r", "ok", f"{text} {n}", "yes")


def test_what_was_added_is_found_by_anybody_with_the_key(tmp_path: Path) -> None:
    Bodies(tmp_path, "1").add([body(1), body(2)])
    Bodies(tmp_path, "2").add([body(3)])
    assert [Bodies(tmp_path).find(f"req_{n}") for n in (1, 2, 3, 4)] == [body(1), body(2), body(3), None]
    files = Bodies(tmp_path).files()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "bodies", *files))
    assert all(SECRET.encode() not in path.read_bytes() for path in files)


def test_another_key_reads_nothing(tmp_path: Path) -> None:
    Bodies(tmp_path).add([body(1)])
    (tmp_path / module.KEY_FILE).unlink()
    assert Bodies(tmp_path).find("req_1") is None


def test_without_the_library_they_are_plain_and_still_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "encrypts", lambda: False)
        Bodies(tmp_path).add([body(1)])
    Bodies(tmp_path).add([body(2)])
    assert [Bodies(tmp_path).find(f"req_{n}") for n in (1, 2)] == [body(1), body(2)]


@given(st.integers(0, 1 << 42), st.floats(1.0, 90 * 86_400.0))
def test_no_body_outlives_its_time(at_ms: int, ttl_s: float) -> None:
    until_ms = until_of(at_ms, ttl_s)
    assert at_ms + ttl_s * 1000 * 0.85 <= until_ms <= at_ms + ttl_s * 1000


def test_files_go_when_their_time_has_come(tmp_path: Path) -> None:
    kept = Bodies(tmp_path)
    kept.add([body(1, ttl_s=60.0), body(2, ttl_s=3_600.0)])
    assert kept.expire(AT_MS + 50_000) == 0
    assert kept.expire(AT_MS + 60_000) == 1
    assert (kept.find("req_1"), kept.find("req_2")) == (None, body(2))


def test_deleting_one_leaves_the_others_and_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "encrypts", lambda: False)
    kept = Bodies(tmp_path)
    kept.add([body(n) for n in range(5)])
    assert kept.delete(lambda one: one.id == "req_2") == 1
    assert [n for n in range(5) if kept.find(f"req_{n}") is None] == [2]
    assert f"{SECRET} 2".encode() not in kept.files()[0].read_bytes()


def test_the_oldest_go_first_when_there_is_no_room(tmp_path: Path) -> None:
    kept = Bodies(tmp_path)
    for n in range(4):
        kept.add([body(n, at_ms=AT_MS + n * 3_600_000, ttl_s=86_400.0, text="x" * 10_000)])
    assert kept.bound(25_000) == 2
    assert [n for n in range(4) if kept.find(f"req_{n}")] == [2, 3]
    assert kept.purge() == 2 and kept.files() == []


def test_a_frame_that_is_cut_or_changed_hides_no_other(tmp_path: Path) -> None:
    kept = Bodies(tmp_path)
    kept.add([body(1), body(2)])
    path = kept.files()[0]
    data = bytearray(path.read_bytes())
    data[40] ^= 1  # in the first
    path.write_bytes(bytes(data) + b"\0\0\1\0half")
    assert (kept.find("req_1"), kept.find("req_2")) == (None, body(2))


def test_deleting_while_others_add_loses_nothing(tmp_path: Path) -> None:
    def add(k: int) -> None:
        for n in range(20):
            Bodies(tmp_path, "1").add([body(k * 100 + n)])

    adders = [threading.Thread(target=add, args=(k,)) for k in (1, 2)]
    Bodies(tmp_path, "1").add([body(1)])
    for one in adders:
        one.start()
    while any(one.is_alive() for one in adders):
        Bodies(tmp_path).delete(lambda one: one.id == "req_1")
    found = [n for k in (1, 2) for n in range(k * 100, k * 100 + 20) if Bodies(tmp_path).find(f"req_{n}") is None]
    assert found == []

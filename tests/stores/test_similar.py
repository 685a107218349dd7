"""Where questions are kept: memory and files, their bounds, what a kill leaves, and what several workers see of each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.core.embedding import local
from pointsman.core.policy import Semantic
from pointsman.stores import similar
from pointsman.stores.similar import Entry, Similar
from pointsman.stores.trusts import Trusts, all_trusts

NOW = int(time.time() * 1000)
SHARE, OTHER = "a" * 24, "b" * 24
SEMANTIC = Semantic(threshold=0.8, wrong_hits=0.01)


def entry(name: str, text: str = "hello there", bucket: str = "b", until_ms: int = NOW + 60_000) -> Entry:
    return Entry(name, bucket, text, local(text).tobytes(), until_ms)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Similar]:
    made = Similar(tmp_path / "similar")
    yield made
    made.close()


def names(store: Similar, text: str = "hello there", share: str = SHARE, least: float = 0.9) -> list[str]:
    return [near.entry.name for near in store.near(share, "b", local(text), least, NOW)]


def test_what_is_near_is_found_the_nearest_first(store: Similar) -> None:
    for name, text in (("far", "something else"), ("near", "hello there you"), ("same", "Hello there!")):
        store.put(SHARE, entry(name, text), 10)
    store.put(SHARE, entry("elsewhere", bucket="c"), 10)
    store.put(SHARE, entry("over", until_ms=NOW), 10)
    assert names(store, least=0.5) == ["same", "near"] and names(store, share=OTHER) == []


def test_one_look_compares_so_much_and_the_newest(store: Similar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "MOST_NUMBERS", 3 * 256)
    for n in range(5):
        store.put(SHARE, entry(str(n)), 10)
    assert sorted(names(store)) == ["2", "3", "4"]


def test_a_share_keeps_so_many_and_what_is_dropped_is_gone(store: Similar, tmp_path: Path) -> None:
    for n in range(9):
        store.put(SHARE, entry(str(n)), 5)
    assert sorted(names(store)) == ["4", "5", "6", "7", "8"]
    assert store.drop(SHARE, "6") and not store.drop(SHARE, "6") and not store.drop(OTHER, "6")
    store.close()
    again = Similar(tmp_path / "similar")
    assert "6" not in names(again) and "8" in names(again)


def test_another_worker_sees_what_is_put_and_dropped(store: Similar, tmp_path: Path) -> None:
    other = Similar(tmp_path / "similar")
    assert names(other) == []
    store.put(SHARE, entry("one"), 10)
    store.close()
    assert names(other) == ["one"]
    other.drop(SHARE, "one")
    other.close()
    assert names(store) == [] and names(other) == []


def test_a_torn_or_foreign_line_is_passed_over(store: Similar, tmp_path: Path) -> None:
    store.put(SHARE, entry("one"), 10)
    store.close()
    path = tmp_path / "similar" / SHARE
    path.write_bytes(b'{"name": 5}\nnonsense\xff\n' + path.read_bytes() + path.read_bytes()[:50])
    again = Similar(tmp_path / "similar")
    assert names(again) == ["one"] and oct(path.stat().st_mode & 0o777) == "0o600"


def test_the_file_is_made_anew_when_half_of_it_is_of_no_use(store: Similar, tmp_path: Path) -> None:
    for n in range(400):
        store.put(SHARE, entry(str(n % 7)), 7)
        if n % 100 == 99:
            store.close()  # so that the queue is never full
    store.close()
    assert len((tmp_path / "similar" / SHARE).read_bytes().splitlines()) < 2 * 7 + 2 * similar.SPARE_LINES
    assert len(names(Similar(tmp_path / "similar"))) == 7 and store.failed == 0


def test_i23_what_others_keep_drives_out_whole_shares_that_are_read_again(tmp_path: Path) -> None:
    store = Similar(tmp_path / "similar", most_bytes=5 * entry("0").size)
    store.put(OTHER, entry("quiet"), 10)
    store.close()
    for n in range(20):
        store.put(SHARE, entry(str(n)), 10)
    store.close()
    assert store.entries == 10 and names(store, share=OTHER) == ["quiet"]


def test_a_disk_that_takes_nothing_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "similar").write_text("no folder")
    store, trusts = Similar(tmp_path / "similar"), Trusts(tmp_path / "similar")
    store.put(SHARE, entry("one"), 10)
    store.note_served(("m",), "x")
    store.close()
    assert store.failed == 2 and names(store) == ["one"] and store.served("m") == "x"
    trust, _ = trusts.judge("r", SEMANTIC, NOW, wrong=True)
    assert trust.wrong == 1 and trusts.get("r", SEMANTIC).wrong == 1 and trusts.failed == 1


def test_what_was_served_is_found_by_its_mark_within_a_bound(store: Similar, tmp_path: Path) -> None:
    store.note_served(("m1", "m2"), "share name route with spaces")
    store.close()
    assert store.served("m1") == store.served("m2") == "share name route with spaces" and store.served("m") == ""
    for n in range(200):
        store.note_served((f"n{n}",), "x" * 20_000)
        if n % 50 == 49:
            store.close()
    store.close()
    files = list((tmp_path / "similar").glob("served*"))
    assert len(files) == 2 and sum(f.stat().st_size for f in files) < 2 * similar.MOST_SERVED_BYTES + 50_000
    other = Similar(tmp_path / "similar")
    assert other.served("n199") and not other.served("m1")


def test_what_was_served_is_known_before_it_is_written(store: Similar, tmp_path: Path) -> None:
    (tmp_path / "similar").mkdir()
    with similar.locked(tmp_path / "similar"):  # the thread that writes waits, as beside another process
        for n in range(similar.MOST_QUEUED + 50):
            store.note_served((f"a{n}", f"b{n}"), f"line {n}")
        assert store.served(f"a{n}") == store.served(f"b{n}") == f"line {n}"
        assert len(store._newest) == 2 * similar.MOST_QUEUED


def test_what_is_known_of_a_route_is_shared_and_begins_anew_with_other_settings(tmp_path: Path) -> None:
    here, there = Trusts(tmp_path), Trusts(tmp_path)
    for n in range(3):
        trust, change = (here, there)[n % 2].judge("r", SEMANTIC, NOW, wrong=True)
    assert change == "tightened" and trust.threshold == pytest.approx(0.9)
    assert here.get("r", SEMANTIC) == there.get("r", SEMANTIC) == Trusts(tmp_path).get("r", SEMANTIC) == trust
    assert here.get("r", Semantic(threshold=0.85)).threshold == 0.85 and here.get("s", SEMANTIC).all_checked == 0
    assert [one.route for one in all_trusts(tmp_path)] == ["r"]

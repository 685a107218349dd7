"""Where answers are kept: memory and files, their bounds, and what a kill or a bad disk leaves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest
from gateway_redis import RedisServer

from pointsman.core.usage import Usage
from pointsman.stores import cache_files
from pointsman.stores.cache_files import Files
from pointsman.stores.cache_memory import ENTRY_BYTES, MOST_SHARES, Answer, Memory
from pointsman.stores.cache_record import DIGEST_BYTES
from pointsman.stores.cache_redis import ALONE, Look, RedisAnswers

NOW = int(time.time() * 1000)
FAR = 1 << 40


def answer(body: bytes = b"x", until_ms: int = NOW + 3_600_000) -> Answer:
    return Answer("req_1", NOW, until_ms, "whole", body, Usage(3, 1), 5_000, "d", "p", "m", "s", ((0, 1),))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path / "answers")
    yield made
    made.close()


def kept(memory: Memory, share: str, count: int) -> list[int]:
    return [n for n in range(count) if memory.get(share, str(n), NOW) is not None]


# --- what every store does
class InMemory(Memory):
    async def find(self, share: str, key: str, now_ms: int) -> Answer | None:
        return self.get(share, key, now_ms)


class InFiles(Files):
    async def find(self, share: str, key: str, now_ms: int) -> Answer | None:
        self.close()  # until what waits is written
        return self.get(share, key, now_ms)


class InRedis:
    def __init__(self, url: str) -> None:
        self.redis = RedisAnswers(url)
        self.redis.open()

    async def find(self, share: str, key: str, now_ms: int) -> Answer | None:
        coming: asyncio.Future[Look] = asyncio.get_running_loop().create_future()
        look = self.redis.look(share, key, coming.set_result, claims=False) or await coming
        return look.answer if look.answer is not None and look.answer.until_ms > now_ms else None

    def put(self, share: str, key: str, answer: Answer, most_bytes: int) -> None:
        self.redis.put(share, key, answer, most_bytes, int(time.time() * 1000))


@pytest.fixture(params=["memory", "files", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InMemory | InFiles | InRedis]:
    if request.param == "memory":
        yield InMemory()
    elif request.param == "files":
        yield InFiles(tmp_path / "answers")
    else:
        with RedisServer(tmp_path) as server:
            made = InRedis(server.url)
            while made.redis.look("s", "k", lambda look: None, claims=False) is ALONE:
                await asyncio.sleep(0.01)
            yield made
            made.redis.close()


async def test_a_store_gives_back_what_it_was_given(store: InMemory | InFiles | InRedis) -> None:
    big = answer(b"x" * 1_000_000)
    store.put("aa", "k", answer(), FAR)
    store.put("aa", "big", big, FAR)
    assert await store.find("aa", "k", NOW) == answer() and await store.find("aa", "big", NOW) == big
    assert await store.find("bb", "k", NOW) is None and await store.find("aa", "j", NOW) is None
    store.put("aa", "k", answer(b"yy"), FAR)
    assert await store.find("aa", "k", NOW) == answer(b"yy")


async def test_a_store_keeps_nothing_beyond_its_time_or_its_bound(store: InMemory | InFiles | InRedis) -> None:
    store.put("aa", "k", answer(), FAR)
    assert await store.find("aa", "k", NOW + 3_600_000) is None
    store.put("aa", "over", answer(until_ms=int(time.time() * 1000) - 1), FAR)
    store.put("aa", "large", answer(b"x" * 2_000), 1_000)
    assert await store.find("aa", "over", int(time.time() * 1000)) is None
    assert await store.find("aa", "large", NOW) is None


# --- one by one
def test_memory_gives_back_what_it_was_given_until_its_time_is_over() -> None:
    memory = Memory()
    memory.put("s", "k", answer(), FAR)
    assert (
        memory.get("s", "k", NOW) == answer()
        and memory.get("t", "k", NOW) is None
        and memory.get("s", "j", NOW) is None
    )
    assert (memory.entries, memory.bytes) == (1, 1 + ENTRY_BYTES)
    memory.put("s", "k", answer(b"yy"), FAR)
    assert memory.get("s", "k", NOW) == answer(b"yy") and memory.bytes == 2 + ENTRY_BYTES
    assert memory.get("s", "k", NOW + 3_600_000) is None and (memory.entries, memory.bytes) == (0, 0)


def test_memory_drops_what_was_not_used_for_longest_and_only_of_the_full_share() -> None:
    memory = Memory()
    size = answer().size
    memory.put("quiet", "0", answer(), FAR)
    for n in range(5):
        memory.put("s", str(n), answer(), 3 * size)
        memory.get("s", "0", NOW)
    assert kept(memory, "s", 5) == [0, 3, 4] and kept(memory, "quiet", 1) == [0]
    memory.put("s", "big", answer(b"x" * 4 * size), 3 * size)
    assert memory.get("s", "big", NOW) is None and kept(memory, "s", 5) == [0, 3, 4]


def test_i23_a_share_that_fills_the_memory_drives_out_its_own() -> None:
    memory = Memory(most_bytes=10 * answer().size, most_entries=8)
    memory.put("quiet", "0", answer(), FAR)
    for n in range(200):
        memory.put("loud", str(n), answer(), FAR)
    assert kept(memory, "quiet", 1) == [0] and memory.entries == 8 and memory.bytes == 8 * answer().size
    shares = Memory()
    for n in range(MOST_SHARES + 10):
        shares.put(str(n), "0", answer(), FAR)
    assert shares.entries == MOST_SHARES


def test_files_outlive_their_process_and_are_shared(files: Files, tmp_path: Path) -> None:
    files.put("aa", "k-whole", answer(), FAR)
    files.close()
    other = Files(tmp_path / "answers")
    assert other.get("aa", "k-whole", NOW) == answer()
    assert other.get("aa", "k-whole", NOW + 3_600_000) is None and other.get("bb", "k-whole", NOW) is None


@pytest.mark.parametrize("at", [0, 3, 20, -1])
def test_a_torn_or_changed_file_is_not_there(files: Files, tmp_path: Path, at: int) -> None:
    files.put("aa", "k", answer(), FAR)
    files.close()
    path = tmp_path / "answers" / "aa" / "k"
    data = path.read_bytes()
    path.write_bytes(data[:at])
    assert files.get("aa", "k", NOW) is None
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + (data[at:][1:]))
    assert files.get("aa", "k", NOW) is None
    path.write_bytes(data)
    assert files.get("aa", "k", NOW) == answer()


def test_an_answer_of_another_format_is_not_there(files: Files, tmp_path: Path) -> None:
    body = msgspec.msgpack.encode(["something", "else"])
    (tmp_path / "answers" / "aa").mkdir(parents=True)
    digest = blake2b(body, digest_size=DIGEST_BYTES).digest()
    (tmp_path / "answers" / "aa" / "k").write_bytes(digest + body)
    assert files.get("aa", "k", NOW) is None


def listed(folder: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in folder.glob("*/*")}


def test_tidying_removes_what_is_over_or_stray_and_keeps_every_bound(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    files = Files(folder, most_files=6)
    files.put("aa", "over", answer(until_ms=NOW - 1), FAR)
    files.put("bb", "0", answer(), FAR)
    for n in range(9):
        files.put("cc", str(n), answer(until_ms=NOW + 3_600_000 + n * 1000), FAR)
    files.close()
    stray = folder / "bb" / "k.1.new"
    stray.write_bytes(b"half")
    files.tidy()
    assert listed(folder) == {"bb/0", "bb/k.1.new", *(f"cc/{n}" for n in range(4, 9))}
    os.utime(stray, (0, 0))
    old = cache_files.STRAY_S
    try:
        cache_files.STRAY_S = -1.0
        files.tidy()
    finally:
        cache_files.STRAY_S = old
    assert not stray.exists()
    size = (folder / "cc" / "8").stat().st_size
    bound = Files(folder)
    bound.put("cc", "9", answer(until_ms=NOW + 3_700_000), max(2 * size, answer().size))
    bound.close()
    bound.tidy()
    left = listed(folder)
    assert (
        "cc/9" in left
        and "bb/0" in left
        and sum(name.startswith("cc/") for name in left) * size <= max(2 * size, answer().size)
    )


def test_a_disk_that_takes_nothing_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("no folder")
    files = Files(tmp_path / "answers")
    files.put("aa", "k", answer(), FAR)
    files.close()
    assert files.failed == 1 and files.get("aa", "k", NOW) is None


def test_the_queue_is_bounded_in_number_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path / "answers")
    monkeypatch.setattr(cache_files.threading.Thread, "start", lambda self: None)  # the disk hangs
    for n in range(cache_files.MOST_QUEUED + 5):
        files.put("aa", str(n), answer(), FAR)
    assert files.failed == 5
    files = Files(tmp_path / "answers")
    big = answer(b"x" * (1 << 20))
    for n in range(40):
        files.put("aa", str(n), big, FAR)
    assert files.failed == 40 - cache_files.MOST_QUEUED_BYTES // big.size


def test_bytes_that_were_written_are_owner_only(tmp_path: Path) -> None:
    files = Files(tmp_path / "answers")
    files.put("aa", "k", answer(), FAR)
    files.close()
    assert (tmp_path / "answers" / "aa").stat().st_mode & 0o077 == 0
    assert (tmp_path / "answers" / "aa" / "k").stat().st_mode & 0o077 == 0

"""The journal: what was written is read back, whatever happened to the bytes; what failed is taken back."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from records import admitted, settled

from pointsman.core.entry import decode_records, encode_records
from pointsman.stores import journal as journal_module
from pointsman.stores.journal import (
    HEADER,
    MAX_PAYLOAD,
    MAX_PUT_OFF_BYTES,
    Journal,
    JournalError,
    is_alive,
    read_all,
    scan,
    segments,
    waiting_bytes,
)

MIB = 1024 * 1024


def opened(folder: Path, incarnation: str = "i1", segment: int = MIB, bound: int = 8 * MIB) -> Journal:
    return Journal(folder, incarnation, segment, bound)


def payloads(count: int) -> list[bytes]:
    return [encode_records([record(n)]) for n in range(count // 2) for record in (admitted, settled)]


def written(folder: Path, records: list[bytes]) -> bytes:
    journal = opened(folder)
    for payload in records:
        journal.append(payload)
    journal.close()
    [[path]] = segments(folder).values()
    return path.read_bytes()


def found(data: bytes, *, ended: bool = True) -> list[bytes]:
    return [payload for _, _, payload in scan(data, 0, ended=ended).frames]


def test_records_come_back_in_order_across_segments(tmp_path: Path) -> None:
    records = payloads(60)
    journal = opened(tmp_path, segment=2_000)
    for payload in records:
        journal.append(payload)
    journal.close()
    [paths] = segments(tmp_path).values()
    assert len(paths) > 5
    assert list(read_all(tmp_path)) == records
    assert [decode_records(payload)[0].id for payload in records[:2]] == [admitted(0).id] * 2


def test_f81_a_cut_at_any_byte_gives_the_records_before_it(tmp_path: Path) -> None:
    records = payloads(60)
    data = written(tmp_path, records)
    ends, at = [], len(HEADER)
    for payload in records:
        at += 10 + len(payload)
        ends.append(at)
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends)
        dead = scan(data[:cut], 0, ended=True)
        assert [payload for _, _, payload in dead.frames] == records[:whole]
        assert dead.offset == cut  # nothing is left to wait for
        living = scan(data[:cut], 0, ended=False)
        assert living.skipped == 0
        rest = scan(data[living.offset :], living.offset, ended=False)
        assert len(living.frames) + len(rest.frames) == len(records)  # what was torn is read when it is whole


def test_f81_a_flipped_bit_costs_only_its_own_record(tmp_path: Path) -> None:
    records = payloads(60)
    data = written(tmp_path, records)
    chance = random.Random(3)
    for _ in range(400):
        at = chance.randrange(len(HEADER), len(data))
        broken = bytearray(data)
        broken[at] ^= 1 << chance.randrange(8)
        seen = scan(bytes(broken), 0, ended=True)
        got = [payload for _, _, payload in seen.frames]
        assert len(got) == len(records) - 1 and set(got) < set(records)
        assert seen.skipped > 0


def test_f81_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    records = payloads(4)
    data = written(tmp_path, records)
    seen = scan(b"\0" + data[1:], 0, ended=True)
    assert [payload for _, _, payload in seen.frames] == records and seen.skipped == len(HEADER)


def test_f81_a_length_that_lies_is_damage(tmp_path: Path) -> None:
    records = payloads(4)
    data = bytearray(written(tmp_path, records))
    data[len(HEADER) + 2 : len(HEADER) + 6] = (MAX_PAYLOAD + 1).to_bytes(4, "little")
    assert found(bytes(data)) == records[1:]


def test_reading_in_pieces_gives_the_same_as_reading_at_once(tmp_path: Path) -> None:
    records = payloads(20)
    data = written(tmp_path, records)
    for size in (1, 7, 64, 1000):
        got, offset = [], 0
        for end in range(size, len(data) + size, size):
            seen = scan(data[offset:end], offset, ended=False)
            got += [payload for _, _, payload in seen.frames]
            offset = seen.offset
        assert got == records


def _fail_once(monkeypatch: pytest.MonkeyPatch, result: int | OSError) -> None:
    """Let the next write of the journal write `result` bytes only, or fail."""
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda fd, data: _broken(fd, data))

    def _broken(fd: int, data: bytes) -> int:
        monkeypatch.setattr(journal_module.os, "write", real)
        if isinstance(result, OSError):
            raise result
        return real(fd, data[:result])


@pytest.mark.parametrize("result", [0, 1, 9, 30, OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")])
def test_f82_a_record_that_was_not_written_whole_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: int | OSError
) -> None:
    first, second, third = payloads(6)[:3]
    journal = opened(tmp_path)
    journal.append(first)
    _fail_once(monkeypatch, result)
    with pytest.raises(JournalError):
        journal.append(second)
    journal.append(third)
    journal.close()
    assert list(read_all(tmp_path)) == [first, third]


def test_f82_where_taking_back_fails_too_no_good_record_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = payloads(8)
    journal = opened(tmp_path)
    journal.append(records[0])
    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "ftruncate", _refuse)
        _fail_once(patch, 20)
        with pytest.raises(JournalError):
            journal.append(records[1])
    journal.append(records[2])
    _fail_once(monkeypatch, 5)
    with pytest.raises(JournalError):
        journal.append(records[3])
    journal.append(records[4])
    journal.close()
    assert list(read_all(tmp_path)) == [records[0], records[2], records[4]]


def _refuse(fd: int, size: int) -> None:
    raise OSError(errno.EIO, "broken")


def test_f82_a_failed_flush_loses_no_settlement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = payloads(8)
    journal = opened(tmp_path)
    journal.put_off(records[0])
    journal.put_off(records[1])
    _fail_once(monkeypatch, OSError(errno.ENOSPC, "full"))
    with pytest.raises(JournalError):
        journal.flush()
    _fail_once(monkeypatch, 15)
    with pytest.raises(JournalError):
        journal.append(records[2])  # this one is refused to the caller, so it must not appear
    journal.append(records[3])
    journal.close()
    assert list(read_all(tmp_path)) == [records[0], records[1], records[3]]


def test_what_is_put_off_is_bounded(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for n in range(20):
        journal.put_off(b"%02d" % n + b"x" * MIB)
    journal.close()
    got = [payload[:2] for payload in read_all(tmp_path)]
    assert len(got) == MAX_PUT_OFF_BYTES // MIB - 1 and got[-1] == b"19"


def test_f82_a_segment_that_cannot_be_made_leaves_the_old_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = payloads(8)
    journal = opened(tmp_path, segment=200)
    real, writes = os.write, 0

    def short_header(fd: int, data: bytes) -> int:
        nonlocal writes
        writes += 1
        return real(fd, data[:3]) if data == HEADER else real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "write", short_header)
        for payload in records[:4]:
            journal.append(payload)
    [[only]] = segments(tmp_path).values()
    assert not list(tmp_path.glob("*.new"))
    for payload in records[4:]:
        journal.append(payload)
    journal.close()
    [paths] = segments(tmp_path).values()
    assert len(paths) > 1 and paths[0] == only
    assert list(read_all(tmp_path)) == records


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a file system")
def test_f82_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no right to mount")
    try:
        journal = opened(disk / "journal", segment=16_384)
        kept: list[bytes] = []

        def fill() -> None:
            for n in range(10_000):
                journal.append(b"%04d" % n + b"x" * 1_000)
                kept.append(b"%04d" % n + b"x" * 1_000)

        with pytest.raises(JournalError):
            fill()
        segments(disk / "journal")["i1"][0].unlink()
        journal.append(b"again")
        journal.close()
        got = list(read_all(disk / "journal"))
        assert got[-1] == b"again" and got[:-1] == kept[-len(got) + 1 :]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_f85_at_its_bound_the_journal_says_that_it_is_full(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment=1_000, bound=3_000)
    for payload in payloads(6):
        journal.append(payload)
    assert not journal.full
    for payload in payloads(20):
        journal.append(payload)
    assert journal.full
    for path in segments(tmp_path)["i1"][:-1]:
        path.unlink()
    journal.check_bound()
    assert not journal.full and waiting_bytes(tmp_path) < 3_000
    journal.close()


def test_a_record_no_reader_could_read_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(JournalError):
        journal.append(b"x" * (MAX_PAYLOAD + 1))
    journal.append(b"x" * MAX_PAYLOAD)
    journal.close()
    assert [len(payload) for payload in read_all(tmp_path)] == [MAX_PAYLOAD]


def test_an_incarnation_is_alive_as_long_as_its_process_holds_the_lock(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from pointsman.stores.journal import Journal\n"
        f"j = Journal(pathlib.Path({str(tmp_path)!r}), 'other', 1000, 1000); print('up', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    assert is_alive(tmp_path, "other")
    assert is_alive(tmp_path, "other")
    process.kill()
    process.wait()
    assert not is_alive(tmp_path, "other")
    assert not is_alive(tmp_path, "never-was")
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_a_closed_journal_is_not_alive(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert is_alive(tmp_path, "i1")
    journal.close()
    journal.close()
    assert not is_alive(tmp_path, "i1")


def test_files_are_private(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal")
    journal.append(b"x")
    journal.close()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "journal").iterdir()} == {0o600}
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("payload", [b"", b"A", b"\x91\x91\xa1X", b"\x91\x92\xa1S\x01", b"\x91\xc1"])
def test_a_payload_that_is_no_record_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode_records(payload)

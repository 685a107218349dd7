"""Entries: what is written is what is read, and nothing else is taken for a record."""

from __future__ import annotations

import contextlib

import pytest
from core_makers import usages
from hypothesis import given
from hypothesis import strategies as st
from policy_makers import situations

from pointsman.core.entry import (
    Admitted,
    AttemptRow,
    Feedback,
    Filed,
    Record,
    Recorded,
    Settled,
    decode_filed,
    decode_in_block,
    decode_records,
    encode_block,
    encode_records,
    total_of,
)
from pointsman.core.ids import feedback_id, request_id
from pointsman.core.keys import digest
from pointsman.core.outcome import Kind

words = st.text(max_size=20)
times = st.floats(0, 1e9)
chances = st.binary(min_size=8, max_size=8)
rows = st.builds(
    AttemptRow,
    words, words, words, st.sampled_from([k.value for k in Kind]), st.integers(0, 599),
    times, times, times, times, usages(), st.integers(-1, 10**15), st.sampled_from(["measured", "estimated", "unpriced"]),
    words, words, words,
)  # fmt: skip
ends = st.builds(
    Settled,
    words, st.integers(0, 2**48), words, words, st.integers(0, 599), st.lists(rows, max_size=4).map(tuple),
    times, times, times, times, times,
)  # fmt: skip

judgements = st.builds(
    Feedback,
    words, st.integers(0, 2**48), st.tuples(words, words, words, words), words, words, st.none() | st.floats(0, 1),
    words, words, words, words, words,
)  # fmt: skip


@st.composite
def admissions(draw: st.DrawFn) -> Admitted:
    _, found, asked = draw(situations())
    caller = (draw(words), draw(words), draw(words), draw(words))
    return Admitted(asked, draw(words), draw(st.integers(0, 2**48)), caller, draw(words), found)


@given(st.lists(st.none() | admissions(), max_size=5))
def test_what_is_recorded_of_many_is_read_one_by_one(records: list[Admitted | None]) -> None:
    filed = [None if one is None else decode_filed(encode_records([one]))[0] for one in records]
    blob = encode_block([one for one in filed if one is None or isinstance(one, Filed)])
    for place, one in enumerate(records):
        found = decode_in_block(blob, place)
        told = one and Recorded(one.asked_model, one.request.route, one.request.features, one.snapshot)
        assert found == told
    for damaged, place in ((blob, len(records)), (blob[:-1], 0), (b"", 0)):
        with pytest.raises(ValueError, match="decision cannot be read"):
            decode_in_block(damaged, place)


@given(st.lists(admissions() | ends | judgements, max_size=5))
def test_records_are_read_as_they_were_written(records: list[Record]) -> None:
    assert decode_records(encode_records(records)) == records


@given(st.lists(ends | judgements, min_size=1, max_size=2), st.data())
def test_f81_a_damaged_payload_is_an_error_or_a_record_but_never_a_crash(
    records: list[Record], data: st.DataObject
) -> None:
    payload = bytearray(encode_records(records))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(payload), bytes(payload[:at])):
        with contextlib.suppress(ValueError):
            decode_records(bad)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"{}", b"\x91\xa1x", bytes(100), b"\xdd\xff\xff\xff\xff"])
def test_other_bytes_are_no_record(payload: bytes) -> None:
    with pytest.raises(ValueError, match="journal record"):
        decode_records(payload)


@given(st.lists(rows, max_size=5))
def test_i05_a_total_is_the_sum_and_its_state_the_worst(attempts: list[AttemptRow]) -> None:
    nano, state = total_of(tuple(attempts))
    found = {row.charge_state for row in attempts}
    if "unpriced" in found:
        assert (nano, state) == (-1, "unpriced")
    else:
        assert nano == sum(row.charge_nano for row in attempts)
        assert state == ("estimated" if "estimated" in found else "measured")


@given(st.integers(0, 2**47), st.integers(0, 2**47), chances, chances)
def test_request_ids_sort_by_time_and_differ(a_ms: int, b_ms: int, a: bytes, b: bytes) -> None:
    first, second = request_id(a_ms, a), request_id(b_ms, b)
    assert len(first) == len(second) and first.startswith("req_")
    if a_ms != b_ms:
        assert (first < second) is (a_ms < b_ms)
    assert (first == second) is ((a_ms, a) == (b_ms, b))
    assert feedback_id(a_ms, a) == "fbk_" + first.removeprefix("req_")


def test_keys_are_kept_as_digests() -> None:
    assert digest(b"sk-1") != digest(b"sk-2")
    assert len(digest(b"x" * 10_000)) == 32
    assert b"sk-1" not in digest(b"sk-1")

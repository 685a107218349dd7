"""The text of a key says what it is, and nothing else is taken for one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.keys import ADMIN, CLIENT, digest, is_key, key_text, mark_of, peppered, shown

CHANCE = st.binary(min_size=32, max_size=32)


@given(CHANCE, st.sampled_from((CLIENT, ADMIN)))
def test_a_key_is_recognised_by_its_prefix_and_check_sum(chance: bytes, prefix: str) -> None:
    text = key_text(prefix, chance)
    assert text.startswith(prefix) and len(text) == 55 and is_key(text.encode(), prefix)
    assert not is_key(text.encode(), ADMIN if prefix == CLIENT else CLIENT)
    assert set(text.removeprefix(prefix)) <= set(string.ascii_letters + string.digits)
    assert len(shown(text)) == 12


@given(CHANCE, st.integers(0, 54), st.sampled_from(string.ascii_letters + string.digits + "-_ \n\0"))
def test_a_key_with_another_character_is_none(chance: bytes, place: int, character: str) -> None:
    text = key_text(CLIENT, chance)
    other = text[:place] + character + text[place + 1 :]
    assert is_key(other.encode(), CLIENT) is (other == text)


@given(st.binary(max_size=80))
def test_other_bytes_are_no_key(data: bytes) -> None:
    assert not is_key(data, CLIENT) and not is_key(CLIENT.encode() + data, CLIENT)


def test_all_256_bits_count() -> None:
    assert len({key_text(CLIENT, bytes([n]) + b"\0" * 31) for n in range(256)}) == 256
    assert len({key_text(CLIENT, b"\xff" * 31 + bytes([n])) for n in range(256)}) == 256
    with pytest.raises(ValueError, match="32"):
        key_text(CLIENT, b"short")


def test_s01_a_digest_depends_on_the_pepper_and_is_none_of_the_config() -> None:
    key = key_text(CLIENT, b"\1" * 32).encode()
    assert len({peppered(b"a" * 32, key), peppered(b"b" * 32, key), digest(key)}) == 3
    assert mark_of(b"a" * 32) != mark_of(b"b" * 32) and len(mark_of(b"a" * 32)) == 8

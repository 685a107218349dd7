"""Vectors on OpenAI's wire: both codings, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.core.policy import Wire
from pointsman.dialects.base import WireError
from pointsman.dialects.openai.embeddings import decode_embedding, encode_embedding

GOLDEN = Path(__file__).parent / "golden" / "openai"


@pytest.mark.parametrize("name", ["embedding-float.json", "embedding-base64.json"])
def test_a_vector_is_read_in_either_coding(name: str) -> None:
    vector, usage, served = decode_embedding((GOLDEN / name).read_bytes())
    assert list(vector) == pytest.approx([0.5, -0.25, 0.125, 1e-3])
    assert (usage.input_tokens, usage.output_tokens, usage.source) == (7, 0, "measured")
    assert served == "text-embedding-3-small"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"data": []}',
        b'{"data": [{"embedding": []}]}',
        b'{"data": [{"embedding": "!!"}]}',
        b'{"data": [{"embedding": "AAA="}]}',
        b'{"data": [{"embedding": [1e999]}]}',
        b'{"data": [{"embedding": [1e300]}]}',
        b'{"data": [{"embedding": [1]}, {"embedding": [1]}]}',
        b'{"error": {"message": "no"}}',
        b'{"data": [{"embedding": "AADAfw=="}]}',
    ],
)
def test_what_is_no_vector_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_embedding(data)


def test_without_usage_nothing_is_known_of_it() -> None:
    _, usage, served = decode_embedding(b'{"data": [{"embedding": [1, 2]}]}')
    assert (usage.source, served) == ("unknown", "")


def test_a_request_says_what_the_provider_reads() -> None:
    asked = json.loads(encode_embedding(Wire(model="e-1"), "héllo"))
    assert asked == {"model": "e-1", "input": "héllo", "encoding_format": "float"}
    odd = Wire(model="e-1", rename={"input": "text"}, drop=("encoding_format",))
    assert json.loads(encode_embedding(odd, "x")) == {"model": "e-1", "text": "x"}

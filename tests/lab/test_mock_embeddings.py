"""The mock's vectors are those of the wire, in either coding, and near each other where texts say the same."""

from __future__ import annotations

import json

import pytest

from pointsman.core.embedding import cosine, unit
from pointsman.dialects.openai.embeddings import decode_embedding
from pointsman.lab.mock import embeddings
from pointsman.lab.mock.ask import Received, Rejected


def asked(**body: object) -> bytes:
    received = Received("POST", "/v1/embeddings", "", {}, json.dumps(body).encode(), 1)
    return embeddings.reply(*embeddings.parse(received))


def test_both_codings_say_the_same() -> None:
    one, usage, served = decode_embedding(asked(model="e", input="hello there"))
    other, _, _ = decode_embedding(asked(model="e", input="hello there", encoding_format="base64"))
    assert list(one) == pytest.approx(list(other)) and (usage.input_tokens, served) == (3, "e")


def test_texts_that_say_the_same_are_near() -> None:
    reset, lost, egg = (
        unit(decode_embedding(asked(model="e", input=text))[0])
        for text in ("How do I reset my password?", "my password is lost", "boil an egg for breakfast")
    )
    assert cosine(reset, lost) > 0.9 and cosine(reset, egg) < 0.6


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": ["a", ""]}, {"input": 5}])
def test_what_is_no_text_is_rejected(body: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        asked(model="e", **body)

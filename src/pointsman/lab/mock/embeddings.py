"""Embeddings of the mock: `POST /embeddings` in OpenAI's shape. Texts of the same words are near; a few words mean the same.

Format: developers.openai.com/api/reference, embeddings. Formed here without `pointsman.dialects`, as all of the mock is.
"""

from __future__ import annotations

import random
import re
import struct
from base64 import b64encode
from math import sqrt

import msgspec

from pointsman.lab.mock.ask import Ask, Received, Rejected, prompt_tokens

DIMENSIONS = 64
MEANS = {"forgot": "reset", "lost": "reset", "recover": "reset", "new": "reset", "parcel": "order", "package": "order"}
LIGHT = frozenset(
    ("a", "an", "the", "i", "my", "me", "do", "how", "what", "is", "get", "to", "can", "please", "of", "now", "it")
)


class _Body(msgspec.Struct):
    model: str = ""
    input: str | list[str] = ""
    encoding_format: str = "float"


_decode = msgspec.json.Decoder(_Body).decode


def parse(received: Received) -> tuple[Ask, str]:
    """Return what is asked, and in which coding. Raise Rejected as the service does."""
    try:
        body = _decode(received.body)
    except msgspec.MsgspecError as error:
        raise Rejected(400, f"We could not parse the JSON body of your request: {error}") from error
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or not all(texts):
        raise Rejected(400, "'$.input' is invalid.", None, "input")
    return Ask(model=body.model, texts=tuple(texts), last=texts[-1]), body.encoding_format


def reply(ask: Ask, coding: str) -> bytes:
    """Return the vectors of all texts."""
    tokens = prompt_tokens(ask)
    data = [{"object": "embedding", "index": n, "embedding": _coded(text, coding)} for n, text in enumerate(ask.texts)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": ask.model, "usage": usage})


def _coded(text: str, coding: str) -> list[float] | str:
    values = [0.0] * DIMENSIONS
    words = [MEANS.get(word, word) for word in re.findall(r"\w+", text.lower()) if word not in LIGHT]
    for word in sorted(set(words)):
        draw = random.Random(word)
        values = [value + draw.gauss(0.0, 1.0) for value in values]
    length = sqrt(sum(value * value for value in values)) or 1.0
    values = [value / length for value in values]
    return b64encode(struct.pack(f"<{DIMENSIONS}f", *values)).decode() if coding == "base64" else values

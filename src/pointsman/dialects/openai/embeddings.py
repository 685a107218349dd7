"""OpenAI's embeddings: one text becomes a vector, `POST /embeddings`. Many other servers speak it.

Format: developers.openai.com/api/reference, embeddings. A vector comes as numbers or, where a server prefers that, as base64 of
little-endian 32-bit floats.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from binascii import Error

import msgspec

from pointsman.core.policy import Wire
from pointsman.core.usage import NO_USAGE, Usage
from pointsman.dialects.base import WireError

PATH = "/embeddings"
MOST_DIMENSIONS = 8_192


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Data(msgspec.Struct):
    embedding: list[float] | str


class _Reply(msgspec.Struct):
    data: list[_Data]
    model: str = ""
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


def encode_embedding(wire: Wire, text: str) -> bytes:
    """Return the body that asks for the vector of a text."""
    body = {"model": wire.model, "input": text, "encoding_format": "float"}
    return msgspec.json.encode({wire.rename.get(k, k): v for k, v in body.items() if k not in wire.drop})


def decode_embedding(body: bytes) -> tuple[array[float], Usage, str]:
    """Return the vector as it came, what it used and who made it. Raise WireError when it is not one vector."""
    try:
        reply = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"the reply is no embedding: {error}") from None
    if len(reply.data) != 1:
        raise WireError(f"one vector was asked for, {len(reply.data)} came")
    told = reply.data[0].embedding
    vector = array("f")
    try:
        if isinstance(told, str):
            vector.frombytes(b64decode(told, validate=True))
            if sys.byteorder == "big":
                vector.byteswap()
        else:
            vector.extend(told)
    except (Error, ValueError, OverflowError):
        raise WireError("the vector is not one of numbers") from None
    if not 0 < len(vector) <= MOST_DIMENSIONS or not all(value - value == 0.0 for value in vector):
        raise WireError("the vector has no numbers, too many, or some that are not finite")
    usage = NO_USAGE if reply.usage is None else Usage(reply.usage.prompt_tokens, 0)
    return vector, usage, reply.model

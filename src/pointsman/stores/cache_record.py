"""The record of a cached answer, in a file as in Redis: a digest of the rest, then MessagePack of an Answer."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from pointsman.stores.cache_memory import Answer

DIGEST_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


def record_of(answer: Answer) -> bytes:
    """Return an answer as bytes."""
    body = _encode(answer)
    return blake2b(body, digest_size=DIGEST_BYTES).digest() + body


def answer_of(record: bytes) -> Answer | None:
    """Return the answer of a record; None when it is torn, changed, of another version or something else."""
    body = record[DIGEST_BYTES:]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != record[:DIGEST_BYTES]:
        return None
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return None

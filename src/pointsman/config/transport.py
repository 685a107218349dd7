"""Transport: a Policy as bytes for the private pipe to our own worker process, keys of providers included.

Imports nothing but the core, so that a worker loads neither the YAML parser nor the schema nor the price library.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pointsman.core.policy import Policy
from pointsman.core.secret import reveal_for_worker, secret_from_pipe

MOST_HEAD_BYTES = 64 * 1024

_encoder = msgspec.msgpack.Encoder(enc_hook=reveal_for_worker)
_decoder = msgspec.msgpack.Decoder(Policy, dec_hook=secret_from_pipe)


def encode(policy: Policy) -> bytes:
    """Return `policy` as bytes. They hold credentials: never write them to disk or to a log."""
    return _encoder.encode(policy)


def decode(data: bytes) -> Policy:
    """Return the Policy that `encode` wrote. Raise msgspec.MsgspecError when it is none."""
    return _decoder.decode(data)


class Head(msgspec.Struct):
    """Hold the line before a policy in the pipe from the supervisor."""

    policy_bytes: int


class Frames:
    """Cut what comes through the pipe into policies: a line of JSON (Head), then so many bytes, again and again."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the encoded policies that are whole now. Raise ValueError when this is no frame."""
        self._data += data
        while True:
            end = self._data.find(b"\n", 0, MOST_HEAD_BYTES)
            if end < 0:
                if len(self._data) >= MOST_HEAD_BYTES:
                    raise ValueError("the supervisor's pipe is out of step")
                return
            size = msgspec.json.decode(bytes(self._data[:end]), type=Head).policy_bytes
            if len(self._data) < end + 1 + size:
                return
            policy = bytes(self._data[end + 1 : end + 1 + size])
            del self._data[: end + 1 + size]
            yield policy

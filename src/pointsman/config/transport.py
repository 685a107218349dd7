"""Transport: a Policy as bytes for the private pipe to our own worker process, keys of providers included.

Imports nothing but the core, so that a worker loads neither the YAML parser nor the schema nor the price library.
"""

from __future__ import annotations

import msgspec

from pointsman.core.policy import Policy
from pointsman.core.secret import reveal_for_worker, secret_from_pipe

_encoder = msgspec.msgpack.Encoder(enc_hook=reveal_for_worker)
_decoder = msgspec.msgpack.Decoder(Policy, dec_hook=secret_from_pipe)


def encode(policy: Policy) -> bytes:
    """Return `policy` as bytes. They hold credentials: never write them to disk or to a log."""
    return _encoder.encode(policy)


def decode(data: bytes) -> Policy:
    """Return the Policy that `encode` wrote. Raise msgspec.MsgspecError when it is none."""
    return _decoder.decode(data)

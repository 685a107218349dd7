"""Entry: what the books say of one request. Admitted is written before the first send, Settled at the end."""

from __future__ import annotations

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.pricing import ChargeState
from pointsman.core.usage import Usage

FORMAT = 1  # of the records below; raised when a field is added or its meaning changes


class Admitted(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what is known when a request is let in. Times are Unix milliseconds. `hold_nano` is the predicted cost that
    a recovered row is charged with; -1: unpriced."""

    id: str
    client_id: str  # the x-request-id the client sent, if any
    at_ms: int
    key: str
    project: str
    team: str
    organisation: str
    kind: str
    stream: bool
    asked_model: str
    config_version: str
    hold_nano: int
    decision: Decision


class AttemptRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold one send. Times are microseconds; `started_us` counts from the receipt of the request, the others from the
    start of the attempt; 0: did not get that far."""

    deployment: str
    provider: str
    model: str
    outcome: str  # core.outcome.Kind
    status: int
    started_us: int
    connect_us: int
    ttft_us: int
    total_us: int
    usage: Usage
    charge_nano: int  # -1: unpriced
    charge_state: ChargeState
    price_version: str
    served_model: str
    message: str


class Settled(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold the end of one request. Times are microseconds from its receipt: `decide_us` and `overhead_us` are the
    router's own, `ttft_us` is the first content sent to the client. `charge_nano` is the sum over attempts; -1 when any
    part of it is unpriced."""

    id: str
    at_ms: int
    outcome: str
    status: int
    attempts: tuple[AttemptRow, ...]
    charge_nano: int
    charge_state: ChargeState
    queue_us: int
    decide_us: int
    ttft_us: int
    total_us: int
    overhead_us: int


ADMITTED, SETTLED = b"A", b"S"
_encode = msgspec.msgpack.Encoder().encode
_admitted = msgspec.msgpack.Decoder(Admitted)
_settled = msgspec.msgpack.Decoder(Settled)


def encode_record(record: Admitted | Settled) -> bytes:
    """Return the journal payload of a record: one kind byte, then its MessagePack array."""
    return (ADMITTED if type(record) is Admitted else SETTLED) + _encode(record)


def decode_record(payload: bytes) -> Admitted | Settled:
    """Return the record of a journal payload. Raise ValueError when it is not one."""
    kind, body = payload[:1], payload[1:]
    try:
        if kind == ADMITTED:
            return _admitted.decode(body)
        if kind == SETTLED:
            return _settled.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"journal record cannot be read: {error}") from None
    raise ValueError(f"unknown journal record kind {kind!r}")

"""Entry: what the books say of one request. Admitted is written before the first send, Settled at the end, Feedback ever
after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import structs

from pointsman.core.decide import Decision, Plan, decide
from pointsman.core.facts import RuleError
from pointsman.core.filters import Reason
from pointsman.core.footprint import Footprint
from pointsman.core.health import State
from pointsman.core.options import NO_DETAIL, Options
from pointsman.core.pricing import ChargeState
from pointsman.core.request import Features, Request
from pointsman.core.resolve import Trail, replayed
from pointsman.core.routing import Routed
from pointsman.core.strategy import Detail, Snapshot
from pointsman.core.usage import Usage

FORMAT = 3  # of the decisions in a ledger: a Recorded; raised when a field of it is added or its meaning changes
WHOLE = 2  # the format of those that are kept as they were made, a Decision: of plug-ins, and of earlier versions


class Admitted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="A"):
    """Hold what is known when a request is let in: who, what, and all that the decision was made from. Unix milliseconds.

    The decision itself is a pure function of it and of the policy of `config_version`: `decision_of` makes it again,
    where there is time to.
    """

    request: Request
    client_id: str  # the x-request-id the client sent, if any
    at_ms: int
    caller: tuple[str, str, str, str]  # key, project, team, organisation
    asked_model: str
    snapshot: Snapshot
    session: str = ""
    tags: tuple[str, ...] = ()
    trace: str = ""  # the caller's W3C context, where tracing is on (core.trace.carried)
    footprint: Footprint | None = None  # on a route with `signals`

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def config_version(self) -> str:
        return self.snapshot.version


class AttemptRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold one send. Times are milliseconds from the receipt of the request; 0.0: did not get that far."""

    deployment: str
    provider: str
    model: str
    outcome: str  # core.outcome.Kind
    status: int
    started_ms: float
    connected_ms: float
    answered_ms: float
    ended_ms: float
    usage: Usage
    charge_nano: int  # -1: unpriced
    charge_state: ChargeState
    price_version: str
    served_model: str
    message: str


class Hit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold which answer was given again: of what request (our id), by whom it was made, how old it was in milliseconds, and
    what it had cost in nano-dollars, which is the saving; -1: unpriced."""

    request_id: str
    deployment: str
    provider: str
    model: str
    served_model: str
    age_ms: int
    saved_nano: int


class Settled(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="S"):
    """Hold the end of one request. Times are milliseconds from its receipt: decided, first content to the client (0.0:
    none), end; `upstream_ms` of it was spent waiting for providers, the rest is the router's own."""

    id: str
    at_ms: int
    route: str
    outcome: str
    status: int
    attempts: tuple[AttemptRow, ...]
    queue_ms: float
    decided_ms: float
    first_ms: float
    ended_ms: float
    upstream_ms: float
    degraded: str = ""  # name of the ladder's rung that answered; "": none did
    cache: str = ""  # of a route that keeps answers: hit, miss, refresh or off; "": it keeps none
    hit: Hit | None = None


class Feedback(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="F"):
    """Hold one judgement of an answer, given after it. Unix milliseconds.

    It names either a request (by our id or by the x-request-id of the client) or a session. Whether there is such a one of
    the same caller is not known here: the ledger joins them. `score` is from 0, bad, to 1, good; None: none was given.
    """

    id: str
    at_ms: int
    caller: tuple[str, str, str, str]  # key, project, team, organisation of who gave it
    request_id: str
    session: str
    score: float | None
    thumbs: str  # up, down or ""
    label: str
    comment: str
    correction: str
    source: str  # who judges: user, reviewer ...


def total_of(attempts: Sequence[AttemptRow]) -> tuple[int, ChargeState]:
    """Return the sum of the attempts' charges in nano-dollars, -1 when any is unpriced, and its state: the worst."""
    state: ChargeState = "measured"
    nano = 0
    for row in attempts:
        if row.charge_state == "unpriced":
            return -1, "unpriced"
        nano += row.charge_nano
        if row.charge_state == "estimated":
            state = "estimated"
    return nano, state


class Sparse(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold a Snapshot with the states left as they were written: most decisions can be booked without them."""

    version: str
    now_ms: float
    seed: float
    written: msgspec.Raw  # the states
    calm: bool = False
    detail: Detail | None = None

    def whole(self) -> Snapshot:
        """Return the Snapshot. Raise ValueError when its states cannot be read."""
        try:
            states = _states(self.written)
        except msgspec.MsgspecError as error:
            raise ValueError(f"states cannot be read: {error}") from None
        return Snapshot(self.version, self.now_ms, self.seed, states, self.calm, self.detail)


class Filed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="A"):
    """Hold an Admitted record as it is read to be booked: the same fields, the snapshot a Sparse one, which keeps the bytes
    that it was read from."""

    request: Request
    client_id: str
    at_ms: int
    caller: tuple[str, str, str, str]
    asked_model: str
    snapshot: Sparse
    session: str = ""
    tags: tuple[str, ...] = ()
    trace: str = ""
    footprint: Footprint | None = None

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def config_version(self) -> str:
        return self.snapshot.version

    def whole(self) -> Admitted:
        """Return the record. Raise ValueError when its states cannot be read."""
        fields = (self.request, self.client_id, self.at_ms, self.caller, self.asked_model, self.snapshot.whole())
        return Admitted(*fields, self.session, self.tags, self.trace, self.footprint)

    def apart(self) -> Filed:
        """Return the same without a hold on the bytes that it was read from."""
        written = msgspec.Raw(bytes(self.snapshot.written))
        return structs.replace(self, snapshot=structs.replace(self.snapshot, written=written))


class Recorded(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold what a decision was made from, besides the policy of its version: what a ledger keeps of it."""

    asked_model: str
    route: str
    features: Features
    snapshot: Snapshot


Record = Admitted | Settled | Feedback
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode
_filed = msgspec.msgpack.Decoder(list[Filed | Settled | Feedback]).decode
_states = msgspec.msgpack.Decoder(tuple[State, ...]).decode
_recorded = msgspec.msgpack.Decoder(Recorded).decode
_block = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_NIL = b"\xc0"


def encode_records(records: list[Record]) -> bytes:
    """Return the journal payload of records that are written together: a MessagePack array of them."""
    return _encode(records)


def decode_records(payload: bytes) -> list[Record]:
    """Return the records of a journal payload. Raise ValueError when it is not one."""
    try:
        return _decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"journal record cannot be read: {error}") from None


def decode_filed(payload: bytes) -> list[Filed | Settled | Feedback]:
    """Return the records of a journal payload, to be booked. Raise ValueError when it is not one."""
    try:
        return _filed(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"journal record cannot be read: {error}") from None


def encode_recorded(filed: Filed) -> bytes:
    """Return the MessagePack of the Recorded of a request."""
    return _encode(_parts(filed))


def _parts(filed: Filed) -> tuple[object, ...]:
    """Return what a Recorded has of a request, in its order."""
    request = filed.request
    return filed.asked_model, request.route, request.features, filed.snapshot


def decode_recorded(blob: bytes) -> Recorded:
    """Return what `encode_recorded` was given. Raise ValueError when it cannot be read."""
    try:
        return _recorded(blob)
    except msgspec.MsgspecError as error:
        raise ValueError(f"decision cannot be read: {error}") from None


def encode_block(filed: Sequence[Filed | None]) -> bytes:
    """Return the MessagePack of the Recorded of several requests, one after the other; nil for None."""
    return _encode([None if one is None else _parts(one) for one in filed])


def decode_in_block(blob: bytes, place: int) -> Recorded | None:
    """Return one of what `encode_block` was given. Raise ValueError when it cannot be read."""
    try:
        written = _block(blob)[place]
        return None if bytes(written) == _NIL else _recorded(written)
    except (msgspec.MsgspecError, IndexError) as error:
        raise ValueError(f"decision cannot be read: {error}") from None


def decision_of(admitted: Admitted, routes: Mapping[str, Options]) -> tuple[Decision, int]:
    """Return the decision of an admitted request and its predicted cost in nano-dollars (-1: unpriced), made again from
    what was recorded. `routes` are those of the policy of `admitted.config_version`. Raise KeyError when the route is not
    among them."""
    request = admitted.request
    return decided_by(Recorded(admitted.asked_model, request.route, request.features, admitted.snapshot), routes)


def decided_by(recorded: Recorded, routes: Mapping[str, Options]) -> tuple[Decision, int]:
    """Return what `decision_of` does, from less."""
    features, snapshot = recorded.features, recorded.snapshot
    plan, decision = decide(Request("", "", recorded.route, features, 0.0, 0.0), routes[recorded.route], snapshot)
    asked = routes.get(recorded.asked_model)
    if asked is None or not asked.dynamic:
        return decision, plan.hold_nano
    detail, hold_nano = snapshot.detail or NO_DETAIL, plan.hold_nano
    try:
        routed = Routed(replayed(routes, asked, detail), features, detail)
    except RuleError as error:
        routed, hold_nano = Routed(Trail(asked), features, detail, error=error), 0
    return on_trail(decision, routed), hold_nano


def on_trail(decision: Decision, routed: Routed) -> Decision:
    """Return a decision with the way that led to it; when a rule on it could not be evaluated, nobody is chosen."""
    trail, error = routed.trail, routed.error
    if error is None:
        return structs.replace(decision, path=trail.path, arm=trail.arm, arm_probability=trail.arm_probability)
    return structs.replace(
        decision,
        order=(),
        scores=(),
        probabilities=(),
        reasons=(Reason.RULE.value,) * len(decision.candidates),
        reason=f"nobody:{Reason.RULE}",
        path=(*error.path, f"{error.route} rule {error.index + 1} failed: {error}"),
    )


def plan_on_trail(plan: Plan, routed: Routed) -> Plan:
    """Return the Plan of a request; when a rule on its way could not be evaluated, that of nobody."""
    return (
        plan if routed.error is None else structs.replace(plan, order=(), attempts=0, hold_nano=0, refused=Reason.RULE)
    )

"""Journal records for tests: small, valid, and different from each other."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, AttemptRow, Feedback, Filed, Settled, decode_filed, encode_records, total_of
from pointsman.core.head import Head
from pointsman.core.health import State
from pointsman.core.policy import Deployment, Key, Policy, Provider, Route, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.request import Features, Request
from pointsman.core.secret import Secret
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.stores.ledger import (
    ADMISSION_LOST,
    DAY_MS,
    NO_HEAD,
    NO_PLACE,
    Decided,
    Places,
    Row,
    day_of,
    is_lone,
    tags_of,
)

AT_MS = 1_795_000_000_000  # 2026-11-18
SNAPSHOT = Snapshot("v1", 5_000.0, 0.75, (State(120.0, 60.0, 4_000.0), State()))  # draws the second
_LOST_HEAD = Head("", "", "", -1, ADMISSION_LOST, None)
_NO_TOKENS: Row = (0, 0, 0, 0, 0, 0, 0, 0, "unknown")
_NO_HIT: tuple[str, int | None, int | None] = ("", None, None)
_NOT_LONE: Row = (None, None, None)
_SOURCES = ("measured", "estimated", "unknown")  # best first
_astuple = msgspec.structs.astuple
HOLD_NANO = 3_400_000  # of 1000 tokens in, 200 out, at `large`


def decision(**more: Any) -> Decision:
    """Return a decision between two candidates, the second drawn with probability 0.7."""
    made = Decision(
        route="drafts",
        strategy="weighted",
        snapshot=SNAPSHOT,
        features=Features(1_000, 200),
        candidates=("mini", "large"),
        reasons=(),
        order=(1, 0),
        scores=(7.0, 3.0),
        probabilities=(0.7, 0.3),
        reason="weighted:large",
    )
    return msgspec.structs.replace(made, **more)


def id_of(n: int) -> str:
    return f"req_{AT_MS + n * 1000:012x}{n:016x}"


def admitted(n: int = 0, route: str = "drafts", **more: Any) -> Admitted:
    """Return the admission of request number `n`, a second after the one before."""
    made = Admitted(
        request=Request(id_of(n), "chat", route, Features(1_000, 200), 4_999.0, 9_000.0),
        client_id="",
        at_ms=AT_MS + n * 1000,
        caller=("dev", "site", "web", "acme"),
        asked_model="drafts",
        snapshot=SNAPSHOT,
    )
    return msgspec.structs.replace(made, **more)


def recorded_as_filed(record: Admitted) -> Filed:
    """Return an Admitted record as the pump reads it."""
    (filed,) = decode_filed(encode_records([record]))
    assert isinstance(filed, Filed)
    return filed


def attempt(**more: Any) -> AttemptRow:
    """Return one send that succeeded."""
    made = AttemptRow(
        deployment="large",
        provider="lab",
        model="large-1",
        outcome="ok",
        status=200,
        started_ms=0.3,
        connected_ms=1.2,
        answered_ms=200.3,
        ended_ms=900.3,
        usage=Usage(1_000, 50, 400),
        charge_nano=120_000,
        charge_state="measured",
        price_version="p1",
        served_model="large-1-2026",
        message="",
    )
    return msgspec.structs.replace(made, **more)


def settled(n: int = 0, *attempts: AttemptRow, **more: Any) -> Settled:
    """Return the end of request number `n`; without attempts: one that succeeded."""
    rows = attempts or (attempt(),)
    made = Settled(
        id=id_of(n),
        at_ms=AT_MS + n * 1000 + 901,
        route="drafts",
        outcome=rows[-1].outcome,
        status=200,
        attempts=rows,
        queue_ms=0.01,
        decided_ms=0.05,
        first_ms=200.4,
        ended_ms=901.0,
        upstream_ms=900.85,
    )
    return msgspec.structs.replace(made, **more)


def feedback(n: int = 0, **more: Any) -> Feedback:
    """Return a thumb up for request number `n`, an hour after it, by the same caller."""
    made = Feedback(
        id=f"fbk_{AT_MS + n * 1000:012x}{n:016x}",
        at_ms=AT_MS + n * 1000 + 3_600_000,
        caller=("dev", "site", "web", "acme"),
        request_id=id_of(n),
        session="",
        score=1.0,
        thumbs="up",
        label="",
        comment="",
        correction="",
        source="user",
    )
    return msgspec.structs.replace(made, **more)


def policy(version: str = "v1") -> Policy:
    """Return the policy that `decision` follows from."""
    return Policy(
        version=version,
        source="test",
        providers={"lab": Provider(name="lab", dialect="openai", base_url="http://lab", api_key=Secret("canary-key"))},
        deployments=(
            Deployment(name="mini", provider="lab", wire=Wire(model="mini-1")),
            Deployment(
                name="large",
                provider="lab",
                wire=Wire(model="large-1"),
                price=Price(rates=Rates(input=3_000_000_000, output=2_000_000_000), version="p1", source="config"),
            ),
        ),
        routes={
            "drafts": Route(name="drafts", candidates=("mini", "large"), strategy="weighted", weights=(3.0, 7.0)),
            "other": Route(name="other", candidates=("mini",)),
        },
        keys=(Key(name="dev", digest=b"canary-digest"),),
    )


def decided(**more: Any) -> Decided:
    """Return `decision` with its prediction."""
    return Decided(decision(**more), HOLD_NANO)


def request_row(admitted: Admitted | Filed | None, settled: Settled, made: Head | None, places: Places) -> Row:
    """Return the request row of an ended request, made by itself. Without its Admitted record it says so."""
    (_, _, route, outcome, status, attempts, queue_ms, decided_ms, first_ms, ended_ms, upstream_ms, degraded, cache,
     hit) = _astuple(settled)  # fmt: skip
    head = (made or NO_HEAD) if admitted is not None else _LOST_HEAD
    began_ms, connected_ms, lone, hit_columns = 0.0, 0.0, _NOT_LONE, _NO_HIT
    if attempts:
        (deployment, provider, model, _, _, began_ms, connected_ms, answered_ms, until_ms, usage, nano, state, price, served,
         _) = _astuple(attempts[-1])  # fmt: skip
        tokens: Row = _astuple(usage)
        if is_lone(settled):
            lone = (
                round(began_ms * 1000.0) if began_ms > 0.0 else 0,
                round((answered_ms - began_ms) * 1000.0) if answered_ms > began_ms else 0,
                round((until_ms - began_ms) * 1000.0) if until_ms > began_ms else 0,
            )
    else:
        deployment, served = head.planned, ""
        provider, model, price = _astuple(places.get(deployment, NO_PLACE))
    if len(attempts) != 1:
        tokens, (nano, state) = _tokens(attempts), total_of(attempts)
    if hit is not None:
        deployment, provider, model, served, price = hit.deployment, hit.provider, hit.model, hit.served_model, ""
        connected_ms = began_ms
        hit_columns = (hit.request_id, hit.age_ms, None if hit.saved_nano < 0 else hit.saved_nano)
    version, session, tags = "", "", ""
    if admitted is not None:
        version, session, tags = admitted.snapshot.version, admitted.session, tags_of(admitted.tags)
    _, strategy, planned, hold_nano, reason, probability, path, arm, arm_probability = _astuple(head)
    return (
        *(_asked(admitted, route) if admitted is not None else _lost(settled)),
        strategy, planned, deployment, provider, model, served, outcome, status, len(attempts), *tokens,
        None if state == "unpriced" or nano < 0 else nano, state, None if hold_nano < 0 else hold_nano,
        price, version, reason, probability,
        round(queue_ms * 1000.0) if queue_ms > 0.0 else 0,
        round((decided_ms - queue_ms) * 1000.0) if decided_ms > queue_ms else 0,
        round((connected_ms - began_ms) * 1000.0) if connected_ms > began_ms else 0,
        round(first_ms * 1000.0) if first_ms > 0.0 else 0,
        round(ended_ms * 1000.0) if ended_ms > 0.0 else 0,
        round((ended_ms - upstream_ms) * 1000.0) if ended_ms > upstream_ms else 0,
        0, path, arm, arm_probability, degraded, session, tags, cache, *hit_columns, *lone,
    )  # fmt: skip


def _asked(a: Admitted | Filed, route: str) -> Row:
    r, at_ms = a.request, a.at_ms
    stream = 1 if r.features.stream else 0
    return (r.id, a.client_id, at_ms, day_of(at_ms // DAY_MS), *a.caller, r.kind, stream, a.asked_model, route)


def _lost(s: Settled) -> Row:
    """Return the columns `id` to `route` when only the settlement is left."""
    at_ms = s.at_ms - int(s.ended_ms)
    return (s.id, "", at_ms, day_of(at_ms // DAY_MS), "", "", "", "", "", 0, "", s.route)


def _tokens(attempts: tuple[AttemptRow, ...]) -> Row:
    """Return the token columns: sums over the attempts, and the weakest source among those that used any."""
    parts = [_astuple(a.usage) for a in attempts if a.usage.source != "unknown" or a.charge_nano]
    if not parts:
        return _NO_TOKENS
    *counts, sources = zip(*parts, strict=True)
    return (*map(sum, counts), max(sources, key=_SOURCES.index))

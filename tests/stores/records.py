"""Journal records for tests: small, valid, and different from each other."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, AttemptRow, Feedback, Settled
from pointsman.core.health import State
from pointsman.core.policy import Deployment, Key, Policy, Provider, Route, Wire
from pointsman.core.pricing import Price, Rates
from pointsman.core.request import Features, Request
from pointsman.core.secret import Secret
from pointsman.core.strategy import Snapshot
from pointsman.core.usage import Usage
from pointsman.stores.ledger import Decided

AT_MS = 1_795_000_000_000  # 2026-11-18
SNAPSHOT = Snapshot("v1", 5_000.0, 0.75, (State(120.0, 60.0, 4_000.0), State()))  # draws the second
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

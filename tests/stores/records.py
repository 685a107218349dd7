"""Journal records for tests: small, valid, and different from each other."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.decide import Decision, Snapshot
from pointsman.core.entry import Admitted, AttemptRow, Settled
from pointsman.core.health import State
from pointsman.core.ids import request_id
from pointsman.core.request import Features
from pointsman.core.usage import Usage

AT_MS = 1_795_000_000_000  # 2026-11-18


def decision(**more: Any) -> Decision:
    """Return a decision between two candidates, the second drawn with probability 0.7."""
    made = Decision(
        route="drafts",
        strategy="weighted",
        snapshot=Snapshot("v1", 5_000.0, 42, (State(120.0, 60.0, 4_000.0), State())),
        features=Features(1_000, 200),
        candidates=("mini", "large"),
        reasons=(),
        order=(1, 0),
        scores=(7.0, 3.0),
        probabilities=(0.7, 0.3),
        reason="weighted:large",
    )
    return msgspec.structs.replace(made, **more)


def admitted(n: int = 0, **more: Any) -> Admitted:
    """Return the admission of request number `n`, a second after the one before."""
    made = Admitted(
        id=request_id(AT_MS + n * 1000, n),
        client_id="",
        at_ms=AT_MS + n * 1000,
        key="dev",
        project="site",
        team="web",
        organisation="acme",
        kind="chat",
        stream=False,
        asked_model="drafts",
        config_version="v1",
        hold_nano=500_000,
        decision=decision(),
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
        started_us=300,
        connect_us=900,
        ttft_us=200_000,
        total_us=900_000,
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
        id=request_id(AT_MS + n * 1000, n),
        at_ms=AT_MS + n * 1000 + 901,
        outcome=rows[-1].outcome,
        status=200,
        attempts=rows,
        charge_nano=-1 if any(a.charge_nano < 0 for a in rows) else sum(a.charge_nano for a in rows),
        charge_state="unpriced" if any(a.charge_nano < 0 for a in rows) else "measured",
        queue_us=10,
        decide_us=40,
        ttft_us=200_300,
        total_us=901_000,
        overhead_us=150,
    )
    return msgspec.structs.replace(made, **more)

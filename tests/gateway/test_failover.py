"""Failover before content: whatever the first provider does, the client sees one complete answer (FAULTS B and C)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gateway_faults import FAULTS, Fault
from gateway_lab import Lab
from gateway_raw import ask
from gateway_router import Router


def _test_of(fault: Fault) -> Callable[..., None]:
    @pytest.mark.parametrize("stream", fault.streams, ids=lambda s: "stream" if s else "unary")
    @pytest.mark.parametrize("dialect", fault.dialects)
    def check(router: Router, lab: Lab, dialect: str, stream: bool) -> None:
        model = fault.model(stream)
        answer = ask(router, f"{dialect}/{model}", stream=stream, text=f"tell me about {model}")
        assert answer.status == 200, answer.body
        assert len(answer.text) >= 70  # the whole of it: twenty tokens
        if stream:
            assert answer.done and answer.finishes == ["stop"]
            assert not [e for e in answer.events if "error" in e]
        assert answer.headers["x-pointsman-deployment"] == "openai-m"
        booked = router.settled(answer.id)
        assert (booked.outcome, booked.status) == ("ok", 200)
        assert answer.headers["x-pointsman-attempts"] == str(len(booked.attempts))
        first, second = (a for a in booked.attempts if a.outcome != "stale")  # a pooled connection may be gone (f07)
        assert first.deployment == f"{dialect}-{model}"
        assert first.outcome in fault.outcomes
        assert (second.deployment, second.outcome, second.usage.source) == ("openai-m", "ok", "measured")
        assert booked.charge_nano == (-1 if first.charge_nano < 0 else first.charge_nano + second.charge_nano)
        assert [e.model for e in lab.served(answer.id)].count("m") == 1

    return check


for _fault in FAULTS:
    globals()[f"test_f{_fault.number:02d}_{_fault.name}_gives_another_deployments_answer"] = _test_of(_fault)

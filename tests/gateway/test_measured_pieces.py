"""What is measured of answers in one piece: the time to the first token is told apart from the time it took to write them."""

from __future__ import annotations

from collections.abc import Callable

from gateway_lab import FAST, SECRET, Lab, deployment, small_config
from gateway_raw import ask, fetch
from gateway_router import Router, until

StartRouter = Callable[..., Router]
WRITES = FAST | {"ttft_ms": {"p50": 50, "p95": 50}, "tokens_per_s": 50, "output_tokens": {"p50": 30, "p95": 30}}


def test_answers_in_one_piece_do_not_make_a_deployment_look_slow_to_begin(start_router: StartRouter) -> None:
    provider = {"name": "openai", "dialect": "openai", "keys": {"main": SECRET}, "models": {"m": WRITES}}
    with Lab({"providers": [provider], "seed": 7}) as lab:
        router = start_router(small_config(lab, {"one": deployment("openai", "m")}, {}))
        assert ask(router, "one", stream=True).status == 200  # tells its speed: some 50 tokens a second
        for _ in range(4):
            assert ask(router, "one").status == 200  # takes 50 ms and 30 tokens: more than half a second

        def measured() -> float:
            [row] = fetch(router, "/v1/health/deployments").json["deployments"]
            return float(row["ttft_p95_ms"] or 0.0) if row["sampled"] == 5 else 0.0

        assert 20 <= until(measured) < 300

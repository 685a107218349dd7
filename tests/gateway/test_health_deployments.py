"""GET /v1/health/deployments: the worker's own view, behind a key, in figures."""

from __future__ import annotations

from gateway_raw import ask, fetch
from gateway_router import Router


def test_each_deployment_stands_as_it_was_measured(router: Router) -> None:
    for _ in range(3):
        assert ask(router, "openai-m").status == 200
    answer = fetch(router, "/v1/health/deployments")
    assert answer.status == 200
    told = answer.json
    by_name = {one["deployment"]: one for one in told["deployments"]}
    assert set(by_name) == {d.name for d in router.policy.deployments}
    one = by_name["openai-m"]
    assert one["breaker"] == "closed" and one["failures"] == 0 and one["measured_s_ago"] >= 0.0
    assert told["config"] == router.policy.version


def test_without_a_key_it_is_not_told(router: Router) -> None:
    assert fetch(router, "/v1/health/deployments", auth="x: y").status == 401

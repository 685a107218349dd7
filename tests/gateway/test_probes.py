"""The endpoints of operators: quick, truthful, without a key, and never a call to a provider."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from gateway_lab import Lab, deployment, small_config
from gateway_raw import Wire, ask, chat_body, elapsed_ms, fetch, post
from gateway_router import Router

StartRouter = Callable[..., Router]
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)")


def parse(text: str) -> dict[str, dict[str, float]]:
    """Return name -> labels -> value of a Prometheus text (format 0.0.4); fail on anything else."""
    found: dict[str, dict[str, float]] = {}
    typed: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
            assert line.split()[3] in ("counter", "gauge", "histogram")
        if line.startswith("#") or not line:
            continue
        match = LINE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert re.sub("_(bucket|sum|count)$", "", name) in typed or name in typed, name
        series = found.setdefault(name, {})
        assert (labels or "") not in series, f"twice: {line}"
        series[labels or ""] = float(value)
        assert math.isfinite(float(value))
    return found


def test_the_probes_answer_without_a_key(router: Router) -> None:
    for path, word in (("/livez", "alive"), ("/readyz", "ready"), ("/health", "")):
        answer = fetch(router, path, auth="")
        assert answer.status == 200
        assert not word or answer.json["status"] == word


def test_f103_the_probes_are_quick_and_call_nobody(router: Router, lab: Lab) -> None:
    served = len(lab.served())
    with Wire(router.port) as wire:
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            start = time.monotonic()
            wire.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert wire.response().status == 200
            assert elapsed_ms(start) < 100
    assert len(lab.served()) == served


def test_health_shows_each_deployment_and_the_config(router: Router) -> None:
    told = fetch(router, "/health").json
    assert told["config"] == router.policy.version
    assert set(told["deployments"]) == {d.name for d in router.policy.deployments}
    assert set(told["deployments"].values()) <= {"closed", "open", "half_open", "cooling"}


def test_metrics_count_what_happened(lab: Lab, start_router: StartRouter) -> None:
    deployments = {
        "bad": deployment("openai", "invalid-400"),
        "a": deployment("openai", "m"),
        "g": deployment("gemini", "m"),
    }
    deployments["free"] = {"provider": "openai", "model": "m"}
    router = start_router(small_config(lab, deployments, {"r": {"candidates": ["a", "g"]}}))
    for i in range(7):
        ask(router, "r", stream=bool(i % 2))
    ask(router, "g")
    ask(router, "bad")
    ask(router, "free")
    for _ in range(3):
        ask(router, "nobody")
    router.check_books()
    rows = router.all_settled()
    metrics = parse(fetch(router, "/metrics", auth="").body.decode())
    requests = metrics["pointsman_requests_total"]
    assert requests['{route="r",deployment="a",outcome="ok"}'] == 7
    assert requests['{route="g",deployment="g",outcome="ok"}'] == 1
    assert requests['{route="bad",deployment="bad",outcome="invalid_request"}'] == 1
    assert sum(requests.values()) == len(rows) == 10
    assert metrics["pointsman_refused_total"]['{code="model_not_found"}'] == 3
    assert sum(metrics["pointsman_attempts_total"].values()) == sum(len(r.attempts) for r in rows)
    attempts = [a for r in rows for a in r.attempts if a.deployment == "a"]
    assert metrics["pointsman_tokens_total"]['{deployment="a",direction="input"}'] == sum(
        a.usage.input_tokens for a in attempts
    )
    assert metrics["pointsman_tokens_total"]['{deployment="a",direction="output"}'] == sum(
        a.usage.output_tokens for a in attempts
    )
    cost = metrics["pointsman_cost_usd_total"]['{deployment="a",state="measured"}']
    assert round(cost * 1e9) == sum(a.charge_nano for a in attempts)
    assert metrics["pointsman_unpriced_total"]['{deployment="free"}'] == 1
    assert metrics["pointsman_request_duration_seconds_count"]['{route="r"}'] == 7
    assert metrics["pointsman_overhead_seconds_count"][""] == 10
    assert metrics["pointsman_workers"][""] == 1
    assert metrics["pointsman_active_requests"][""] == 0
    buckets = [v for k, v in metrics["pointsman_request_duration_seconds_bucket"].items() if 'route="r"' in k]
    assert buckets == sorted(buckets) and buckets[-1] == 7


def test_f101_series_do_not_grow_with_what_clients_write(router: Router) -> None:
    def series() -> int:
        return sum(len(found) for found in parse(fetch(router, "/metrics").body.decode()).values())

    ask(router, "nobody")
    before = series()
    with Wire(router.port) as wire:
        for i in range(300):
            wire.send(post(chat_body(f"made-up-{i}"), f"x-request-id: id-{i}"))
            assert wire.response().status == 404
    assert series() - before <= 2


def test_active_requests_are_shown_while_they_run(router: Router) -> None:
    with Wire(router.port) as wire:
        wire.send(post(chat_body("openai-paced", stream=True)))
        wire.head()
        metrics = parse(fetch(router, "/metrics").body.decode())
        assert metrics["pointsman_active_requests"][""] >= 1
        assert metrics["pointsman_open_connections"][""] >= 2


def test_f100_a_connection_beyond_the_limit_gets_a_503(lab: Lab, start_router: StartRouter) -> None:
    config = small_config(lab, {"a": deployment("openai", "m")}, {}, limits={"connections": 3})
    router = start_router(config)
    wires = [Wire(router.port) for _ in range(3)]
    for wire in wires:
        wire.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wire.response().status == 200
    with Wire(router.port) as extra:
        answer = extra.response()
        assert answer.status == 503 and answer.headers["retry-after"]
        assert extra.ended(2)
    wires.pop().close()
    time.sleep(0.1)
    assert ask(router, "a").status == 200
    for wire in wires:
        wire.close()


def test_the_worker_is_ready_soon_and_small(lab: Lab, start_router: StartRouter) -> None:
    start = time.monotonic()
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}))
    assert elapsed_ms(start) < 3000  # the target is 1 s; the benchmark holds it, this machine is shared
    assert router.rss_bytes() < 80 * 1024 * 1024

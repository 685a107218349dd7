"""Spans of a real router at a real collector: failover, streams, sampling, propagation, a collector that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_capture import Capture
from observed_world import HEADER, Collector, values
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from serving import Serving, Upstream, environment, until

from pointsman.config import tracing as tracing_config
from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
ROOT = Path(__file__).parents[2]
NAMES = json.loads((Path(__file__).parent / "fixtures" / "gen_ai_names.json").read_text())
PROMPT = "canary-prompt-0123456789"


class Traced:
    """A router that sends its spans to a collector; what clients ask of it."""

    def __init__(self, router: Serving, collector: Collector) -> None:
        self.router, self.collector = router, collector

    def ask(self, model: str, *, stream: bool = False, **headers: str) -> str:
        import http.client

        connection = http.client.HTTPConnection(self.router.host, self.router.port, timeout=20)
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream, "max_tokens": 50}
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **headers}
        )
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return str(answer.getheader("x-request-id"))

    def spans(self, request_id: str, within_s: float = 15.0) -> list[Span]:
        """Return the spans of a request, its root first."""

        def root() -> list[Span]:
            return [one for one in self.collector.spans() if values(one).get("pointsman.request.id") == request_id]

        until(lambda: bool(root()), within_s)
        (first,) = root()
        return [first, *(one for one in self.collector.spans() if one.parent_span_id == first.span_id)]

    def metric(self, name: str) -> float:
        text = self.router.ask("/metrics", admin=True)[1].decode()
        return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder, upstream = tmp_path_factory.mktemp("traced"), Upstream()
    with Collector() as collector, Capture() as capture:
        made = yaml.safe_load(upstream.config())
        made["providers"]["own"] = {
            "dialect": "openai",
            "base_url": f"http://127.0.0.1:{capture.port}/v1",
            "api_key": "k" * 20,
        }
        made["deployments"]["own"] = {
            "provider": "own",
            "model": "m",
            "price": {"input": 1, "output": 1},
            "context": 8000,
        }
        settings = {
            "endpoint": collector.url,
            "sample": 1.0,
            "propagate": ["own"],
            "headers": {"x-token": "${COLLECTOR}"},
        }
        made["server"] = {"tracing": settings | {"service": "edge"}}
        config = folder / "router.yaml"
        config.write_text(yaml.safe_dump(made))
        router = Serving(folder, str(config), env=environment(COLLECTOR=HEADER))
        found = Traced(router, collector)
        found.capture = capture  # type: ignore[attr-defined]
        try:
            yield found
            assert HEADER not in router.said
        finally:
            router.kill()
            upstream.shutdown()
            upstream.server_close()


def test_a_failover_is_a_tree_of_the_request_its_decision_and_both_attempts(traced: Traced) -> None:
    root, *parts = traced.spans(traced.ask("rocky", traceparent=GOOD, tracestate="a=1"))
    assert root.trace_id.hex() == TRACE and root.parent_span_id.hex() == PARENT and root.trace_state == "a=1"
    assert root.kind == Span.SPAN_KIND_SERVER and root.status.code == Status.STATUS_CODE_UNSET
    kinds = sorted((one.name, one.kind) for one in parts if one.name != "wait")
    client = Span.SPAN_KIND_CLIENT
    assert kinds == [("chat broken-1", client), ("chat fast-1", client), ("decide", Span.SPAN_KIND_INTERNAL)]
    broken, fast = (next(one for one in parts if one.name == f"chat {name}") for name in ("broken-1", "fast-1"))
    assert broken.status.code == Status.STATUS_CODE_ERROR and values(broken)["error.type"] == "server_error"
    assert root.start_time_unix_nano <= broken.start_time_unix_nano < broken.end_time_unix_nano
    assert broken.end_time_unix_nano <= fast.start_time_unix_nano < fast.end_time_unix_nano <= root.end_time_unix_nano
    assert values(root)["pointsman.attempts"] == 2 and values(root)["pointsman.outcome"] == "ok"


def test_every_documented_attribute_arrives_and_no_other(traced: Traced) -> None:
    ids = [traced.ask("rocky"), traced.ask("main", stream=True), traced.ask("own")]
    found = {name for id in ids for one in traced.spans(id) for name in values(one)}
    page = (ROOT / "docs" / "observability.md").read_text()
    table = page.split("### Attributes")[1].split("\n## ")[0].split("\n### ")[0]
    documented = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    absent = {name for name, line in documented.items() if "if there" in line}  # of requests that these are not
    assert found <= set(documented) and set(documented) - absent <= found
    assert {name for name in documented if not name.startswith("pointsman.")} == set(NAMES["attributes"])


def test_a_stream_has_its_first_content(traced: Traced) -> None:
    root, *parts = traced.spans(traced.ask("main", stream=True))
    attempt = next(one for one in parts if one.kind == Span.SPAN_KIND_CLIENT)
    said = values(attempt)
    assert said["gen_ai.request.stream"] is True and said["gen_ai.response.time_to_first_chunk"] > 0
    for span in (root, attempt):
        (event,) = span.events
        assert event.name == "pointsman.first_content"
        assert span.start_time_unix_nano < event.time_unix_nano <= span.end_time_unix_nano
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (100, 10)
    assert "gen_ai.request.stream" not in {name for one in traced.spans(traced.ask("main")) for name in values(one)}


def test_only_a_provider_that_is_named_is_told_and_it_is_told_the_span_of_its_attempt(traced: Traced) -> None:
    capture: Any = traced.capture  # type: ignore[attr-defined]
    _, *parts = traced.spans(traced.ask("own", traceparent=GOOD, tracestate="a=1,b=2"))
    attempt = next(one for one in parts if one.kind == Span.SPAN_KIND_CLIENT)
    assert capture.head["traceparent"] == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert capture.head["tracestate"] == "a=1,b=2"
    _, *parts = traced.spans(traced.ask("own"))
    attempt = next(one for one in parts if one.kind == Span.SPAN_KIND_CLIENT)
    assert capture.head["traceparent"] == f"00-{attempt.trace_id.hex()}-{attempt.span_id.hex()}-01"
    assert "tracestate" not in capture.head


def test_a_bad_parent_begins_a_trace_and_an_unsampled_one_is_heeded(traced: Traced) -> None:
    root, *_ = traced.spans(traced.ask("main", traceparent=GOOD.upper()))
    assert root.trace_id.hex() != TRACE and not root.parent_span_id
    unsampled = traced.ask("main", traceparent=GOOD[:-1] + "0")
    traced.spans(traced.ask("main"))  # booked later
    assert unsampled not in {values(one).get("pointsman.request.id") for one in traced.collector.spans()}


def test_what_the_collector_gets(traced: Traced) -> None:
    traced.spans(traced.ask("main"))
    path, headers, made = traced.collector.requests[-1]
    lower = {name.lower(): value for name, value in headers.items()}
    assert path == "/v1/traces" and lower["x-token"] == HEADER
    resource = {one.key: one.value.string_value for one in made.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "edge"
    assert PROMPT not in "".join(str(one) for _, _, one in traced.collector.requests)
    assert traced.metric("pointsman_spans_total") > 0


def test_a_collector_that_fails_costs_spans_and_no_request(traced: Traced) -> None:
    traced.collector.status = 400
    dropped = traced.metric("pointsman_spans_dropped_total")
    traced.ask("main")
    until(lambda: traced.metric("pointsman_spans_dropped_total") > dropped, 15)
    assert traced.metric("pointsman_ledger_lag_bytes") == 0 and traced.metric("pointsman_ledger_up") == 1
    until(lambda: "did not take" in traced.router.said, 5)
    traced.collector.status = 200
    traced.spans(traced.ask("main"))


BASE = (
    "providers: {p: {dialect: openai, base_url: 'http://127.0.0.1:1/v1'}}\ndeployments: {a: {provider: p, model: m}}\n"
)
WRONG = [
    ("endpoint: 'ftp://x'", "expected a URL"),
    ("endpoint: 'http://u:p@127.0.0.1:4318'", "must not hold a credential"),
    ("endpoint: 'http://collector.example.com', headers: {a: canary-secret}", "headers hold secrets"),
    ("endpoint: 'http://127.0.0.1:4318', headers: {'a b': x}", "is no name of a header"),
    ("endpoint: 'http://127.0.0.1:4318', sample: 2", "sample"),
    ("endpoint: 'http://127.0.0.1:4318', propagate: [q]", 'unknown provider "q"'),
]


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_what_is_wrong_is_told(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")) as raised:
        load_text(f"{BASE}server: {{tracing: {{{text}}}}}\n", "t.yaml", {})
    assert "canary" not in str(raised.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing_config, "LIBRARIES", ("opentelemetry", "opentelemetry_that_nobody_has"))
    with pytest.raises(ConfigError, match=r"pip install 'pointsman\[otel\]'"):
        load_text(f"{BASE}server: {{tracing: {{endpoint: 'http://127.0.0.1:4318'}}}}\n", "t.yaml", {})

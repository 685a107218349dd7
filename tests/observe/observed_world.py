"""A router as real processes to which everything happens that there is a metric for; a collector of spans."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from gateway_lab import FAST, SECRET, SLOW, Lab, deployment, provider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from serving import Serving, until

WORKER, CONTROL = "pointsman.gateway.worker", "pointsman.control.main"
KEY = "sk-observed-0123456789abcdef"
LOW = "sk-observed-low-0123456789abcdef"
FREE = "sk-observed-free-0123456789abcdef"  # without a quota
HEADER = "canary-collector-0123456789"
RESET = ("How do I reset my password?", "How can I reset my password, please?")
_SILENT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "silent",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
}
_SCRIPT = [
    {"match": {"model": "refuses-us"}, "do": "status", "status": 401},
    {"match": {"model": "breaks"}, "do": "status", "status": 500},
    {"match": {"model": "silent"}, "do": "body", "text": json.dumps(_SILENT)},
]


class _Collecting(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.taken(self.path, dict(self.headers.items()), body)
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Collector(ThreadingHTTPServer):
    """Take OTLP over HTTP and keep what came; `status`: what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collecting)
        self.status = 200
        self.requests: list[tuple[str, dict[str, str], ExportTraceServiceRequest]] = []

    def __enter__(self) -> Collector:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def taken(self, path: str, headers: dict[str, str], body: bytes) -> None:
        made = ExportTraceServiceRequest()
        made.ParseFromString(body)
        self.requests.append((path, headers, made))

    def spans(self) -> list[Span]:
        return [
            span for _, _, one in list(self.requests)
            for resource in one.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]  # fmt: skip


def values(span: Any) -> dict[str, Any]:
    """Return the attributes of a span, or of an event, as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


class World:
    """Pretend providers and a router in front of them. Use as a context, then `live`."""

    def __init__(self, folder: Path, **tracing: Any) -> None:
        self._folder = folder
        self._lab = Lab(
            {
                "providers": [
                    {
                        "name": "openai",
                        "dialect": "openai",
                        "keys": {"main": SECRET},
                        "models": {
                            **dict.fromkeys(("m", "breaks", "refuses-us", "silent", "unpriced"), FAST),
                            "slow": SLOW,
                        },
                    }
                ],
                "script": _SCRIPT,
                "seed": 7,
            }
        )
        self._tracing = tracing
        self.path = folder / "router.yaml"
        self.router: Serving
        self.waiting: list[socket.socket] = []

    def __enter__(self) -> World:
        self._lab.__enter__()
        self.write()
        try:
            self.router = Serving(self._folder, str(self.path))
        except BaseException:
            self._lab.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.router.kill()
        self._lab.__exit__(kind, error, where)

    def write(self, **more: Any) -> None:
        """Write the config; a collector and a webhook that nobody listens at are part of it."""
        deployments = {name: deployment("openai", name) for name in ("m", "breaks", "refuses-us", "silent", "slow")}
        nowhere = dead_port()
        hook = {"name": "hook", "url": f"http://127.0.0.1:{nowhere}/canary", "quiet": "1s"}
        made: dict[str, Any] = {
            "providers": {"openai": provider(self._lab, "openai")},
            "deployments": deployments | {"unpriced": {"provider": "openai", "model": "unpriced", "context": 8000}},
            "routes": {
                "main": {"candidates": ["m"]},
                "rocky": {"candidates": ["breaks", "m"]},
                "locked": {"candidates": ["refuses-us", "m"]},
                "quiet": {"candidates": ["silent", "m"]},
                "faq": {"candidates": ["m"], "cache": {"ttl": "1h", "semantic": {"check": 0}}},
                "down": {"candidates": ["breaks"], "degrade": [{"reply": "Later."}]},
                "lazy": {"candidates": ["slow"]},
            },
            "keys": [
                {"name": "web", "key": KEY},
                {"name": "low", "key": LOW, "priority": "low"},
                {"name": "free", "key": FREE},
            ],
            "quotas": [{"key": "web", "requests": "40/h", "name": "hourly"}],
            "limits": {"concurrent_requests": 10},
            "notify": [hook],
            "server": {"tracing": {"endpoint": f"http://127.0.0.1:{nowhere}", "sample": 1.0} | self._tracing},
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(made | more, sort_keys=False))
        fresh.replace(self.path)

    # --- what clients do
    def chat(self, model: str, text: str = "hi", key: str = KEY, *, stream: bool = False, **headers: str) -> Any:
        """Send a request; return status, headers, body."""
        import http.client

        connection = http.client.HTTPConnection(self.router.host, self.router.port, timeout=30)
        try:
            body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
            sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def hang(self, count: int, key: str = KEY) -> list[socket.socket]:
        """Leave requests under way."""
        body = json.dumps({"model": "lazy", "messages": [{"role": "user", "content": "hi"}]}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        found = []
        for _ in range(count):
            found.append(socket.create_connection((self.router.host, self.router.port)))
            found[-1].sendall(head.encode() + body)
        return found

    def feedback(self, request_id: str) -> None:
        import http.client

        connection = http.client.HTTPConnection(self.router.host, self.router.port, timeout=30)
        body = json.dumps({"request_id": request_id, "thumbs": "down"})
        connection.request(
            "POST", "/v1/feedback", body, {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        )
        assert connection.getresponse().status == 202
        connection.close()

    # --- what is seen
    def scrape(self, *, admin: bool = True) -> str:
        status, body = self.router.ask("/metrics", admin=admin)
        assert status == 200
        return body.decode()

    def value(self, start: str) -> float:
        """Return the sum of the rows that begin so."""
        rows = [line for line in self.scrape().splitlines() if line.startswith(start)]
        return sum(float(row.rpartition(" ")[2]) for row in rows)

    def moved(self, *starts: str, within_s: float = 60.0) -> None:
        for start in starts:
            until(lambda s=start: self.value(s) > 0, within_s)  # type: ignore[misc]

    def live(self) -> None:
        """Have everything happen; first what takes the counters of a worker away."""
        chat = self.chat
        waiting = self.hang(3)
        self.moved("pointsman_ledger_open_requests")
        (pid,) = self.router.children(WORKER)
        os.kill(pid, signal.SIGKILL)
        for one in waiting:
            one.close()
        self.moved("pointsman_ledger_recovered_total", 'pointsman_process_restarts_total{process="worker"}')
        until(self._listens, 20)
        self.path.write_text("deployments: 7")
        self.moved("pointsman_config_reload_failures_total")
        self.write()
        self.moved("pointsman_config_reloads_total")
        for model in ("main", "rocky", "locked", "quiet", "unpriced", *["down"] * 6):
            assert chat(model)[0] == 200, model
        assert chat("main", stream=True)[0] == 200 and chat("nothing")[0] == 404
        for _ in range(2):
            assert chat("main", idempotency_key="one")[0] == 200
        similar = [chat("faq", text)[1] for text in (RESET[0], RESET[0], RESET[1])][-1]
        assert similar["x-pointsman-cache"] == "semantic"
        self.feedback(similar["x-request-id"])
        self.moved("pointsman_cache_checks_total")  # published later, and what comes next does not last
        while chat("main")[0] == 200:  # until the quota has no room
            pass
        self.waiting = self.hang(7, LOW)
        until(lambda: chat("main", key=LOW)[0] == 503, 10)
        self.moved("pointsman_active_requests", "pointsman_pressure", "pointsman_span_export_failures_total")
        self.moved("pointsman_notify_failures_total", "pointsman_shed_total", "pointsman_quota_used_share")

    def _listens(self) -> bool:
        try:
            return self.router.ask("/livez")[0] == 200
        except OSError:
            return False


def dead_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

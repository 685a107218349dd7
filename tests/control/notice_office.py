"""A webhook, and notices over a data folder: `hook` and `office` are the fixtures."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from pointsman.control.notices import Notices
from pointsman.core.notice import Channel
from pointsman.core.policy import OWN_FILE, Listener, Policy
from pointsman.core.secret import Secret
from pointsman.observe.metrics import Metrics
from pointsman.stores.choose import Stores

SECRET_PATH = "/T00/B00/canary-webhook-secret"


class Hook(ThreadingHTTPServer):
    """A webhook: what was posted, and what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Posted)
        self.posted: list[Any] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{SECRET_PATH}"


class _Posted(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Office:
    """Notices over a data folder whose metrics a test writes, with a clock of its own."""

    def __init__(self, data: Path, *channels: Channel, ledger: Secret = OWN_FILE) -> None:
        (data / "run").mkdir(parents=True)
        self.data, self.now_s, self.failed, self.up = data, 0.0, 0, True
        self.policy = Policy(
            version="v", source="s", providers={}, deployments=(), routes={}, listener=Listener(channels=channels)
        )
        self.notices = Notices(
            Stores(data, ledger), lambda: self.policy, lambda: self.up, self._fail, lambda: self.now_s
        )
        self.counts: dict[str, int] = {}
        self.step()

    def _fail(self) -> None:
        self.failed += 1

    def step(self, seconds: float = 2.0) -> None:
        self.now_s += seconds
        metrics = Metrics(quotas=dict(self.counts))
        (self.data / "run" / "metrics-0.msgpack").write_bytes(msgspec.msgpack.encode(metrics))
        self.notices.step()

    def happens(self, *quotas: str, seconds: float = 2.0) -> None:
        for quota in quotas:
            key = f"{quota}\x1fnear"
            self.counts[key] = self.counts.get(key, 0) + 1
        self.step(seconds)


def webhook(url: str, **more: Any) -> Channel:
    return Channel(**({"name": "ops", "format": "json", "url": Secret(url)} | more))

"""A fake OpenAI upstream, and `pointsman serve` as a real process, for tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

READY_S = 60.0  # as long as the supervisor itself waits: the machine may do other things


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.served += 1
        if body["model"] == "broken-1":
            self._send(500, {"error": {"message": "it broke", "type": "server_error"}})
            return
        time.sleep(self.server.slow_s if body["model"] == "slow-1" else 0.0)
        if body.get("stream"):
            self._stream(self.server.slow_s if body["model"] == "paced-1" else 0.0)
        else:
            self._send(200, _reply())

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, pause_s: float) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fast-1"}
        events: list[dict[str, Any]] = [
            chunk | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "hello"}}]},
            chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            chunk | {"choices": [], "usage": _reply()["usage"]},
        ]
        for n, text in enumerate([*[json.dumps(event) for event in events], "[DONE]"]):
            if n == 1:
                self.server.goes_on.wait(pause_s)
            data = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _reply() -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "fast-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


class Upstream(ThreadingHTTPServer):
    """Answer chat completions: `fast-1` at once, `slow-1` after `slow_s`, `broken-1` with status 500; `paced-1` waits for
    `slow_s` within its streams, or until it `goes_on`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = 0
        self.slow_s = 1.0
        self.goes_on = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a router that was killed

    def config(self) -> str:
        price = "price: {input: 1, output: 10}"
        return f"""
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:{self.server_port}/v1", api_key: "sk-canary-0123456789"}}
deployments:
  fast: {{provider: up, model: fast-1, context: 8000, {price}}}
  slow: {{provider: up, model: slow-1, context: 8000, {price}}}
  broken: {{provider: up, model: broken-1, context: 8000, {price}}}
routes:
  main: {{candidates: [fast]}}
  rocky: {{candidates: [broken, fast]}}
  lazy: {{candidates: [slow]}}
"""


def environment(**more: str) -> dict[str, str]:
    """Return this environment without anybody's keys."""
    kept = {k: v for k, v in os.environ.items() if k == "UP_KEY" or not re.search("KEY|TOKEN", k)}
    return kept | {"POINTSMAN_TEST": "1"} | more


def until(true: Callable[[], bool], within_s: float) -> float:
    """Return how long it took until something was true; AssertionError when it is not within the time."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s
        time.sleep(0.01)
    return time.monotonic() - began_s


class Serving:
    """Run `pointsman serve` until `stop`. Raises AssertionError, with its output, when it does not get ready."""

    def __init__(
        self, folder: Path, *arguments: str, env: dict[str, str] | None = None, ports: bool = True, again: bool = True
    ) -> None:
        self.data = folder / "data"
        self.log = folder / "serve.log"
        options = (*(("--port", "0", "--admin-port", "0") if ports else ()), "--data", str(self.data))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pointsman.cli", "serve", *arguments, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env or environment(),
                cwd=folder,
            )
        try:
            (self.host, self.port), (self.admin_host, self.admin_port) = self._places()
        except BaseException:
            self.kill()
            if again and "Address already in use" in self.said:  # a port that was free a moment ago
                self.__init__(folder, *arguments, env=env, ports=ports, again=False)  # type: ignore[misc]
                return
            raise

    def _places(self) -> list[tuple[str, int]]:
        """Return where its listeners are, once it is ready. Raise AssertionError, with its output, when it does not get
        ready."""
        until_s = time.monotonic() + READY_S
        while "  workers " not in self.said:
            assert self.process.poll() is None and time.monotonic() < until_s, self.said
            time.sleep(0.02)
        found = (re.search(rf"  {name} +http://([\d.]+):(\d+)/", self.said) for name in ("endpoint", "status"))
        return [(one[1], int(one[2])) for one in found if one]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def children(self, module: str) -> list[int]:
        """Return the ids of the child processes that run a module."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid and module.encode() in words:
                found.append(int(entry.name))
        return sorted(found)

    def ask(
        self, path: str, method: str = "GET", *, admin: bool = False, timeout_s: float = 20.0, **headers: str
    ) -> tuple[int, bytes]:
        place = (self.admin_host, self.admin_port) if admin else (self.host, self.port)
        connection = http.client.HTTPConnection(*place, timeout=timeout_s)
        if admin and (self.data / "admin-token").exists():
            headers = {"authorization": f"Bearer {(self.data / 'admin-token').read_text().strip()}"} | headers
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def chat(self, model: str, client_id: str = "", *, stream: bool = False) -> tuple[int, bytes, dict[str, str]]:
        """Send one request on a connection of its own; return status, body and headers."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            headers = {"content-type": "application/json"} | ({"x-request-id": client_id} if client_id else {})
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def rows(self, count: int, within_s: float = 60.0) -> list[dict[str, Any]]:
        """Return all rows of the ledger, once there are `count` of them."""
        import sqlite3

        until_s = time.monotonic() + within_s
        while True:
            db = sqlite3.connect(f"file:{self.data}/ledger.sqlite?mode=ro", uri=True)
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute("SELECT * FROM requests ORDER BY seq")]
            db.close()
            if len(rows) >= count or time.monotonic() > until_s:
                assert len(rows) == count, f"{len(rows)} rows instead of {count}\n{self.said}"
                return rows
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM, within_s: float = 60.0) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def kill(self) -> None:
        """End it and its children at once."""
        children = self.children("pointsman.gateway.worker") + self.children("pointsman.control.main")
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

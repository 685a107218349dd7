"""The latency load: requests at a fixed rate, whatever the answers do (open loop, Poisson arrivals).

    echo '{"port": 1, "model": "bench", "key": "...", "per_s": 100, "seconds": 10, "seed": 1}' | python openload.py

A request's time counts from the moment it was due, so a server that makes its queue wait cannot hide it. Prints one JSON
object; times are milliseconds.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from typing import Any

import payloads
from streamload import percentiles

_WARM_S = 1.0  # not counted: connections are opened, caches filled
_ANSWER_S = 10.0


class OpenLoop:
    """Run one load and collect what it saw."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.request = payloads.http(spec["port"], payloads.request(spec["model"], stream=False), spec["key"])
        self.idle: list[socket.socket] = []
        self.busy: dict[socket.socket, tuple[float, bytes]] = {}  # when it was due, what was read
        self.took_ms: list[float] = []
        self.failed = 0
        self.note = ""

    def run(self) -> dict[str, Any]:
        chance = random.Random(self.spec["seed"])
        now = began = time.monotonic()
        self.counts_from = began + _WARM_S
        until = self.counts_from + self.spec["seconds"]
        due = began
        while due < until:
            due += chance.expovariate(self.spec["per_s"])
            while (now := time.monotonic()) < due:
                self._read(due - now)
            self._send(due)
        while self.busy and time.monotonic() < until + _ANSWER_S:
            self._read(0.1)
        self.failed += len(self.busy)
        return {
            "ms": percentiles(self.took_ms),
            "answered": len(self.took_ms),
            "failed": self.failed,
            "note": self.note,
        }

    def _send(self, due: float) -> None:
        sock = self.idle.pop() if self.idle else self._connect()
        self.busy[sock] = (due, b"")
        sock.send(self.request)

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.spec["port"]), timeout=_ANSWER_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _read(self, wait_s: float) -> None:
        if not self.busy:
            time.sleep(wait_s)
            return
        for sock in select.select(list(self.busy), [], [], wait_s)[0]:
            due, before = self.busy[sock]
            data = sock.recv(65536)
            whole = before + data
            if not data:
                self._fail(sock, before)
            elif not complete(whole):
                self.busy[sock] = (due, whole)
            elif not whole.startswith(b"HTTP/1.1 200"):
                self._fail(sock, whole)
            else:
                del self.busy[sock]
                self.idle.append(sock)
                if due >= self.counts_from:
                    self.took_ms.append((time.monotonic() - due) * 1000)

    def _fail(self, sock: socket.socket, data: bytes) -> None:
        self.note = self.note or data[:200].decode("latin-1")
        self.failed += 1
        del self.busy[sock]
        sock.close()


def complete(data: bytes) -> bool:
    """Tell whether a reply with a content-length is all there."""
    head, end, body = data.partition(b"\r\n\r\n")
    _, named, rest = head.lower().partition(b"\r\ncontent-length:")
    return bool(end) and (not named or len(body) >= int(rest.split(b"\r\n")[0]))


if __name__ == "__main__":
    print(json.dumps(OpenLoop(json.load(sys.stdin)).run()))

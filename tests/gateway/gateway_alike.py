"""Requests that are alike: a provider that answers each as it asks, or when it is told to, and what became of them."""

from __future__ import annotations

import json
import threading
from typing import Any

from gateway_capture import DONE, FINISH, REPLY, chunk, stream_head, text_event, whole
from gateway_raw import Response, fetch
from gateway_router import Router

STREAM = stream_head() + chunk(text_event("Hello")) + chunk(text_event(" you") + FINISH + DONE) + b"0\r\n\r\n"


def play(sock: Any, body: bytes) -> None:
    """Answer as the request asks: as a stream or in one piece."""
    sock.sendall(STREAM if json.loads(body).get("stream") else whole(REPLY))


def result(answer: Response) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-pointsman-cache"]


class Gate:
    """Answer when told to, as it is told to."""

    def __init__(self, plays: list[bytes] | None = None) -> None:
        self.open = threading.Event()
        self.plays = plays or []
        self._lock = threading.Lock()

    def __call__(self, sock: Any, body: bytes) -> None:
        assert self.open.wait(20)
        with self._lock:
            answer = self.plays.pop(0) if self.plays else None
        sock.sendall(answer) if answer is not None else play(sock, body)


def under_way(router: Router) -> int:
    line = next(
        x for x in fetch(router, "/metrics").body.decode().splitlines() if x.startswith("pointsman_active_requests")
    )
    return int(line.split()[-1])

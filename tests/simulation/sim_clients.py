"""Clients: raw bytes over in-memory transports, with the habits that a scenario gives them; and what they got, read."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from sim_loop import VirtualLoop
from sim_network import Link, Network
from sim_scenario import KEY


@dataclass
class Response:
    """Hold one response as it came. `offset` is where its first byte stood in what the connection carried."""

    status: int
    headers: dict[str, str]
    offset: int
    body: bytes = b""
    whole: bool = False
    problem: str = ""

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def read_responses(data: bytes) -> list[Response]:
    """Return the responses that `data` holds, the last perhaps not whole; `problem` says what is not HTTP/1.1."""
    found: list[Response] = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            found.append(Response(0, {}, at, problem=""))
            break
        lines = data[at:end].decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) < 3 or words[0] != "HTTP/1.1" or not words[1].isdigit():
            found.append(Response(0, {}, at, problem=f"not a status line: {lines[0][:80]!r}"))
            break
        headers: dict[str, str] = {}
        response = Response(int(words[1]), headers, at)
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() in headers:
                response.problem = f"{name} twice"
            headers[name.lower()] = value.strip()
        found.append(response)
        at = _read_body(response, data, end + 4)
        if not response.whole or response.problem:
            break
    return found


def _read_body(response: Response, data: bytes, at: int) -> int:
    if "chunked" not in response.headers.get("transfer-encoding", ""):
        size = int(response.headers.get("content-length", "0"))
        response.body, response.whole = data[at : at + size], len(data) - at >= size
        return at + size
    parts: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        text = data[at:end]
        if not text or any(c not in b"0123456789abcdef" for c in text):
            response.problem = f"not a chunk size: {text[:40]!r}"
            break
        size, at = int(text, 16), end + 2
        if len(data) < at + size + 2:
            parts.append(data[at : at + size])
            break
        if data[at + size : at + size + 2] != b"\r\n":
            response.problem = "a chunk does not end where it says"
            break
        parts.append(data[at : at + size])
        at += size + 2
        if not size:
            response.whole = True
            break
    response.body = b"".join(parts)
    return at


@dataclass
class Sent:
    """Hold one request of a client: when its last byte left, and under which id of the client's own."""

    id: str
    plan: dict[str, Any]
    sent_s: float


@dataclass
class Client(asyncio.Protocol):
    """Play one client of a scenario."""

    plan: dict[str, Any]
    network: Network
    loop: VirtualLoop
    data: bytearray = field(default_factory=bytearray)
    sent: list[Sent] = field(default_factory=list)
    link: Link | None = None
    left_s: float | None = None  # when the client went by its own wish
    ended_s: float | None = None
    answers: int = 0  # whole ones so far

    def start(self) -> None:
        slow = self.plan["slow"]
        self.rng = random.Random(f"{self.network.seed}:client:{self.plan['id']}")
        more = {"window": slow["window"], "high": slow["high"]} if slow else {}
        self.link = self.network.dial(self, **more)
        if self.link is None and self.network.over:
            return
        if self.link is None:
            self.loop.call_later(0.1, self.start)
            return
        if self.plan["pipeline"]:
            for at in range(len(self.plan["requests"])):
                self._send(at)
        else:
            self._send(0)

    def _send(self, at: int) -> None:
        if self.ended_s is not None or self.left_s is not None or self.link is None:
            return
        request = self.plan["requests"][at]
        sent = Sent(f"c{self.plan['id']}-{at}", request, self.loop.time())
        data = _bytes(sent.id, request)
        if self.plan["pieces"]:
            cuts = sorted(self.rng.sample(range(1, len(data)), 3))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            delay_s = 0.0
            for piece in pieces[:-1]:
                self.loop.call_later(delay_s, self.link.front.write, piece)
                delay_s += self.rng.choice((0.0001, 0.01, 0.3))
            self.loop.call_later(delay_s, self._sent, sent, pieces[-1])
        else:
            self._sent(sent, data)

    def _sent(self, sent: Sent, data: bytes) -> None:
        assert self.link is not None
        sent.sent_s = self.loop.time()
        self.sent.append(sent)
        self.link.front.write(data)
        leave = self.plan["leave"]
        if leave and "after_s" in leave and len(self.sent) == len(self.plan["requests"]):
            self.loop.call_later(leave["after_s"], self._leave)

    def _leave(self) -> None:
        if self.left_s is None and self.ended_s is None and self.link is not None:
            self.left_s = self.loop.time()
            self.network.left.append(self)
            getattr(self.link.front, self.plan["leave"]["how"])()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        before = self.answers
        self.data += data
        if data.endswith((b"\n", b"}")):
            self.answers = sum(1 for response in read_responses(bytes(self.data)) if response.whole)
        slow, leave = self.plan["slow"], self.plan["leave"]
        if leave and "events" in leave and self.data.count(b"data: ") >= leave["events"]:
            self._leave()
            return
        if slow and self.link is not None:
            self.link.front.pause_reading()
            self.loop.call_later(slow["every_s"], self.link.front.resume_reading)
        after = self.answers
        if not self.plan["pipeline"] and after > before and after < len(self.plan["requests"]):
            self.loop.call_later(self.plan["requests"][after]["gap_s"], self._send, after)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.ended_s = self.loop.time()


def _bytes(id: str, request: dict[str, Any]) -> bytes:
    body: dict[str, Any] = {"model": request["route"], "messages": [{"role": "user", "content": request["text"]}]}
    if request["stream"]:
        body["stream"] = True
        if request["usage"]:
            body["stream_options"] = {"include_usage": True}
    data = json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: router", f"authorization: Bearer {KEY}",
             f"x-request-id: {id}", f"content-length: {len(data)}"]  # fmt: skip
    if request["deadline_s"] is not None:
        lines.append(f"x-stainless-read-timeout: {request['deadline_s']}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

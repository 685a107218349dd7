"""A raw HTTP/1.1 client: every byte as it was sent and came, so that tests see what a client library would hide."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from gateway_router import KEY, Router

AUTH = f"authorization: Bearer {KEY}"


@dataclass
class Response:
    status: int
    version: str
    headers: dict[str, str]
    raw_head: bytes
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def id(self) -> str:
        """Return the ledger's id of the request."""
        return self.headers.get("x-pointsman-id") or self.headers["x-request-id"]

    @property
    def events(self) -> list[Any]:
        """Return the data of every SSE event, parsed where it is JSON."""
        found: list[Any] = []
        for event in self.body.split(b"\n\n"):
            while event.startswith(b":"):
                event = event.partition(b"\n")[2]  # a comment that keeps the stream alive
            if event.startswith(b"data: "):
                text = event[6:].decode(errors="replace")
                try:
                    found.append(json.loads(text))
                except ValueError:
                    found.append(text)
        return found

    @property
    def text(self) -> str:
        """Return the text of the first choice, streamed or not."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return self.json["choices"][0]["message"]["content"] or ""
        deltas = [e["choices"][0]["delta"] for e in self.events if isinstance(e, dict) and e.get("choices")]
        return "".join(d.get("content") or "" for d in deltas)

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1] == "[DONE]"

    @property
    def finishes(self) -> list[str]:
        return [
            c["finish_reason"]
            for e in self.events
            if isinstance(e, dict)
            for c in e.get("choices", ())
            if c["finish_reason"]
        ]


class Wire:
    """One client connection."""

    def __init__(self, port: int, *, timeout_s: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        self.sock: socket.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def more(self) -> bool:
        """Read once; False at the end of the connection."""
        data = self.sock.recv(1 << 20)
        self.buffer += data
        return bool(data)

    def ended(self, seconds: float = 5.0) -> bool:
        """Tell whether the other side closes within `seconds`; what still comes is kept."""
        self.sock.settimeout(seconds)
        try:
            while self.more():
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def head(self) -> Response:
        while b"\r\n\r\n" not in self.buffer:
            assert self.more(), f"closed inside the head: {self.buffer[:200]!r}"
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        return Response(int(status), version, headers, raw)

    def chunk(self) -> bytes:
        """Return the next chunk of a chunked body; b"" for the last."""
        while b"\r\n" not in self.buffer:
            assert self.more(), "closed before the last chunk"
        size, _, self.buffer = self.buffer.partition(b"\r\n")
        want = int(size, 16)
        while len(self.buffer) < want + 2:
            assert self.more(), "closed inside a chunk"
        data, self.buffer = self.buffer[:want], self.buffer[want + 2 :]
        return data

    def response(self, *, bodyless: bool = False) -> Response:
        """Return the next whole response."""
        found = self.head()
        if bodyless or found.status < 200:
            return found
        if "chunked" in found.headers.get("transfer-encoding", ""):
            while data := self.chunk():
                found.chunks.append(data)
            found.body = b"".join(found.chunks)
            return found
        want = int(found.headers["content-length"])
        while len(self.buffer) < want:
            assert self.more(), "closed inside the body"
        found.body, self.buffer = self.buffer[:want], self.buffer[want:]
        return found


def post(body: bytes, *lines: str, path: str = "/v1/chat/completions", auth: str = AUTH) -> bytes:
    """Return the bytes of a chat call."""
    head = [f"POST {path} HTTP/1.1", "Host: router", auth, f"content-length: {len(body)}", *lines]
    return "\r\n".join(line for line in head if line).encode("latin-1") + b"\r\n\r\n" + body


def get(path: str, *lines: str, method: str = "GET", auth: str = AUTH) -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: router", auth, *lines]
    return "\r\n".join(line for line in head if line).encode("latin-1") + b"\r\n\r\n"


def chat_body(model: str, text: str = "hello", **more: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}]} | more
    return json.dumps(body).encode()


def ask(router: Router, model: str, *lines: str, **more: Any) -> Response:
    """Return the answer to one chat call on a connection of its own."""
    with Wire(router.port) as wire:
        wire.send(post(chat_body(model, **more), *lines))
        return wire.response()


def fetch(router: Router, path: str, *lines: str, auth: str = AUTH) -> Response:
    with Wire(router.port) as wire:
        wire.send(get(path, *lines, auth=auth))
        return wire.response()


def send_what_goes(wire: Wire, data: bytes, step: int = 1 << 16) -> int:
    """Send until the other side closes or all is sent; return how many bytes went."""
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < len(data):
            wire.sock.sendall(data[sent : sent + step])
            sent += step
    return min(sent, len(data))


def elapsed_ms(start_s: float) -> float:
    return (time.monotonic() - start_s) * 1000

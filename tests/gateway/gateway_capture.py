"""An upstream that keeps every byte it was sent and answers the bytes it was told to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

REPLY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"up-1","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)
# What plays one connection: gets the socket behind the read request, and the request.
Play = Callable[[socket.socket, bytes], None]


def whole(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return a whole JSON response."""
    head = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def stream_head() -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def text_event(text: str) -> bytes:
    return (
        b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
        % (text.encode())
    )


FINISH = b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Capture:
    """Listen on loopback; one thread a connection. `requests` holds (head, body) of every request."""

    def __init__(self, play: Play | bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.closed = threading.Event()  # the router closed a connection while we still served it
        self.play: Play = play if callable(play) else self._always(play or whole(REPLY))
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock in self._open:
            sock.close()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def body(self) -> bytes:
        """Return the body of the newest request."""
        return self.requests[-1][1]

    @property
    def head(self) -> dict[str, str]:
        lines = self.requests[-1][0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @staticmethod
    def _always(data: bytes) -> Play:
        return lambda sock, _request: sock.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            while (request := self._read(sock)) is not None:
                self.requests.append(request)
                self.play(sock, request[1])
        except OSError:
            self.closed.set()

    def _read(self, sock: socket.socket) -> tuple[bytes, bytes] | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(1 << 16)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        want = int(lengths[0].partition(b":")[2])
        while len(body) < want:
            body += sock.recv(1 << 20)
        return head, body


def capture_config(capture: Capture, **more: Any) -> dict[str, Any]:
    """Return a config with one openai deployment `cap` at the capture server, and provider settings `more`."""
    provider = {"dialect": "openai", "base_url": capture.url, "api_key": "sk-canary-capture"} | more
    deployment = {"provider": "up", "model": "up-1", "price": {"input": 1, "output": 2}}
    return {"providers": {"up": provider}, "deployments": {"cap": deployment}}

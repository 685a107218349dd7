"""Answers: the bytes of responses that are ours: heads, errors, chunk framing."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from pointsman.gateway.edge import Edge

PHRASES = {s.value: s.phrase for s in HTTPStatus} | {499: "Client Closed Request"}
JSON = "application/json"
CLOSE = "connection: close\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_encode = msgspec.json.encode
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_type(status: int) -> str:
    """Return OpenAI's error type for a status of our own."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_body(
    message: str, kind: str, code: str, *, origin: str, request_id: str = "", param: str | None = None
) -> bytes:
    """Return an OpenAI-shaped error body. `origin` is who is to blame: client, router or provider."""
    error: dict[str, str | None] = {"message": message, "type": kind, "param": param, "code": code, "origin": origin}
    if request_id:
        error["request_id"] = request_id
    return _encode({"error": error})


def response(status: int, body: bytes, extra: str = "", *, kind: str = JSON, close: bool = False) -> bytes:
    """Return a whole response. `extra` holds header lines, each ended by CR LF."""
    head = (
        f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}\r\ncontent-type: {kind}\r\n"
        f"cache-control: private, no-store\r\n{extra}{CLOSE if close else ''}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def unary(extra: str, body: bytes, *, close: bool) -> bytes:
    """Return a whole 200 response with a JSON body: `response` for the hot path."""
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: private, no-store\r\n"
        f"{extra}{CLOSE if close else ''}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def stream_head(extra: str, *, chunked: bool, close: bool) -> bytes:
    """Return the head of a 200 response whose events follow, in chunks or until the connection ends."""
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: private, no-store\r\n"
        f"x-accel-buffering: no\r\n{extra}{CLOSE if close else ''}{CHUNKED if chunked else ''}\r\n"
    )
    return head.encode("latin-1")


def whole(edge: Edge, headers: str, body: bytes, *, stream: bool) -> bytes:
    """Return a whole 200 response to the current request of an edge: head, body, and for a stream its framing and end."""
    incoming = edge.current
    assert incoming is not None
    if not stream:
        return unary(headers, body, close=incoming.close)
    chunked = edge.takes_chunks()
    incoming.close = incoming.close or not chunked
    head = stream_head(headers, chunked=chunked, close=incoming.close)
    return head + (chunk(body) + LAST_CHUNK if chunked else body)


class Refused(NamedTuple):
    """Hold why a request is not admitted. To status 405 `param` is the methods that are allowed. `final`: an SDK is told
    not to try again by itself."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_s: int = 0
    final: bool = False
    headers: str = ""  # more header lines


def refusal(why: Refused, *, request_id: str, client_id: bytes | None = None, close: bool = False) -> bytes:
    """Return an error response for a request that was not admitted; the client's fault below 500, else the router's."""
    status = why.status
    origin = "client" if status < 500 else "router"
    body = error_body(why.message, error_type(status), why.code, origin=origin, request_id=request_id, param=why.param)
    extra = f"x-request-id: {request_id if client_id is None else client_id.decode('latin-1')}\r\n"
    if status in (429, 503):
        extra += f"retry-after: {why.retry_after_s or 1}\r\n"
    extra += why.headers
    if why.final:
        extra += "x-should-retry: false\r\n"
    if status == 401:
        extra += "www-authenticate: Bearer\r\n"
    if status == 405:
        extra += f"allow: {why.param}\r\n"
    return response(status, body, extra, close=close)


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)

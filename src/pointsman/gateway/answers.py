"""Answers: the bytes of responses that are ours: heads, errors, chunk framing."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

PHRASES = {s.value: s.phrase.encode() for s in HTTPStatus} | {499: b"Client Closed Request"}
JSON = b"application/json"
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


def response(status: int, body: bytes, extra: bytes = b"", *, kind: bytes = JSON, close: bool = False) -> bytes:
    """Return a whole response. `extra` holds header lines, each ended by CR LF."""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncache-control: private, no-store\r\n%b%b"
        b"content-length: %d\r\n\r\n%b"
        % (
            status,
            PHRASES.get(status, b"Unknown"),
            kind,
            extra,
            b"connection: close\r\n" if close else b"",
            len(body),
            body,
        )
    )


def unary(extra: bytes, body: bytes, *, close: bool) -> bytes:
    """Return a whole 200 response with a JSON body: `response` for the hot path."""
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: private, no-store\r\n%b%b"
        b"content-length: %d\r\n\r\n%b" % (extra, b"connection: close\r\n" if close else b"", len(body), body)
    )


def stream_head(extra: bytes, *, close: bool) -> bytes:
    """Return the head of a 200 response whose events follow in chunks."""
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: private, no-store\r\n"
        b"x-accel-buffering: no\r\n%b%btransfer-encoding: chunked\r\n\r\n"
        % (extra, b"connection: close\r\n" if close else b"")
    )


def refusal(
    status: int, message: str, code: str, *, request_id: str = "", param: str | None = None, close: bool = False
) -> bytes:
    """Return an error response for a request that was not admitted; the client's fault below 500, else the router's."""
    origin = "client" if status < 500 else "router"
    body = error_body(message, error_type(status), code, origin=origin, request_id=request_id, param=param)
    extra = b"x-request-id: %b\r\n" % request_id.encode() if request_id else b""
    if status == 503:
        extra += b"retry-after: 1\r\n"
    if status == 401:
        extra += b"www-authenticate: Bearer\r\n"
    return response(status, body, extra, close=close)


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)

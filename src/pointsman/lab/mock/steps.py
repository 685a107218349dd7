"""Steps: what a connection does next. A reply is a lazy sequence of them; pacing, faults and framing are transforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["start", "content", "finish", "usage", "done", "other", "body", "tail"]
Op = Literal["write", "turn", "hold", "reset", "eof"]


class Step(NamedTuple):
    """Say what to do after `wait_ms` (counted from the step before): write, write and let the loop turn, hold, cut."""

    data: bytes = b""
    kind: Kind = "other"
    tokens: int = 0  # output tokens that `data` carries
    wait_ms: float = 0.0
    op: Op = "write"


Steps = Iterator[Step]


class Head(NamedTuple):
    """Hold a reply's status line and headers; `length` is the declared body length, None for a chunked stream."""

    status: int
    headers: tuple[tuple[str, str], ...]
    length: int | None


_REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    529: "Overloaded",
}


def head_bytes(head: Head) -> bytes:
    """Return the head as HTTP/1.1 bytes (RFC 9112)."""
    lines = [f"HTTP/1.1 {head.status} {_REASONS.get(head.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in head.headers]
    lines.append("transfer-encoding: chunked" if head.length is None else f"content-length: {head.length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def pace(steps: Iterable[Step], ttft_ms: float, ms_per_token: float, *, early: bool) -> Steps:
    """Give the first step (or with `early` the first content) its TTFT, and each later content its tokens' time."""
    waiting = True
    for step in steps:
        if waiting and (not early or step.kind == "content"):
            waiting = False
            yield step._replace(wait_ms=ttft_ms)
        elif step.tokens and ms_per_token:
            yield step._replace(wait_ms=step.tokens * ms_per_token)
        else:
            yield step


def frame(head: Head, steps: Steps) -> Steps:
    """Put the head in front of the first step and, in a stream, each step into a chunk; end with the last chunk."""
    front = head_bytes(head)
    chunked = head.length is None
    for step in steps:
        if step.data:
            body = b"%x\r\n%b\r\n" % (len(step.data), step.data) if chunked else step.data
            yield step._replace(data=front + body)
        elif step.op == "write":
            yield step._replace(data=front)
        else:
            if front:
                yield Step(front, wait_ms=0.0)
            yield step
        front = b""
    if front:
        yield Step(front)
    if chunked:
        yield Step(b"0\r\n\r\n", "tail")

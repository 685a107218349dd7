"""Trace: the W3C context of a request, and the ids of the spans that are made of its books. Pure.

Ids are derived from what stands in the books, so a worker can name the span of an attempt to a provider, the control process
makes the same span later, and nothing has to be remembered. Source: W3C Trace Context, Level 1.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import msgspec

from pointsman.core.secret import Secret

MOST_STATE_CHARACTERS = 512  # of a tracestate; a longer one is left out (W3C 3.3.1.5)
SAMPLED = 1
_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_MEMBER = r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_STATE = re.compile(rf"[ \t]*(?:{_MEMBER})?[ \t]*(?:,[ \t]*(?:{_MEMBER})?[ \t]*){{0,31}}")


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold where spans go. `sample`: the share of traces that begin here; one that began elsewhere was decided there."""

    endpoint: str
    headers: tuple[tuple[str, Secret], ...] = ()
    sample: float = 0.1
    service: str = "pointsman"
    propagate: tuple[str, ...] = ()  # providers that are told of the trace


class Context(msgspec.Struct, frozen=True):
    """Hold the trace that a request belongs to. `parent`: span of the caller as 16 hex digits; "": it begins here."""

    trace: str  # 32 hex digits
    parent: str
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def carried(parent: bytes | None, state: bytes | None) -> str:
    """Return what the books keep of the headers `traceparent` and `tracestate`: `PARENT` or `PARENT STATE`; "" when there is
    no valid parent. A bad tracestate costs only itself. A later version is read as version 00, as it must be."""
    match = None if parent is None or len(parent) > MOST_STATE_CHARACTERS else _PARENT.fullmatch(parent)
    if match is None or (match[1] == b"00" and match[5]):
        return ""
    told = f"00-{match[2].decode()}-{match[3].decode()}-{match[4].decode()}"
    said = "" if state is None or len(state) > MOST_STATE_CHARACTERS else state.decode("latin-1").strip(" \t")
    return f"{told} {said}" if said and _STATE.fullmatch(said) else told


def context_of(request_id: str, kept: str, sample: float) -> Context:
    """Return the trace of a request from what the books keep; one that begins here is sampled by its id."""
    if kept:
        return Context(kept[3:35], kept[36:52], int(kept[53:55], 16), kept[56:])
    trace = blake2b(request_id.encode(), digest_size=16, person=b"trace").hexdigest()
    return Context(trace, "", SAMPLED if int(trace[16:], 16) < sample * 2.0**64 else 0)


def span_id(request_id: str, part: str = "") -> str:
    """Return the id of a span of a request, 16 hex digits; `part` tells spans of one request apart, "" is the root."""
    return blake2b(f"{request_id} {part}".encode(), digest_size=8, person=b"span").hexdigest()


def attempt_part(deployment: str, started_ms: float) -> str:
    """Return which part of a request an attempt is: to whom, and when it began after the receipt. (Hedges end in another
    order than they begin, so a number would not do.)"""
    return f"{deployment} {started_ms:.3f}"


def told(request_id: str, kept: str, sample: float, part: str) -> bytes:
    """Return the header lines that tell a provider of the trace: its parent is the span of the attempt."""
    context = context_of(request_id, kept, sample)
    state = f"tracestate: {context.state}\r\n" if context.state else ""
    flags = context.flags & SAMPLED
    return f"traceparent: 00-{context.trace}-{span_id(request_id, part)}-{flags:02x}\r\n{state}".encode("latin-1")

"""What a dialect is: one wire format, bytes <-> nouns, sans-I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pointsman.core.chat import ChatRequest, Event, Reply
from pointsman.core.outcome import Outcome
from pointsman.core.policy import Wire

__all__ = ["Dialect", "StreamDecoder", "StreamEncoder", "Wire", "WireError"]


class WireError(ValueError):
    """Say that bytes or nouns do not fit the wire format: where, and what was expected. Never shows the content."""


# How a key travels: style -> (header, text before the key). "none": no header.
AUTH_STYLES: dict[str, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
    "none": ("", ""),
}


def auth_header(secret: str, style: str) -> dict[str, str]:
    """Return the header that carries `secret` in a style of AUTH_STYLES; WireError for a style that is not there."""
    if style not in AUTH_STYLES:
        raise WireError(f"auth style {style!r} is unknown; known: {', '.join(AUTH_STYLES)}")
    header, before = AUTH_STYLES[style]
    return {header: before + secret} if header else {}


class StreamDecoder(Protocol):
    """Turn a provider's stream into events. Any re-chunking of the same bytes gives the same events (I19)."""

    def feed(self, data: bytes) -> list[Event]: ...

    def close(self) -> list[Event]:
        """Return what the end of the bytes means: nothing after a terminal marker, else a StreamError (I18)."""
        ...


class StreamEncoder(Protocol):
    """Turn events into a stream for a client, whole SSE events only, exactly one terminal marker."""

    def encode(self, events: Iterable[Event]) -> bytes: ...

    def resumed(self, deployment: str) -> None:
        """Note that another deployment goes on from here: said in what follows, where the wire has a place for it."""
        ...


class Dialect(Protocol):
    name: str

    # --- towards a provider
    def path(self, wire: Wire, *, stream: bool) -> str: ...
    def auth_headers(self, secret: str, wire: Wire) -> dict[str, str]: ...
    def encode_request(self, chat: ChatRequest, wire: Wire) -> bytes: ...
    def decode_reply(self, body: bytes) -> Reply: ...
    def stream_decoder(self) -> StreamDecoder: ...
    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Outcome: ...

    # --- towards a client (and in the lab, towards ourselves)
    def decode_request(self, body: bytes) -> ChatRequest: ...
    def encode_reply(self, reply: Reply) -> bytes: ...
    def stream_encoder(self, *, include_usage: bool) -> StreamEncoder: ...

"""The Anthropic dialect, put together."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.core.chat import ChatRequest, Reply
from pointsman.core.outcome import Outcome
from pointsman.dialects import errors
from pointsman.dialects.anthropic import reply, request, stream_in, stream_out
from pointsman.dialects.anthropic.facts import DEFAULT_VERSION, ERRORS
from pointsman.dialects.base import Wire, auth_header


class Anthropic:
    """Speak Messages; every method as `Dialect` says. The base URL ends in the version segment (`…/v1`)."""

    name = "anthropic"

    def path(self, wire: Wire, *, stream: bool) -> str:
        return "/messages"

    def auth_headers(self, secret: str, wire: Wire) -> dict[str, str]:
        """Return key and version headers; both API versions take `x-api-key`, and prefer it where both are sent."""
        return auth_header(secret, "x-api-key") | {"anthropic-version": wire.api_version or DEFAULT_VERSION}

    def encode_request(self, chat: ChatRequest, wire: Wire) -> bytes:
        return request.encode_request(chat, wire)

    def decode_reply(self, body: bytes) -> Reply:
        return reply.decode_reply(body)

    def stream_decoder(self) -> stream_in.Decoder:
        return stream_in.Decoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Outcome:
        return errors.classify(self, ERRORS, status, headers, body, now_s)

    def decode_request(self, body: bytes) -> ChatRequest:
        return request.decode_request(body)

    def encode_reply(self, answer: Reply) -> bytes:
        return reply.encode_reply(answer)

    def stream_encoder(self, *, include_usage: bool) -> stream_out.Encoder:
        """Return an encoder; this wire always reports usage, whatever `include_usage` says."""
        return stream_out.Encoder()

"""The Gemini dialect, put together."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from pointsman.core.chat import ChatRequest, Reply
from pointsman.core.outcome import Outcome
from pointsman.dialects import errors
from pointsman.dialects.base import Wire, auth_header
from pointsman.dialects.gemini import reply, request, stream
from pointsman.dialects.gemini.facts import ERRORS


class Gemini:
    """Speak generateContent; every method as `Dialect` says. The base URL ends in the version segment (`…/v1beta`).

    Model and streaming stand in the path, not in the body: `decode_request` leaves them empty for its caller to fill.
    """

    name = "gemini"

    def path(self, wire: Wire, *, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/models/{quote(wire.model.removeprefix('models/'), safe='/-._~@:')}:{method}"

    def auth_headers(self, secret: str, wire: Wire) -> dict[str, str]:
        return auth_header(secret, "x-goog-api-key")

    def encode_request(self, chat: ChatRequest, wire: Wire) -> bytes:
        return request.encode_request(chat, wire)

    def decode_reply(self, body: bytes) -> Reply:
        return reply.decode_reply(body)

    def stream_decoder(self) -> stream.Decoder:
        return stream.Decoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Outcome:
        return errors.classify(self, ERRORS, status, headers, body, now_s)

    def decode_request(self, body: bytes) -> ChatRequest:
        return request.decode_request(body)

    def encode_reply(self, answer: Reply) -> bytes:
        return reply.encode_reply(answer)

    def stream_encoder(self, *, include_usage: bool) -> stream.Encoder:
        """Return an encoder; this wire always reports usage, whatever `include_usage` says."""
        return stream.Encoder()

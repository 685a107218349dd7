"""The OpenAI dialect, put together."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.core.chat import ChatRequest, Reply
from pointsman.core.outcome import Outcome
from pointsman.dialects import errors
from pointsman.dialects.base import Wire, auth_header
from pointsman.dialects.openai import reply, request, stream
from pointsman.dialects.openai.facts import ERRORS


class OpenAI:
    """Speak chat completions; every method as `Dialect` says."""

    name = "openai"

    def path(self, wire: Wire, *, stream: bool) -> str:
        return "/chat/completions"

    def auth_headers(self, secret: str, wire: Wire) -> dict[str, str]:
        return auth_header(secret, "bearer")

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
        return stream.Encoder(include_usage=include_usage)

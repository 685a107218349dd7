"""The Anthropic Messages wire, as the provider speaks it, in the API versions 2023-06-01 and 2026-10-21.

Source: platform.claude.com API reference: messages/create, streaming, errors, versioning, migration-2026-10-21.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.lab.mock.answer import Call, ChoicePlan, Plan, Tally
from pointsman.lab.mock.anthropic_request import parse
from pointsman.lab.mock.ask import Ask, Received, Rejected, count_tokens, pieces
from pointsman.lab.mock.config import ModelSpec
from pointsman.lab.mock.steps import Step
from pointsman.lab.mock.wires import Headers, bearer

_encode = msgspec.json.encode
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicWire:
    bad_key_status = 401

    def finds(self, method: str, path: str) -> str | None:
        if method == "POST" and path.endswith("/v1/messages"):
            return "chat"
        if method == "POST" and path.endswith("/v1/messages/count_tokens"):
            return "count"
        return "models" if method == "GET" and path.endswith("/v1/models") else None

    def secret(self, received: Received) -> str | None:
        return received.headers.get("x-api-key") or bearer(received)

    def parse(self, received: Received) -> Ask:
        return parse(received)

    def reply(self, plan: Plan, ask: Ask) -> bytes:
        choice = plan.choices[0]
        message = _message(plan) | {
            "content": _blocks(choice, plan.key),
            "stop_reason": _STOPS.get(choice.finish, choice.finish),
            "stop_sequence": choice.stopped_by,
            "stop_details": _stop_details(choice),
        }
        if plan.usage is not None:
            message["usage"] = _usage(plan.usage, ask) | {"output_tokens": plan.usage.output}
        return _encode(message)

    def stream(self, plan: Plan, ask: Ask) -> Iterator[Step]:
        choice = plan.choices[0]
        opening = _message(plan) | {"content": [], "stop_reason": None, "stop_sequence": None}
        if plan.usage is not None:
            opening["usage"] = _usage(plan.usage, ask) | {"output_tokens": min(1, plan.usage.output)}
        yield Step(_event("message_start", {"message": opening}), "start")
        yield Step(_event("ping", {}))
        yield from _block_events(choice, plan)
        stop = {
            "stop_reason": _STOPS.get(choice.finish, choice.finish),
            "stop_sequence": choice.stopped_by,
            "stop_details": _stop_details(choice),
        }
        ending: dict[str, Any] = {"delta": stop}
        if plan.usage is not None:
            ending["usage"] = _usage(plan.usage, ask) | {"output_tokens": plan.usage.output}
        hidden = 0 if choice.reasoning else choice.reasoning_tokens
        yield Step(_event("message_delta", ending), "finish", hidden)
        yield Step(_event("message_stop", {}), "done")

    def headers(self, key: str, *, stream: bool) -> Headers:
        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        return ("content-type", kind), ("request-id", "req_" + key), ("anthropic-organization-id", "mock")

    def error(self, problem: Rejected, key: str) -> bytes:
        return _encode(_error(problem) | {"request_id": "req_" + key})

    def error_event(self, problem: Rejected) -> bytes:
        return b"event: error\ndata: " + _encode(_error(problem)) + b"\n\n"

    def filler_event(self, size: int) -> bytes:
        return _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "x" * size}})

    def models(self, models: dict[str, ModelSpec]) -> bytes:
        listed = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in models
        ]
        ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]}
        return _encode({"data": listed, "has_more": False} | ends)


def _event(name: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name} | body))


def _error(problem: Rejected) -> dict[str, Any]:
    kind = _ERRORS.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


def _message(plan: Plan) -> dict[str, Any]:
    return {"id": "msg_" + plan.key, "type": "message", "role": "assistant", "model": plan.model}


def _usage(usage: Tally, ask: Ask) -> dict[str, Any]:
    hour = usage.written if ask.cache_1h else 0
    return {
        "input_tokens": usage.prompt - usage.cached - usage.written,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.written - hour,
            "ephemeral_1h_input_tokens": hour,
        },
        "service_tier": "standard",
    }


def _stop_details(choice: ChoicePlan) -> dict[str, Any] | None:
    if choice.finish not in ("refusal", "content_filter"):
        return None
    return {"type": "refusal", "category": "general_harms", "explanation": None}


def _tool_input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}  # cut by max_tokens: the real service, too, gives what could be read


def _tool_block(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_" + call.id, "name": call.name, "input": _tool_input(call.arguments)}


def _blocks(choice: ChoicePlan, key: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        blocks.append({"type": "thinking", "thinking": choice.reasoning, "signature": _signature(key)})
    if choice.text or choice.refusal:
        blocks.append({"type": "text", "text": choice.text or choice.refusal})
    return blocks + [_tool_block(call) for call in choice.calls]


def _signature(key: str) -> str:
    return "c2lnbmF0dXJl" + key


def _block_events(choice: ChoicePlan, plan: Plan) -> Iterator[Step]:
    at, each = 0, plan.tokens_per_event
    if choice.reasoning:
        yield Step(_start(at, {"type": "thinking", "thinking": "", "signature": ""}))
        yield from _deltas(at, "thinking_delta", "thinking", choice.reasoning, each)
        signature = {"type": "signature_delta", "signature": _signature(plan.key)}
        yield Step(_event("content_block_delta", {"index": at, "delta": signature}))
        yield Step(_event("content_block_stop", {"index": at}))
        at += 1
    said = choice.text or choice.refusal
    if said:
        yield Step(_start(at, {"type": "text", "text": ""}))
        yield from _deltas(at, "text_delta", "text", said, each)
        yield Step(_event("content_block_stop", {"index": at}))
        at += 1
    for index, call in enumerate(choice.calls, at):
        yield Step(_start(index, _tool_block(call) | {"input": {}}), "content", count_tokens(call.name))
        yield from _deltas(index, "input_json_delta", "partial_json", call.arguments, each)
        yield Step(_event("content_block_stop", {"index": index}))


def _start(at: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", {"index": at, "content_block": block})


def _deltas(at: int, kind: str, member: str, text: str, each: int) -> Iterator[Step]:
    front = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (
        at,
        kind.encode(),
        member.encode(),
    )
    for piece, tokens in pieces(text, each):
        yield Step(front + _encode(piece) + b"}}\n\n", "content", tokens)

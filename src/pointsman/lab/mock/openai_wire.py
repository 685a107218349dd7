"""The OpenAI Chat Completions wire, as a provider speaks it.

Source: platform.openai.com API reference, chat/create, chat/streaming and error codes; `reasoning_content` after the
compatible servers that have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.lab.mock.answer import Call, ChoicePlan, Plan, Tally
from pointsman.lab.mock.ask import Ask, Received, Rejected, ToolMode, ToolSpec, count_tokens, pieces
from pointsman.lab.mock.config import ModelSpec
from pointsman.lab.mock.steps import Step
from pointsman.lab.mock.wires import Headers, bearer, round_robin

_encode = msgspec.json.encode
_FINISH = {"stop_sequence": "stop", "refusal": "stop"}
_TYPES = {401: "invalid_request_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
MAX_CHOICES = 128


class _Function(msgspec.Struct):
    name: str
    parameters: Any = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _CallFunction(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    function: _CallFunction | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: dict[str, Any] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None


_decoder = msgspec.json.Decoder(_Body)


class OpenAIWire:
    bad_key_status = 401

    def finds(self, method: str, path: str) -> str | None:
        if path.endswith("/chat/completions"):
            return "chat" if method == "POST" else None
        if path.endswith("/embeddings"):
            return "embeddings" if method == "POST" else None
        return "models" if method == "GET" and path.endswith("/models") else None

    def secret(self, received: Received) -> str | None:
        return bearer(received) or received.headers.get("api-key")

    def parse(self, received: Received) -> Ask:
        try:
            body = _decoder.decode(received.body)
        except msgspec.DecodeError as error:
            raise Rejected(400, f"We could not parse the JSON body of your request: {error}") from error
        if not body.messages:
            raise Rejected(400, "[] is too short - 'messages'", None, "messages")
        if body.stream_options is not None and not body.stream:
            raise Rejected(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        if not 1 <= (1 if body.n is None else body.n) <= MAX_CHOICES:
            raise Rejected(400, f"'n' must be from 1 to {MAX_CHOICES}.", None, "n")
        limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        if limit is not None and limit < 1:
            raise Rejected(400, "'max_completion_tokens' must be at least 1.", None, "max_completion_tokens")
        return _ask(body, limit)

    def reply(self, plan: Plan, ask: Ask) -> bytes:
        reply: dict[str, Any] = {
            "id": "chatcmpl-" + plan.key,
            "object": "chat.completion",
            "created": plan.created_s,
            "model": plan.model,
            "choices": [_choice(index, choice, plan, ask) for index, choice in enumerate(plan.choices)],
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }
        if plan.usage is not None:
            reply["usage"] = _usage(plan.usage)
        return _encode(reply)

    def stream(self, plan: Plan, ask: Ask) -> Iterator[Step]:
        opening = _encode(
            {
                "id": "chatcmpl-" + plan.key,
                "object": "chat.completion.chunk",
                "created": plan.created_s,
                "model": plan.model,
                "service_tier": "default",
                "system_fingerprint": "fp_mock",
            }
        )
        front = b"data: " + opening[:-1] + b',"choices":['
        back = b'],"usage":null}\n\n' if ask.include_usage else b"]}\n\n"
        yield from round_robin([_events(index, c, plan, ask, front, back) for index, c in enumerate(plan.choices)])
        if ask.include_usage and plan.usage is not None:
            yield Step(front + b'],"usage":' + _encode(_usage(plan.usage)) + b"}\n\n", "usage")
        yield Step(b"data: [DONE]\n\n", "done")

    def headers(self, key: str, *, stream: bool) -> Headers:
        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        return ("content-type", kind), ("x-request-id", "req_" + key), ("openai-version", "2020-10-01")

    def error(self, problem: Rejected, key: str) -> bytes:
        return _encode({"error": _error(problem)})

    def error_event(self, problem: Rejected) -> bytes:
        return b"data: " + self.error(problem, "") + b"\n\n"

    def filler_event(self, size: int) -> bytes:
        chunk = {"object": "chat.completion.chunk", "id": "chatcmpl-big", "created": 0, "model": "mock"}
        choice = {"index": 0, "delta": {"content": "x" * size}, "finish_reason": None}
        return b"data: " + _encode(chunk | {"choices": [choice]}) + b"\n\n"

    def models(self, models: dict[str, ModelSpec]) -> bytes:
        return _encode(
            {"object": "list", "data": [{"id": m, "object": "model", "created": 0, "owned_by": "mock"} for m in models]}
        )


def _ask(body: _Body, limit: int | None) -> Ask:
    texts: list[str] = []
    last, images = "", 0
    for message in body.messages:
        parts = [message.content] if isinstance(message.content, str) else []
        for part in message.content if isinstance(message.content, list) else ():
            images += part.type == "image_url"
            if part.text is not None:
                parts.append(part.text)
        texts += parts
        texts += [call.function.name + call.function.arguments for call in message.tool_calls or () if call.function]
        if message.role == "user" and parts:
            last = "\n".join(parts)
    mode, name = _tool_choice(body.tool_choice)
    shape = body.response_format
    return Ask(
        model=body.model,
        texts=tuple(texts),
        last=last,
        stream=bool(body.stream),
        after_tool=body.messages[-1].role == "tool",
        images=images,
        n=body.n or 1,
        max_tokens=limit,
        tools=tuple(ToolSpec(t.function.name, t.function.parameters) for t in body.tools or () if t.function),
        tool_mode=mode,
        tool_name=name,
        parallel=body.parallel_tool_calls is not False,
        json=shape is not None and shape.type in ("json_object", "json_schema"),
        schema=(shape.json_schema or {}).get("schema") if shape else None,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        think=body.reasoning_effort not in (None, "none", "minimal"),
    )


def _tool_choice(value: Any) -> tuple[ToolMode, str | None]:
    if isinstance(value, dict):
        return "named", str((value.get("function") or {}).get("name"))
    return ("none" if value == "none" else "required" if value == "required" else "auto"), None


def _usage(usage: Tally) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(index: int, choice: ChoicePlan, plan: Plan, ask: Ask) -> dict[str, Any]:
    said = choice.text if choice.text or not (choice.calls or choice.refusal) else None
    message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": choice.refusal or None}
    if choice.reasoning:
        message[plan.reasoning_field] = choice.reasoning
    if choice.calls:
        message["tool_calls"] = [_call(call) for call in choice.calls]
    tokens = [_logprob(text, ask.logprobs) for text, _ in pieces(choice.text, 1)] if ask.logprobs is not None else None
    return {
        "index": index,
        "message": message,
        "logprobs": {"content": tokens, "refusal": None} if tokens is not None else None,
        "finish_reason": _FINISH.get(choice.finish, choice.finish),
    }


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": "call_" + call.id, "type": "function", "function": function}


def _logprob(token: str, alternatives: int) -> dict[str, Any]:
    raw = list(token.encode("utf-8"))
    one = {"token": token, "logprob": -0.25, "bytes": raw}
    return one | {"top_logprobs": [one | {"logprob": -0.25 - rank} for rank in range(alternatives)]}


def _events(index: int, choice: ChoicePlan, plan: Plan, ask: Ask, front: bytes, back: bytes) -> Iterator[Step]:
    before = front + b'{"index":%d,"delta":' % index
    after = b',"logprobs":null,"finish_reason":null}' + back
    opening: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else "", "refusal": None}
    yield Step(before + _encode(opening) + after, "start")
    each = plan.tokens_per_event
    hidden = 0 if choice.reasoning else choice.reasoning_tokens
    for text, tokens in pieces(choice.reasoning, each):
        yield Step(before + _encode({plan.reasoning_field: text}) + after, "content", tokens)
    if choice.refusal:
        for text, tokens in pieces(choice.refusal, each):
            yield Step(before + _encode({"refusal": text}) + after, "content", tokens)
    said = before + b'{"content":'
    for text, tokens in pieces(choice.text, each):
        tail = b"}" + after
        if ask.logprobs is not None:
            record = {"content": [_logprob(text, ask.logprobs)], "refusal": None}
            tail = b'},"logprobs":' + _encode(record) + b',"finish_reason":null}' + back
        yield Step(said + _encode(text) + tail, "content", tokens + hidden)
        hidden = 0
    for at, call in enumerate(choice.calls):
        yield from _call_events(at, call, each, before, after)
    finish = _FINISH.get(choice.finish, choice.finish)
    yield Step(before + b'{},"logprobs":null,"finish_reason":"%b"}' % finish.encode() + back, "finish", hidden)


def _call_events(at: int, call: Call, each: int, before: bytes, after: bytes) -> Iterator[Step]:
    opening = _call(msgspec.structs.replace(call, arguments=""))
    yield Step(before + _encode({"tool_calls": [{"index": at} | opening]}) + after, "content", count_tokens(call.name))
    for text, tokens in pieces(call.arguments, each):
        more = {"tool_calls": [{"index": at, "function": {"arguments": text}}]}
        yield Step(before + _encode(more) + after, "content", tokens)


def _error(problem: Rejected) -> dict[str, Any]:
    status, code = problem.status, problem.code
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    if code == "insufficient_quota":
        kind = code
    return {"message": problem.message, "type": kind, "param": problem.param, "code": code or _CODES.get(status)}

"""The Gemini generateContent wire, as the provider speaks it (v1beta and v1).

Source: ai.google.dev API reference: models.generateContent, models.streamGenerateContent, troubleshooting (errors);
google.rpc.Status. Server-sent events end in CRLF there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.lab.mock.answer import ChoicePlan, Plan, Tally
from pointsman.lab.mock.ask import Ask, Received, Rejected, ToolMode, ToolSpec, count_tokens, pieces
from pointsman.lab.mock.config import ModelSpec
from pointsman.lab.mock.steps import Step
from pointsman.lab.mock.wires import Headers, bearer, round_robin

_encode = msgspec.json.encode
_PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)$")
_FINISH = {"length": "MAX_TOKENS", "content_filter": "SAFETY", "refusal": "SAFETY"}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MODES: dict[str, ToolMode] = {"ANY": "required", "NONE": "none", "VALIDATED": "auto", "AUTO": "auto"}
_RPC = "type.googleapis.com/google.rpc."


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    inline_data: Any = None
    file_data: Any = None
    function_call: dict[str, Any] | None = None
    function_response: dict[str, Any] | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []
    role: str = "user"


class _Generation(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None
    candidate_count: int | None = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: Any = None
    response_json_schema: Any = None
    thinking_config: dict[str, Any] | None = None


class _Body(msgspec.Struct, rename="camel"):
    contents: list[_Content]
    system_instruction: _Content | None = None
    generation_config: _Generation = msgspec.field(default_factory=_Generation)
    tools: list[dict[str, Any]] | None = None
    tool_config: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


class GeminiWire:
    bad_key_status = 400

    def finds(self, method: str, path: str) -> str | None:
        if method == "POST" and _PATH.search(path):
            return "chat"
        return "models" if method == "GET" and path.endswith(("/v1beta/models", "/v1/models")) else None

    def secret(self, received: Received) -> str | None:
        in_query = re.search(r"(?:^|&)key=([^&]*)", received.query)
        return received.headers.get("x-goog-api-key") or bearer(received) or (in_query[1] if in_query else None)

    def parse(self, received: Received) -> Ask:
        named = _PATH.search(received.path)
        if named is None:
            raise Rejected(404, "Not Found")
        try:
            body = _decoder.decode(received.body)
        except msgspec.DecodeError as error:
            raise Rejected(400, f"Invalid JSON payload received. {error}") from error
        if not body.contents:
            raise Rejected(400, "* GenerateContentRequest.contents: contents is not specified")
        stream = named[2] == "streamGenerateContent"
        return _ask(body, named[1], stream=stream, sse="alt=sse" in received.query.split("&"))

    def reply(self, plan: Plan, ask: Ask) -> bytes:
        candidates = [
            {
                "content": {"parts": _parts(choice, plan.key), "role": "model"},
                "finishReason": _finish(choice),
                "index": index,
            }
            for index, choice in enumerate(plan.choices)
        ]
        return _encode(_response(plan, candidates, plan.usage))

    def stream(self, plan: Plan, ask: Ask) -> Iterator[Step]:
        honest = plan.usage is not None and plan.usage.output == plan.output_tokens
        spent = [0] if honest else None
        steps = round_robin([_events(index, c, plan, spent) for index, c in enumerate(plan.choices)])
        if ask.sse:
            for step in steps:
                yield step._replace(data=b"data: %b\r\n\r\n" % step.data)
            return
        front = b"["
        for step in steps:
            yield step._replace(data=front + step.data)
            front = b",\r\n"
        yield Step(b"]", "done")

    def headers(self, key: str, *, stream: bool) -> Headers:
        return ("content-type", "text/event-stream" if stream else "application/json; charset=UTF-8"), (
            "server",
            "scaffolding on HTTPServer2",
        )

    def error(self, problem: Rejected, key: str) -> bytes:
        return _encode({"error": _error(problem)})

    def error_event(self, problem: Rejected) -> bytes:
        return b"data: %b\r\n\r\n" % self.error(problem, "")

    def filler_event(self, size: int) -> bytes:
        content = {"content": {"parts": [{"text": "x" * size}], "role": "model"}, "index": 0}
        return b"data: %b\r\n\r\n" % _encode({"candidates": [content]})

    def models(self, models: dict[str, ModelSpec]) -> bytes:
        methods = ["generateContent", "countTokens"]
        listed = [
            {
                "name": "models/" + name,
                "displayName": name,
                "inputTokenLimit": spec.context,
                "outputTokenLimit": spec.max_output,
                "supportedGenerationMethods": methods,
            }
            for name, spec in models.items()
        ]
        return _encode({"models": listed})


def _ask(body: _Body, model: str, *, stream: bool, sse: bool) -> Ask:
    contents = ([body.system_instruction] if body.system_instruction else []) + body.contents
    texts: list[str] = []
    images, last = 0, ""
    for at, content in enumerate(contents):
        own = [part.text for part in content.parts if part.text is not None]
        texts += own
        for part in content.parts:
            images += part.inline_data is not None or part.file_data is not None
            other = part.function_call or part.function_response
            if other:
                value = other.get("args", other.get("response"))
                texts.append(str(other.get("name", "")) + _encode(value).decode())
        if own and content.role == "user" and not (at == 0 and body.system_instruction):
            last = "\n".join(own)
    g, mode = body.generation_config, (body.tool_config or {}).get("functionCallingConfig", {})
    allowed = mode.get("allowedFunctionNames") or ()
    thinking = g.thinking_config or {}
    return Ask(
        model=model,
        texts=tuple(texts),
        last=last,
        stream=stream,
        sse=sse,
        after_tool=any(part.function_response for part in contents[-1].parts),
        images=images,
        n=max(1, g.candidate_count or 1),
        max_tokens=g.max_output_tokens,
        tools=tuple(tool for tool in _tools(body.tools) if not allowed or tool.name in allowed),
        tool_mode=_MODES.get(str(mode.get("mode", "AUTO")), "auto"),
        json=g.response_mime_type == "application/json",
        schema=g.response_json_schema or g.response_schema,
        include_usage=True,
        stop=tuple(g.stop_sequences or ()),
        think=thinking.get("thinkingBudget") != 0,
        show_thinking=bool(thinking.get("includeThoughts")),
    )


def _tools(tools: list[dict[str, Any]] | None) -> Iterator[ToolSpec]:
    for tool in tools or ():
        for one in tool.get("functionDeclarations", ()):
            yield ToolSpec(str(one.get("name")), one.get("parametersJsonSchema") or one.get("parameters"))


def _finish(choice: ChoicePlan) -> str:
    if any(_args(call.arguments) is None for call in choice.calls) and choice.finish == "tool_calls":
        return "MALFORMED_FUNCTION_CALL"
    return _FINISH.get(choice.finish, "STOP")


def _args(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return None


def _parts(choice: ChoicePlan, key: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if choice.reasoning:
        parts.append({"text": choice.reasoning, "thought": True})
    if choice.text:
        parts.append({"text": choice.text})
    return parts + [part for call in choice.calls if (part := _call_part(call.name, call.arguments, key))]


def _call_part(name: str, arguments: str, key: str) -> dict[str, Any] | None:
    args = _args(arguments)
    if args is None:
        return None  # a call cut short cannot be said in this format
    return {"functionCall": {"name": name, "args": args}, "thoughtSignature": "c2ln" + key}


def _response(plan: Plan, candidates: list[dict[str, Any]], usage: Tally | None) -> dict[str, Any]:
    reply: dict[str, Any] = {"candidates": candidates}
    if usage is not None:
        reply["usageMetadata"] = _usage(usage)
    return reply | {"modelVersion": plan.model, "responseId": plan.key}


def _usage(usage: Tally) -> dict[str, Any]:
    told: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.prompt + usage.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
    }
    if usage.reasoning:
        told["thoughtsTokenCount"] = usage.reasoning
    if usage.cached:
        told["cachedContentTokenCount"] = usage.cached
    return told


def _events(index: int, choice: ChoicePlan, plan: Plan, spent: list[int] | None) -> Iterator[Step]:
    """Yield the chunks of one candidate. Usage is cumulative: `spent` is what all candidates have said so far; None
    tells the same usage in every chunk."""

    def chunk(part: dict[str, Any], tokens: int, finish: str | None = None) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": index}
        if finish is not None:
            candidate["finishReason"] = finish
        usage = plan.usage
        if usage is not None and spent is not None:
            spent[0] += tokens
            usage = msgspec.structs.replace(usage, output=max(spent[0], usage.reasoning))
        return _encode(_response(plan, [candidate], usage))

    hidden = 0 if choice.reasoning else choice.reasoning_tokens
    for text, tokens in pieces(choice.reasoning, plan.tokens_per_event):
        yield Step(chunk({"text": text, "thought": True}, tokens), "content", tokens)
    for text, tokens in pieces(choice.text, plan.tokens_per_event):
        yield Step(chunk({"text": text}, tokens + hidden), "content", tokens + hidden)
        hidden = 0
    for call in choice.calls:
        tokens = count_tokens(call.name) + count_tokens(call.arguments) + hidden
        part = _call_part(call.name, call.arguments, plan.key)
        if part is not None:
            yield Step(chunk(part, tokens), "content", tokens)
        hidden = 0 if part is not None else tokens
    hidden += count_tokens(choice.refusal)  # judged, billed, and not shown
    yield Step(chunk({"text": ""}, hidden, _finish(choice)), "finish", hidden)


def _error(problem: Rejected) -> dict[str, Any]:
    name = _STATUS.get(problem.status, "UNKNOWN")
    error: dict[str, Any] = {"code": problem.status, "message": problem.message, "status": name}
    if problem.code == "invalid_api_key" and problem.status == 400:
        info = {"@type": _RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        error["details"] = [info | {"metadata": {"service": "generativelanguage.googleapis.com"}}]
    if problem.retry_s is not None:
        error["details"] = [{"@type": _RPC + "RetryInfo", "retryDelay": problem.retry_s + "s"}]
    return error

"""Words and numbers of the Gemini wire: finish reasons, usage, log probabilities, error words."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.chat import FinishReason
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage, clamp
from pointsman.dialects.errors import ErrorTable
from pointsman.dialects.gemini.shapes import LOGPROBS, USAGE, LogprobToken, Modality, TopCandidates
from pointsman.dialects.wirejson import count, lenient, raw_of

NAME = "gemini"

# ai.google.dev/api/generate-content, FinishReason. Every word that is not here is `error`: a malformed call, a missing
# image, OTHER.
FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
ERROR_FINISH = frozenset(
    (
        "OTHER",
        "LANGUAGE",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "NO_IMAGE",
        "IMAGE_OTHER",
    )
)
WORDS: dict[FinishReason, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "error": "OTHER",
}


def finish_of(word: str, has_calls: bool) -> FinishReason:
    """Return the FinishReason of a candidate; Gemini says STOP also when it asks for tools."""
    reason = FINISH.get(word, "error")
    return "tool_calls" if has_calls and reason == "stop" else reason


def word_of(reason: FinishReason, native: str | None) -> str:
    """Return the finish word for a client: the native one where it is one of ours and agrees."""
    if native is not None and (native in ERROR_FINISH if reason == "error" else FINISH.get(native) == reason):
        return native
    return WORDS[reason]


def is_finish(word: str | None) -> bool:
    """Return whether a finish reason says that the candidate ended."""
    return bool(word) and word != "FINISH_REASON_UNSPECIFIED"


def usage_of(raw: Raw) -> Usage | None:
    """Return the usage in `usageMetadata`, or None if it has none: thinking and tool results are counted apart there
    (ai.google.dev/api/generate-content, UsageMetadata), here they are part of output and input."""
    u = lenient(USAGE, raw)
    if u is None:
        return None
    total_in = count(u.prompt_token_count) + count(u.tool_use_prompt_token_count)
    thoughts = count(u.thoughts_token_count)
    total_out = count(u.candidates_token_count) + thoughts
    if total_in == 0 and total_out == 0:
        return None
    return clamp(
        Usage(
            input_tokens=total_in,
            output_tokens=total_out,
            cache_read_tokens=count(u.cached_content_token_count),
            reasoning_tokens=thoughts,
            input_audio_tokens=_audio(u.prompt_tokens_details),
            output_audio_tokens=_audio(u.candidates_tokens_details),
        )
    )


def _audio(details: list[Modality] | None) -> int:
    return sum(count(detail.token_count) for detail in details or () if detail.modality == "AUDIO")


def usage_body(u: Usage) -> dict[str, Any]:
    """Return `usageMetadata`."""
    body: dict[str, Any] = {
        "promptTokenCount": u.input_tokens,
        "candidatesTokenCount": u.output_tokens - u.reasoning_tokens,
        "totalTokenCount": u.total_tokens,
    }
    if u.reasoning_tokens:
        body["thoughtsTokenCount"] = u.reasoning_tokens
    if u.cache_read_tokens:
        body["cachedContentTokenCount"] = u.cache_read_tokens
    if u.input_audio_tokens:
        body["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": u.input_audio_tokens}]
    if u.output_audio_tokens:
        body["candidatesTokensDetails"] = [{"modality": "AUDIO", "tokenCount": u.output_audio_tokens}]
    return body


class _OpenAiTop(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0


class _OpenAiToken(_OpenAiTop):
    top_logprobs: list[_OpenAiTop] | None = None


class _OpenAiLogprobs(msgspec.Struct):
    content: list[_OpenAiToken] | None = None


_OPENAI_LOGPROBS = msgspec.json.Decoder(_OpenAiLogprobs)


def logprobs_of(raw: Raw) -> Raw | None:
    """Return `logprobsResult` in the neutral form, which is OpenAI's; None if there is none."""
    found = lenient(LOGPROBS, raw)
    if found is None or not found.chosen_candidates:
        return None
    tops = found.top_candidates or []
    content = []
    for number, chosen in enumerate(found.chosen_candidates):
        top = tops[number] if number < len(tops) else TopCandidates()
        entry = _openai_token(chosen) | {"top_logprobs": [_openai_token(t) for t in top.candidates or ()]}
        content.append(entry)
    return raw_of({"content": content, "refusal": None})


def _openai_token(t: LogprobToken) -> dict[str, Any]:
    return {"token": t.token, "logprob": t.log_probability, "bytes": list(t.token.encode())}


def logprobs_body(raw: Raw) -> dict[str, Any] | None:
    """Return neutral log probabilities as `logprobsResult`, or None if they are of another shape."""
    found = lenient(_OPENAI_LOGPROBS, raw)
    if found is None or not found.content:
        return None
    return {
        "chosenCandidates": [{"token": t.token, "logProbability": t.logprob} for t in found.content],
        "topCandidates": [
            {"candidates": [{"token": t.token, "logProbability": t.logprob} for t in token.top_logprobs or ()]}
            for token in found.content
        ],
    }


# ai.google.dev/gemini-api/docs/troubleshooting and google.rpc.Code. RESOURCE_EXHAUSTED is both a limit per minute and one
# per day, and the message is the same; where the body names a delay (RetryInfo), the delay is what counts.
ERRORS = ErrorTable(
    words={
        "api_key_invalid": Kind.AUTH,
        "api_key_service_blocked": Kind.AUTH,
        "consumer_suspended": Kind.AUTH,
        "billing_disabled": Kind.QUOTA_EXHAUSTED,
    },
    phrases=(
        ("exceeds the maximum number of tokens", Kind.CONTEXT_LENGTH),
        ("maximum context length", Kind.CONTEXT_LENGTH),
        ("prompt is too long", Kind.CONTEXT_LENGTH),
        ("api key not valid", Kind.AUTH),
        ("api key expired", Kind.AUTH),
        ("prepayment credits are depleted", Kind.QUOTA_EXHAUSTED),
        ("model is overloaded", Kind.OVERLOADED),
    ),
    broad={
        "unauthenticated": Kind.AUTH,
        "permission_denied": Kind.AUTH,
        "failed_precondition": Kind.AUTH,  # region or billing not set up: the provider refuses this account
        "not_found": Kind.NOT_FOUND,
        "resource_exhausted": Kind.RATE_LIMITED,
        "internal": Kind.SERVER_ERROR,
        "unavailable": Kind.OVERLOADED,
        "deadline_exceeded": Kind.TIMEOUT,
        "invalid_argument": Kind.INVALID_REQUEST,
    },
)

STATUSES: dict[Kind, tuple[int, str]] = {  # for a client of this wire; any other kind: 500 INTERNAL
    Kind.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
    Kind.OVERLOADED: (503, "UNAVAILABLE"),
    Kind.CONTEXT_LENGTH: (400, "INVALID_ARGUMENT"),
    Kind.INVALID_REQUEST: (400, "INVALID_ARGUMENT"),
    Kind.UNSUPPORTED: (400, "INVALID_ARGUMENT"),
    Kind.CONTENT_FILTER: (400, "INVALID_ARGUMENT"),
    Kind.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
}

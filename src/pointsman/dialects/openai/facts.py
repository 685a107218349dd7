"""Words and numbers of the chat completions wire: finish reasons, usage, error words."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from pointsman.core.chat import FinishReason
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage, clamp
from pointsman.dialects.errors import ErrorTable
from pointsman.dialects.openai.shapes import USAGE, InputDetails, OutputDetails
from pointsman.dialects.wirejson import count, lenient

# The first five are OpenAI's; the rest were seen at compatible servers. A word that is not here may mean anything, so
# it is not called complete (I18).
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "COMPLETE": "stop",
    "STOP": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "MAX_TOKENS": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "SAFETY": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",
}


def finish_of(word: str) -> FinishReason:
    """Return the FinishReason of a server's word; an unknown word is `error`."""
    return FINISH.get(word, "error")


def usage_of(raw: Raw) -> Usage | None:
    """Return the usage a server reported, clamped (fault 28); None if it reported none or only zeros."""
    u = lenient(USAGE, raw)
    if u is None:
        return None
    into, out = u.prompt_tokens_details or InputDetails(), u.completion_tokens_details or OutputDetails()
    prompt, completion, reasoning = count(u.prompt_tokens), count(u.completion_tokens), count(out.reasoning_tokens)
    if reasoning > 0 and count(u.total_tokens) == prompt + completion + reasoning:
        completion += reasoning  # xAI counts thinking beside the completion
    if prompt == 0 and completion == 0:
        return None
    cached = next((c for c in (into.cached_tokens, u.prompt_cache_hit_tokens, u.cached_tokens) if c is not None), 0)
    return clamp(
        Usage(
            input_tokens=prompt,
            output_tokens=completion,
            cache_read_tokens=count(cached),
            cache_write_5m_tokens=count(into.cache_write_tokens),
            reasoning_tokens=reasoning,
            input_audio_tokens=count(into.audio_tokens),
            output_audio_tokens=count(out.audio_tokens),
        )
    )


def usage_body(u: Usage) -> dict[str, Any]:
    """Return `usage` as the wire writes it; both lifetimes of cache writes become one figure."""
    return {
        "prompt_tokens": u.input_tokens,
        "completion_tokens": u.output_tokens,
        "total_tokens": u.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": u.cache_read_tokens,
            "cache_write_tokens": u.cache_write_5m_tokens + u.cache_write_1h_tokens,
            "audio_tokens": u.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": u.reasoning_tokens,
            "audio_tokens": u.output_audio_tokens,
        },
    }


_Q, _L, _A, _F = Kind.QUOTA_EXHAUSTED, Kind.CONTEXT_LENGTH, Kind.AUTH, Kind.CONTENT_FILTER

ERRORS = ErrorTable(
    words={
        "insufficient_quota": _Q,
        "billing_hard_limit_reached": _Q,
        "billing_not_active": _Q,
        "insufficient_balance": _Q,
        "exceeded_current_quota_error": _Q,  # Moonshot
        "context_length_exceeded": _L,
        "rate_limit_exceeded": Kind.RATE_LIMITED,
        "rate_limit_reached_error": Kind.RATE_LIMITED,  # Moonshot
        "model_not_found": Kind.NOT_FOUND,
        "deploymentnotfound": Kind.NOT_FOUND,  # Azure
        "model_decommissioned": Kind.NOT_FOUND,  # Groq
        "invalid_api_key": _A,
        "incorrect_api_key": _A,
        "account_deactivated": _A,
        "content_filter": _F,
        "content_policy_violation": _F,
        "responsibleaipolicyviolation": _F,  # Azure
        "moderation_blocked": _F,
        "engine_overloaded": Kind.OVERLOADED,
        "engine_overloaded_error": Kind.OVERLOADED,
        "overloaded_error": Kind.OVERLOADED,
        "slow_down": Kind.OVERLOADED,
        "server_overloaded": Kind.OVERLOADED,
    },
    phrases=(
        ("maximum context length", _L),
        ("context length exceeded", _L),
        ("context window", _L),
        ("maximum prompt length", _L),  # xAI
        ("prompt is too long", _L),
        ("input is too long", _L),
        ("please reduce the length of the messages", _L),
        ("exceeds the maximum number of tokens", _L),
        ("exceeds the available context size", _L),  # llama.cpp
        ("longer than the maximum model length", _L),  # vLLM
        ("you exceeded your current quota", _Q),
        ("insufficient balance", _Q),  # DeepSeek
        ("insufficient credits", _Q),  # OpenRouter
        ("credit balance is too low", _Q),
        ("credit limit", _Q),  # Together
        ("content management policy", _F),  # Azure
        ("flagged", _F),  # OpenRouter moderation
        ("overloaded", Kind.OVERLOADED),
    ),
    broad={
        "tokens": Kind.RATE_LIMITED,  # OpenAI names the exhausted limit in `type`
        "requests": Kind.RATE_LIMITED,
        "rate_limit_error": Kind.RATE_LIMITED,
        "authentication_error": _A,
        "permission_error": _A,
        "not_found_error": Kind.NOT_FOUND,
        "server_error": Kind.SERVER_ERROR,
        "internal_server_error": Kind.SERVER_ERROR,
        "internal_error": Kind.SERVER_ERROR,
        "service_unavailable": Kind.OVERLOADED,
        "timeout": Kind.TIMEOUT,
        "invalid_prompt": Kind.INVALID_REQUEST,
    },
)

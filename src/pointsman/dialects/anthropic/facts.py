"""Words and numbers of the Messages wire: stop reasons, usage, error words, versions."""

from __future__ import annotations

from typing import Any

from pointsman.core.chat import FinishReason
from pointsman.core.outcome import Kind
from pointsman.core.usage import Usage, clamp
from pointsman.dialects.anthropic.shapes import CacheCreation, OutputDetails, UsageIn
from pointsman.dialects.errors import ErrorTable
from pointsman.dialects.wirejson import count

NAME = "anthropic"
DEFAULT_VERSION = "2023-06-01"
NO_SAMPLING_VERSION = "2026-10-21"  # from here on temperature, top_p and top_k are refused, even at their defaults

# platform.claude.com/docs/en/build-with-claude/handling-stop-reasons. A paused turn is not complete, so it is never
# called `stop` (I18).
FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP_REASON: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def finish_of(word: str) -> FinishReason:
    """Return the FinishReason of a stop reason; an unknown word is `error`."""
    return FINISH.get(word, "error")


def stop_reason_of(reason: FinishReason, native: str | None) -> str | None:
    """Return the stop reason for a client: the native word where it is one of ours and agrees; None: cannot be said."""
    if native is not None and FINISH.get(native) == reason:
        return native
    return STOP_REASON.get(reason)


def usage_of(u: UsageIn) -> Usage | None:
    """Return usage with `input_tokens` as the total; None for a report of zeros. Anthropic counts cached tokens apart:
    total = input + cache reads + cache writes (platform.claude.com/docs/en/build-with-claude/prompt-caching)."""
    split = u.cache_creation or CacheCreation()
    write_1h = count(split.ephemeral_1h_input_tokens)
    if u.cache_creation_input_tokens is None:
        write_5m = count(split.ephemeral_5m_input_tokens)
    else:
        write_5m = count(u.cache_creation_input_tokens) - write_1h
    read = count(u.cache_read_input_tokens)
    total = count(u.input_tokens) + read + write_5m + write_1h
    if total == 0 and count(u.output_tokens) == 0:
        return None
    return clamp(
        Usage(
            input_tokens=total,
            output_tokens=count(u.output_tokens),
            cache_read_tokens=read,
            cache_write_5m_tokens=write_5m,
            cache_write_1h_tokens=write_1h,
            reasoning_tokens=count((u.output_tokens_details or OutputDetails()).thinking_tokens),
        )
    )


def merged(old: UsageIn, new: UsageIn) -> UsageIn:
    """Return the cumulative counts of a stream: each member's last value that was not null."""
    picked = {name: old_value if (value := getattr(new, name)) is None else value for name, old_value in _members(old)}
    return UsageIn(**picked)


def _members(u: UsageIn) -> list[tuple[str, Any]]:
    return [(name, getattr(u, name)) for name in UsageIn.__struct_fields__]


def usage_body(u: Usage) -> dict[str, Any]:
    """Return `usage` as the wire writes it: uncached input apart from cache reads and writes."""
    writes = u.cache_write_5m_tokens + u.cache_write_1h_tokens
    body: dict[str, Any] = {
        "input_tokens": u.input_tokens - u.cache_read_tokens - writes,
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": u.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": u.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": u.cache_write_1h_tokens,
        },
        "output_tokens": u.output_tokens,
    }
    if u.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": u.reasoning_tokens}
    return body


# platform.claude.com/docs/en/api/errors
ERRORS = ErrorTable(
    words={
        "overloaded_error": Kind.OVERLOADED,
        "billing_error": Kind.QUOTA_EXHAUSTED,
        "rate_limit_error": Kind.RATE_LIMITED,
        "request_too_large": Kind.CONTEXT_LENGTH,
        "authentication_error": Kind.AUTH,
    },
    phrases=(
        ("prompt is too long", Kind.CONTEXT_LENGTH),
        ("exceed context limit", Kind.CONTEXT_LENGTH),
        ("context window", Kind.CONTEXT_LENGTH),
        ("maximum context length", Kind.CONTEXT_LENGTH),
        ("exceeds the maximum number of tokens", Kind.CONTEXT_LENGTH),
        ("credit balance is too low", Kind.QUOTA_EXHAUSTED),
        ("specified api usage limits", Kind.QUOTA_EXHAUSTED),
        ("content filtering policy", Kind.CONTENT_FILTER),
        ("overloaded", Kind.OVERLOADED),
    ),
    broad={
        "permission_error": Kind.AUTH,
        "not_found_error": Kind.NOT_FOUND,
        "timeout_error": Kind.TIMEOUT,
        "gateway_timeout_error": Kind.TIMEOUT,
        "api_error": Kind.SERVER_ERROR,
    },
)

ERROR_TYPES: dict[Kind, str] = {  # for a client of this wire; any other kind: api_error
    Kind.OVERLOADED: "overloaded_error",
    Kind.RATE_LIMITED: "rate_limit_error",
    Kind.CONTEXT_LENGTH: "invalid_request_error",
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.CONTENT_FILTER: "invalid_request_error",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.TIMEOUT: "timeout_error",
}

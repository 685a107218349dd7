"""Usage: the tokens of one attempt, by class."""

from __future__ import annotations

from typing import Literal

import msgspec

Source = Literal["measured", "estimated", "unknown"]

MAX_TOKENS = 100_000_000  # no provider serves more in one call; larger figures are a provider's mistake


class Usage(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold the tokens of one attempt.

    `input_tokens` is the total read by the model and includes `cache_read_tokens`, `cache_write_5m_tokens`,
    `cache_write_1h_tokens` and `input_audio_tokens`; `output_tokens` is the total produced and includes
    `reasoning_tokens` and `output_audio_tokens`. All are >= 0.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    source: Source = "measured"

    @property
    def has_classes(self) -> bool:
        """Tell whether any token is of a class that may have a rate of its own."""
        return bool(
            self.cache_read_tokens
            or self.cache_write_5m_tokens
            or self.cache_write_1h_tokens
            or self.reasoning_tokens
            or self.input_audio_tokens
            or self.output_audio_tokens
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


NO_USAGE = Usage(source="unknown")


def clamp(usage: Usage) -> Usage:
    """Return `usage` if its parts are possible, otherwise a copy with each part forced into 0..total and
    marked `estimated` (a provider that reports nonsense is corrected, never believed: fault 28)."""
    u = usage
    if 0 <= u.input_tokens <= MAX_TOKENS and 0 <= u.output_tokens <= MAX_TOKENS and not u.has_classes:
        return u
    if (
        0 <= u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens <= u.input_tokens <= MAX_TOKENS
        and 0 <= u.reasoning_tokens <= u.output_tokens <= MAX_TOKENS
        and 0 <= u.input_audio_tokens <= u.input_tokens
        and 0 <= u.output_audio_tokens <= u.output_tokens
        and min(u.cache_read_tokens, u.cache_write_5m_tokens, u.cache_write_1h_tokens) >= 0
    ):
        return u

    def within(value: int, top: int) -> int:
        return max(0, min(value, top))

    total_in, total_out = within(u.input_tokens, MAX_TOKENS), within(u.output_tokens, MAX_TOKENS)
    read = within(u.cache_read_tokens, total_in)
    write_5m = within(u.cache_write_5m_tokens, total_in - read)
    return Usage(
        input_tokens=total_in,
        output_tokens=total_out,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=within(u.cache_write_1h_tokens, total_in - read - write_5m),
        reasoning_tokens=within(u.reasoning_tokens, total_out),
        input_audio_tokens=within(u.input_audio_tokens, total_in),
        output_audio_tokens=within(u.output_audio_tokens, total_out),
        source="estimated",
    )

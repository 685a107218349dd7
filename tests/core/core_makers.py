"""Hypothesis strategies for the nouns of the core."""

from __future__ import annotations

from hypothesis import strategies as st

from pointsman.core.outcome import Kind, Outcome
from pointsman.core.policy import Limits
from pointsman.core.pricing import Rates
from pointsman.core.usage import MAX_TOKENS, Usage

tokens = st.integers(0, 1_000_000)
rate = st.integers(0, 10**12)
rates = st.builds(
    Rates,
    input=rate,
    output=rate,
    cache_read=st.none() | rate,
    cache_write_5m=st.none() | rate,
    cache_write_1h=st.none() | rate,
    reasoning=st.none() | rate,
    input_audio=st.none() | rate,
    output_audio=st.none() | rate,
    request=st.integers(0, 10**9),
)
wild = st.integers(-(10**13), 10**13) | st.integers(-5, 5) | st.just(MAX_TOKENS)
wild_usages = st.builds(Usage, *[wild] * 8)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Return usage whose parts are possible: each class within its total, none counted twice."""
    read, five, hour, audio_in, plain_in = (draw(tokens) for _ in range(5))
    thought, audio_out, plain_out = (draw(tokens) for _ in range(3))
    return Usage(
        input_tokens=read + five + hour + audio_in + plain_in,
        output_tokens=thought + audio_out + plain_out,
        cache_read_tokens=read,
        cache_write_5m_tokens=five,
        cache_write_1h_tokens=hour,
        reasoning_tokens=thought,
        input_audio_tokens=audio_in,
        output_audio_tokens=audio_out,
    )


outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(Kind),
    retry_after_ms=st.none() | st.integers(0, 86_400_000),
)
limits = st.builds(
    Limits,
    breaker_failures=st.integers(1, 8),
    breaker_unreachable=st.integers(1, 8),
    slow_start_ms=st.sampled_from([0, 1, 10_000]),
    breaker_open_ms=st.integers(1, 60_000),
    breaker_open_max_ms=st.integers(60_000, 600_000),
    breaker_success=st.floats(0, 1),
    breaker_min_requests=st.integers(1, 30),
)

"""What replies say of our quota at a provider, as the providers' pages on rate limits show it, and as nobody should."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects.allowance import MOST_WAIT_MS, Allowance, read_allowances

NOW_S = 1_790_000_000.0

OPENAI = {  # OpenAI, guide "Rate limits", headers of a reply
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
    "x-ratelimit-remaining-tokens_usage_based": "1",
}
ANTHROPIC = {  # Anthropic, "Rate limits", response headers
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": datetime.fromtimestamp(NOW_S + 12, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "39000",
    "anthropic-ratelimit-input-tokens-reset": datetime.fromtimestamp(NOW_S + 2, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
}
CEREBRAS = {  # Cerebras, "Rate limits", headers
    "x-ratelimit-limit-requests-day": "1000000000",
    "x-ratelimit-limit-tokens-minute": "1000000000",
    "x-ratelimit-remaining-requests-day": "999997455",
    "x-ratelimit-remaining-tokens-minute": "999998298",
    "x-ratelimit-reset-requests-day": "33011.382867",
    "x-ratelimit-reset-tokens-minute": "11.382867",
}


def test_known_ways_are_read() -> None:
    assert read_allowances(OPENAI, NOW_S) == [
        Allowance("requests", 60, 59, 1_000.0),
        Allowance("tokens", 150_000, 149_984, 360_000.0),
    ]
    assert read_allowances(ANTHROPIC, NOW_S) == [
        Allowance("requests", 50, 0, 12_000.0),
        Allowance("input_tokens", 40_000, 39_000, 2_000.0),
    ]
    found = {one.measure: one for one in read_allowances(CEREBRAS, NOW_S)}
    assert found["requests"].left == 999_997_455 and found["tokens"].reset_ms == pytest.approx(11_382.867)
    groq = {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "2m59.56s"}
    assert read_allowances(groq, NOW_S) == [Allowance("tokens", 0, 5, pytest.approx(179_560.0))]
    short = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12ms"}
    assert read_allowances(short, NOW_S)[0].reset_ms == 12.0


def test_the_period_with_the_least_left_counts() -> None:
    both = CEREBRAS | {"x-ratelimit-remaining-tokens-day": "7", "x-ratelimit-reset-tokens-day": "60"}
    assert {one.measure: one.left for one in read_allowances(both, NOW_S)}["tokens"] == 7


def test_the_wait_is_as_long_as_what_is_missing_takes_to_come_back() -> None:
    assert Allowance("requests", 60, 1, 59_000.0).wait_ms(1) == 0.0
    assert Allowance("requests", 60, 0, 60_000.0).wait_ms(1) == 1_000.0  # a sixtieth of a minute
    assert Allowance("tokens", 1_000, 500, 30_000.0).wait_ms(600) == 6_000.0
    assert Allowance("requests", 0, 0, 5_000.0).wait_ms(1) == 5_000.0  # the limit was not told
    assert Allowance("requests", 10, 0, 86_400_000.0).wait_ms(10) == MOST_WAIT_MS
    assert Allowance("tokens", 1_000, 900, 100.0).wait_ms(5_000) == 100.0  # more than ever fits: when it is whole


NAMES = st.one_of(
    st.sampled_from([*OPENAI, *ANTHROPIC, *CEREBRAS]), st.text(max_size=40).map(lambda t: f"x-ratelimit-{t}")
)
VALUES = st.one_of(
    st.text(max_size=30), st.sampled_from(["nan", "inf", "-1", "1e400", "9" * 40, "1s", "0", "2026-13-01", "1h2m"])
)


@given(st.dictionaries(NAMES, VALUES, max_size=12))
def test_whatever_is_said_is_read_or_left_out(headers: dict[str, str]) -> None:
    for one in read_allowances(headers, NOW_S):
        assert one.left >= 0 and one.limit >= 0 and one.reset_ms >= 0
        assert 0 <= one.wait_ms(1) <= MOST_WAIT_MS and 0 <= one.wait_ms(10**9) <= MOST_WAIT_MS

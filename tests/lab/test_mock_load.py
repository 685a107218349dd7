"""The mock keeps time with many streams at once: a benchmark upstream must not be the thing that is late."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Any

import pytest

from pointsman.lab.mock import MockServer
from pointsman.lab.mock.ask import count_tokens, pieces, trim
from pointsman.lab.mock.config import Spread


async def test_two_hundred_streams_keep_their_pace(make_config: Any, raw: Any) -> None:
    config = make_config()
    pace = {"ttft_ms": {"p50": 100, "p95": 100}, "tokens_per_s": 10, "output_tokens": {"p50": 10, "p95": 10}}
    config["providers"][0]["models"]["m1"] = pace
    body = {"model": "m1", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": "Bearer sk-oa"}
    async with MockServer(config) as mock:
        start = time.monotonic()
        answers = await asyncio.gather(
            *(raw(mock.port("oa"), "/v1/chat/completions", body, headers) for _ in range(200))
        )
        took_s = time.monotonic() - start
        assert len(mock.log) == 200
        assert {entry.outcome for entry in mock.log} == {"complete"}
    assert all(answer.whole for answer in answers)
    # A busy machine reads two events at once now and then; it does not read a whole stream at once.
    assert statistics.median(len(answer.reads_s) for answer in answers) >= 8
    assert 0.99 < took_s < 10  # 100 ms to the first token, nine gaps of 100 ms, and the start of 200 clients


async def test_a_reply_that_is_no_stream_takes_as_long_as_its_tokens(make_config: Any, raw: Any) -> None:
    config = make_config(time_scale=0.5)
    pace = {"ttft_ms": {"p50": 100, "p95": 100}, "tokens_per_s": 100, "output_tokens": {"p50": 30, "p95": 30}}
    config["providers"][0]["models"]["m1"] = pace
    body = {"model": "m1", "messages": [{"role": "user", "content": "hi"}]}
    async with MockServer(config) as mock:
        start = time.monotonic()
        await raw(mock.port("oa"), "/v1/chat/completions", body, {"authorization": "Bearer sk-oa"})
        assert 0.19 < time.monotonic() - start < 0.6


def test_a_spread_has_its_percentiles() -> None:
    rng = random.Random(3)
    draws = sorted(Spread(200, 600).draw(rng) for _ in range(20_000))
    assert draws[10_000] == pytest.approx(200, rel=0.05)
    assert draws[19_000] == pytest.approx(600, rel=0.08)


@pytest.mark.parametrize("text", ["", "abc", "plain text of some length", "你好，世界。再见！", "naïve café ✅ done"])
@pytest.mark.parametrize("each", [1, 3])
def test_pieces_are_the_text_and_their_tokens_its_tokens(text: str, each: int) -> None:
    found = pieces(text, each)
    assert "".join(piece for piece, _ in found) == text
    assert sum(tokens for _, tokens in found) == count_tokens(text)
    assert all(len(piece.encode()) <= each * 4 for piece, _ in found)
    assert count_tokens(trim(text, 2)) <= 2

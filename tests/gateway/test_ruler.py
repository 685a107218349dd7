"""What nobody counted is measured as that provider counts, after some answers of which it told."""

from __future__ import annotations

import json

from pointsman.core.usage import Usage
from pointsman.gateway.ruler import Ruler, text_bytes_of


def test_before_anything_is_learned_a_token_is_four_bytes_and_our_guess_of_the_input_holds() -> None:
    ruler = Ruler()
    assert ruler.input_tokens(120) == 120
    assert [ruler.output_tokens(size) for size in (400, 0, 1)] == [100, 0, 1]


def test_it_learns_how_a_provider_counts() -> None:
    ruler = Ruler()
    for _ in range(200):
        ruler.learn(1_000, 2_000, Usage(800, 1_000))
    assert abs(ruler.input_tokens(500) - 400) <= 4
    assert abs(ruler.output_tokens(600) - 300) <= 3


def test_a_long_text_says_more_than_a_short_one() -> None:
    ruler = Ruler()
    for _ in range(100):
        ruler.learn(20, 0, Usage(10, 0))
        ruler.learn(2_000, 0, Usage(2_200, 0))
    assert abs(ruler.input_tokens(2_000) - 2_200) < 40


def test_nonsense_and_thoughts_that_are_not_shown_teach_nothing() -> None:
    ruler = Ruler()
    for _ in range(50):
        ruler.learn(1_000, 4_000, Usage(1_000_000, 900_000))
        ruler.learn(3, 8, Usage(1, 1))
        ruler.learn(0, 4_000, Usage(0, 51_000, reasoning_tokens=50_000))
    assert ruler.input_tokens(1_000) == 1_000
    assert abs(ruler.output_tokens(4_000) - 1_000) <= 1


def test_the_text_of_a_reply_is_counted_and_not_its_json() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    body = {"choices": [{"message": {"role": "assistant", "content": "né", "tool_calls": [call]}}], "model": "m" * 500}
    assert text_bytes_of(json.dumps(body).encode()) == 3 + 4 + 8
    assert text_bytes_of(b"[1]") == 3

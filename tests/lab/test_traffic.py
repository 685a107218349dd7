"""The demo's traffic: enough of it, diverse, deterministic, and answerable."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter

import openai

from pointsman.lab.mock import MockServer
from pointsman.lab.mock.ask import count_tokens
from pointsman.lab.traffic import MAX_LONG_TOKENS, png, requests
from pointsman.lab.traffic_texts import LANGUAGES


def test_there_are_enough_requests_and_no_two_alike() -> None:
    made = requests()
    assert len(made) >= 220
    assert len({one.id for one in made}) == len(made)
    assert len({json.dumps(one.kwargs["messages"]) + str(one.kwargs) for one in made}) == len(made)
    counts = Counter(one.category for one in made)
    assert len(counts) >= 10 and len(LANGUAGES) >= 8
    streamed = sum(bool(one.kwargs.get("stream")) for one in made)
    assert 0.35 < streamed / len(made) < 0.65


def test_equal_seeds_give_equal_requests() -> None:
    assert requests(3) == requests(3)
    assert requests(3) != requests(4)


def test_long_documents_reach_thirty_thousand_tokens_and_no_more() -> None:
    sizes = [count_tokens(one.kwargs["messages"][0]["content"]) for one in requests() if one.category == "long"]
    assert 20_000 < max(sizes) <= MAX_LONG_TOKENS * 1.02
    assert min(sizes) < 3_000


def test_pictures_are_valid_png() -> None:
    data = png(9, 5, ((1, 2, 3), (250, 0, 128)))
    at, kinds = 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(body),)
        kinds.append(body[:4])
        if body[:4] == b"IDAT":
            assert len(zlib.decompress(body[4:])) == 5 * (1 + 9 * 3)
        at += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


async def test_the_official_client_gets_an_answer_to_each() -> None:
    model = {"ttft_ms": {"p50": 0, "p95": 0}, "tokens_per_s": 0, "reasoning": {}}
    provider = {"name": "p", "dialect": "openai", "models": {"auto": model}}
    async with MockServer({"providers": [provider]}) as mock:
        async with openai.AsyncOpenAI(base_url=mock.url("p"), api_key="any", max_retries=0) as client:
            for one in requests():
                reply = await client.chat.completions.create(**one.kwargs)
                if one.kwargs.get("stream"):
                    chunks = [chunk async for chunk in reply]
                    assert any(chunk.choices and chunk.choices[0].finish_reason for chunk in chunks)
                else:
                    assert reply.choices[0].finish_reason in ("stop", "length", "tool_calls")
        assert {entry.outcome for entry in mock.log} == {"complete"}
        assert len(mock.log) == len(requests())

"""The demo's traffic: diverse chat requests, equal for equal seeds, as arguments of the official client."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.lab import traffic_texts as texts

MAX_LONG_TOKENS = 30_000
_BYTES_PER_TOKEN = 4
_LONG_TOKENS = (2_000, 5_000, 9_000, 14_000, 20_000, MAX_LONG_TOKENS)


class DemoRequest(msgspec.Struct, frozen=True):
    """Hold one request: `category` labels it, `kwargs` go to `client.chat.completions.create` (`model` is `auto`)."""

    id: str
    category: str
    kwargs: dict[str, Any]


def requests(seed: int = 1) -> list[DemoRequest]:
    """Return the requests in a shuffled order that depends on `seed` alone; at least 220, no two alike."""
    rng = random.Random(seed)
    made: list[DemoRequest] = []
    for category, build in _CATEGORIES.items():
        for number, kwargs in enumerate(build(rng)):
            made.append(DemoRequest(f"{category}-{number:03d}", category, {"model": "auto"} | kwargs))
    made = [_streamed(one, rng) for one in made]
    rng.shuffle(made)
    return made


def png(width: int, height: int, colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> bytes:
    """Return a PNG that fades from the first colour to the second (PNG specification, sections 5 and 11: RGB, 8 bit)."""
    rows = b""
    for y in range(height):
        share = y / max(height - 1, 1)
        pixel = bytes(round(a + (b - a) * share) for a, b in zip(*colours, strict=True))
        rows += b"\0" + pixel * width

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def long_text(rng: random.Random, tokens: int) -> str:
    """Return minutes of meetings of about `tokens` tokens (four bytes each)."""
    lines: list[str] = []
    size, item = 0, 0
    while size < tokens * _BYTES_PER_TOKEN:
        item += 1
        line = (
            f"{item}. {rng.choice(texts.LONG_SUBJECTS)} {rng.choice(texts.LONG_VERBS)} "
            f"{rng.choice(texts.LONG_OBJECTS)} on {rng.randint(1, 28)}.{rng.randint(1, 12)}., "
            f"{rng.choice(texts.LONG_ENDINGS)}"
        )
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines)


def _user(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def _streamed(one: DemoRequest, rng: random.Random) -> DemoRequest:
    draw = rng.random()
    if draw > 0.5:
        return one
    more: dict[str, Any] = {"stream": True}
    if draw > 0.2:
        more["stream_options"] = {"include_usage": True}
    return DemoRequest(one.id, one.category, one.kwargs | more)


def _short(rng: random.Random) -> Iterator[dict[str, Any]]:
    for at, question in enumerate(texts.QUESTIONS):
        yield _user(question, **({"temperature": 0.2} if at % 3 == 0 else {}))


def _languages(rng: random.Random) -> Iterator[dict[str, Any]]:
    for language, asked in texts.LANGUAGES.items():
        for question in asked:
            yield _user(question, metadata={"language": language})


def _code(rng: random.Random) -> Iterator[dict[str, Any]]:
    for at, task in enumerate(texts.CODE_TASKS):
        yield _user(task, max_completion_tokens=400, **({"temperature": 0} if at % 2 else {}))


def _system(rng: random.Random) -> Iterator[dict[str, Any]]:
    for at, system in enumerate(texts.SYSTEMS):
        for asked in (texts.SYSTEM_ASKS[at % 7], texts.SYSTEM_ASKS[(at + 3) % 7]):
            role = "developer" if at % 4 == 3 else "system"
            yield {"messages": [{"role": role, "content": system}, {"role": "user", "content": asked}]}


def _multi_turn(rng: random.Random) -> Iterator[dict[str, Any]]:
    for first, reply, second in texts.TURNS:
        turns = [("user", first), ("assistant", reply), ("user", second)]
        messages = [{"role": role, "content": content} for role, content in turns]
        yield {"messages": messages}
        more = [("assistant", "Noted. Anything I should avoid?"), ("user", "Nothing expensive, please.")]
        yield {"messages": messages + [{"role": role, "content": content} for role, content in more]}


def _json(rng: random.Random) -> Iterator[dict[str, Any]]:
    for name, asked, schema in texts.SCHEMAS:
        shape = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
        for way in ("", "Be exact. ", "Leave out what is not said. ", "Answer for a machine. "):
            yield _user(way + asked, response_format=shape)
        yield _user("Answer in JSON. " + asked, response_format={"type": "json_object"})


def _tools(rng: random.Random) -> Iterator[dict[str, Any]]:
    tools = [{"type": "function", "function": tool} for tool in texts.TOOLS]
    for asked in texts.TOOL_ASKS:
        yield _user(asked, tools=tools)
        yield _user(f"{asked} I am in a hurry.", tools=tools, parallel_tool_calls=False)
    for tool in texts.TOOLS:
        forced = {"type": "function", "function": {"name": tool["name"]}}
        yield _user("Do what is needed for the usual Monday report.", tools=tools, tool_choice=forced)
    yield _user("Pick whatever helps with a delivery to Cork.", tools=tools, tool_choice="required")
    yield _user("What can you look up for me?", tools=tools, tool_choice="none")
    for number, result in enumerate(('{"high": "04:12", "low": "10:31"}', '{"error": "harbour unknown"}', "[]")):
        call_id = f"call_demo{number}"
        function = {"name": "get_tide", "arguments": '{"harbour": "Husum"}'}
        yield {
            "messages": [
                {"role": "user", "content": "When is high water in Husum?"},
                {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]},
                {"role": "tool", "tool_call_id": call_id, "content": result},
            ],
            "tools": tools,
        }


def _images(rng: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(16):
        first, second = ((rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(2))
        url = "data:image/png;base64," + base64.b64encode(png(8 + number, 12, (first, second))).decode()
        asked = texts.PICTURE_ASKS[number % len(texts.PICTURE_ASKS)]
        yield _user([{"type": "text", "text": asked}, {"type": "image_url", "image_url": {"url": url}}])


def _long(rng: random.Random) -> Iterator[dict[str, Any]]:
    for tokens in _LONG_TOKENS:
        for task in rng.sample(texts.LONG_TASKS, 3):
            size = tokens - rng.randint(0, tokens // 5)
            yield _user(f"{long_text(rng, size)}\n\n{task}", max_completion_tokens=600)


def _writing(rng: random.Random) -> Iterator[dict[str, Any]]:
    for task in texts.WRITING:
        yield _user(task, temperature=0.9, top_p=0.95)
        yield _user(f"{task} Keep it under eighty words.", max_completion_tokens=160)


def _thinking(rng: random.Random) -> Iterator[dict[str, Any]]:
    for task in texts.THINKING:
        for effort in ("low", "high"):
            yield _user(task, reasoning_effort=effort)


def _special(rng: random.Random) -> Iterator[dict[str, Any]]:
    yield _user("Say yes or no: is glass a liquid?", logprobs=True, top_logprobs=3)
    yield _user("Give a name for a tugboat.", n=3)
    yield _user("Count upwards from one.", stop=["seven", "7"], max_completion_tokens=40)
    yield _user("Tell me everything about gravel.", max_completion_tokens=8)
    yield _user("Choose a number.", seed=42, temperature=0)
    yield _user("Greet the night shift.", user="night-desk", presence_penalty=0.5, frequency_penalty=0.5)


_CATEGORIES = {
    "short": _short,
    "language": _languages,
    "code": _code,
    "system": _system,
    "multi_turn": _multi_turn,
    "json": _json,
    "tools": _tools,
    "image": _images,
    "long": _long,
    "writing": _writing,
    "thinking": _thinking,
    "special": _special,
}

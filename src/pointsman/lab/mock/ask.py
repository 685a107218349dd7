"""What a request asks of a mock model, whatever wire it came on; and the mock's token arithmetic."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 85  # every image counts the same
REFUSE_PHRASE = "please refuse"
CODE_WORDS = ("```", "function", "code", "script", "python", "sql")

ToolMode = Literal["auto", "none", "required", "named"]


class Rejected(Exception):
    """Carry an error the provider answers instead of a reply.

    `code` and `param` are OpenAI's words; the other wires say them in their own. `retry_s` is text, as a rule gives it.
    """

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_s: str | None = None


class Received(msgspec.Struct, frozen=True):
    """Hold one HTTP request as it came in. Header names are lower case; the last of equal ones wins."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    connection: int


class ToolSpec(msgspec.Struct, frozen=True):
    name: str
    schema: Any = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one request. `texts` are all text parts in order, `last` the newest text of the user."""

    model: str
    texts: tuple[str, ...]
    last: str
    stream: bool = False
    after_tool: bool = False  # the newest message is a tool's result
    images: int = 0
    n: int = 1
    max_tokens: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_mode: ToolMode = "auto"
    tool_name: str | None = None
    parallel: bool = True
    json: bool = False
    schema: Any = None
    include_usage: bool = False
    logprobs: int | None = None  # how many alternatives; None: not asked
    stop: tuple[str, ...] = ()
    think: bool = False
    show_thinking: bool = True
    cache_texts: int | None = None  # the first so many texts are marked for the cache; None: the provider decides
    cache_1h: bool = False
    sse: bool = True


def text_bytes(text: str) -> int:
    """Return the length of `text` in UTF-8; a lone surrogate counts as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def count_tokens(text: str) -> int:
    """Return the mock's tokens of a text: ceil(UTF-8 bytes / 4)."""
    return -(-text_bytes(text) // BYTES_PER_TOKEN)


def prompt_tokens(ask: Ask) -> int:
    """Return ceil(UTF-8 bytes of all text parts together / 4) + 85 per image. Tool definitions are not counted."""
    return -(-sum(map(text_bytes, ask.texts)) // BYTES_PER_TOKEN) + IMAGE_TOKENS * ask.images


def trim(text: str, tokens: int) -> str:
    """Return the longest start of `text` of at most `tokens` tokens that ends at a character."""
    limit = max(tokens, 0) * BYTES_PER_TOKEN
    if text.isascii():
        return text[:limit]
    return text.encode("utf-8")[:limit].decode("utf-8", "ignore")


def pieces(text: str, tokens_each: int) -> list[tuple[str, int]]:
    """Cut `text` into content events of about `tokens_each` tokens; the tokens add up to `count_tokens(text)`."""
    step = tokens_each * BYTES_PER_TOKEN
    if text.isascii():
        return [
            (text[at : at + step], -(-min(step, len(text) - at) // BYTES_PER_TOKEN)) for at in range(0, len(text), step)
        ]
    found: list[tuple[str, int]] = []
    start = begun = size = told = 0
    for at, char in enumerate(text):
        width = len(char.encode("utf-8"))
        if size + width - begun > step:
            tokens = -(-size // BYTES_PER_TOKEN) - told
            found.append((text[start:at], tokens))
            told += tokens
            start, begun = at, size
        size += width
    if start < len(text):
        found.append((text[start:], -(-size // BYTES_PER_TOKEN) - told))
    return found

"""Ruler: about how many tokens a text is when nobody has counted, learned for each deployment from what its provider counts."""

from __future__ import annotations

from math import ceil

import msgspec

from pointsman.core.usage import Usage

TOKENS_PER_BYTE = 1 / 4  # English prose and code; until something has been learned
KEPT = 15 / 16  # of what was learned before, at each look
ONE_IN = 16  # answers one is learned from: by their time, as the seed of a draw goes with who was drawn
LEAST_TOKENS = 16  # shorter texts say little
NEAR = 4.0  # more than so many times off is another thing than a tokenizer's way: a hidden prompt, another text
PRIOR = 1_000.0  # what the first guess weighs, in tokens or bytes


class Ruler:
    """Measure texts as one deployment's provider does: what it counted of some, over what we saw of them. So a long text,
    which costs most, says most."""

    __slots__ = ("_bytes", "_guessed", "_input", "_output")

    def __init__(self) -> None:
        self._input = self._guessed = self._bytes = PRIOR
        self._output = PRIOR * TOKENS_PER_BYTE

    def learn(self, guessed_tokens: int, text_bytes: int, counted: Usage) -> None:
        """Learn from an answer whose usage was told: our guess of its input, and the bytes of its text; 0: not known."""
        given = counted.input_tokens
        if guessed_tokens >= LEAST_TOKENS and guessed_tokens / NEAR < given < guessed_tokens * NEAR:
            self._input = self._input * KEPT + given
            self._guessed = self._guessed * KEPT + guessed_tokens
        said, usual = counted.output_tokens - counted.reasoning_tokens, text_bytes * TOKENS_PER_BYTE
        if said >= LEAST_TOKENS and usual / NEAR < said < usual * NEAR:
            self._output = self._output * KEPT + said
            self._bytes = self._bytes * KEPT + text_bytes

    def input_tokens(self, guessed_tokens: int) -> int:
        """Return about how many tokens the provider counts for an input that we guess at so many."""
        return round(guessed_tokens * self._input / self._guessed)

    def output_tokens(self, text_bytes: int) -> int:
        """Return about how many tokens the provider counts for a text of that many bytes."""
        return ceil(text_bytes * self._output / self._bytes)


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Reply).decode


def text_bytes_of(body: bytes) -> int:
    """Return how many bytes of text a chat completion holds; of one that is of another shape, about the length of its JSON."""
    try:
        choices = _decode(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return len(body)
    found = 0
    for choice in choices:
        message = choice.message or _Message()
        calls = [call.function for call in message.tool_calls or () if call.function is not None]
        texts = (
            message.content,
            message.reasoning_content,
            *(one.name for one in calls),
            *(one.arguments for one in calls),
        )
        found += sum(len(text.encode()) for text in texts if text)
    return found

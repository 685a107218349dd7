"""Request and Features: one normalised call and the facts computed once from it."""

from __future__ import annotations

import msgspec

# What a request may need of a model, as bits; Option.lacks uses the same bits.
NEED_IMAGE = 1
NEED_AUDIO = 2
NEED_FILE = 4
NEED_TOOLS = 8
NEED_JSON_SCHEMA = 16
NEED_NAMES = {
    NEED_IMAGE: "images",
    NEED_AUDIO: "audio",
    NEED_FILE: "files",
    NEED_TOOLS: "tools",
    NEED_JSON_SCHEMA: "json_schema",
}

BYTES_PER_TOKEN = 3.6  # English, code and JSON average; the estimate routes and reserves, it never bills
TOKENS_PER_IMAGE = 1_000
CATEGORIES = ("chat", "code", "tools", "extraction")  # kinds of task that a model may be better or worse at
CHAT, CODE, TOOLS, EXTRACTION = range(4)
DEFAULT_OUTPUT_TOKENS = 512  # predicted when the client set no limit


class Features(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold facts computed once from a request. `input_tokens` is an estimate; `output_tokens` is the client's limit,
    None when it set none; `needs` is a sum of NEED_ bits; `choices` is n. The last three are looked for only where a
    route's rules or objective ask for them."""

    input_tokens: int
    output_tokens: int | None = None
    needs: int = 0
    choices: int = 1
    stream: bool = False
    code: bool = False
    language: str = ""  # ISO 639-1 of the last user message; "": not recognised
    turns: int = 1  # messages of the user

    @property
    def category(self) -> int:
        """Return the index of the task's category in CATEGORIES."""
        if self.needs & NEED_TOOLS:
            return TOOLS
        if self.needs & NEED_JSON_SCHEMA:
            return EXTRACTION
        return CODE if self.code else CHAT

    @property
    def predicted_output_tokens(self) -> int:
        limit = self.output_tokens
        if limit is None or limit > DEFAULT_OUTPUT_TOKENS:
            limit = DEFAULT_OUTPUT_TOKENS
        return limit * self.choices


class Request(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Hold one call as the core sees it. Times are milliseconds of the monotonic clock."""

    id: str
    kind: str
    route: str
    features: Features
    received_ms: float
    deadline_ms: float
    service_tier: str | None = None
    attempts: int | None = None  # the client's own, smaller bound


def names_of(needs: int) -> list[str]:
    """Return the names of the NEED_ bits in `needs`."""
    return [name for bit, name in NEED_NAMES.items() if needs & bit]

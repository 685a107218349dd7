"""What generateContent bodies look like, as far as we read them.

Source: ai.google.dev/api/generate-content and ai.google.dev/api/caching (Content, Part). Members not named here are ignored
by these shapes (requests and replies keep the ones of the body itself as `extra`).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from pointsman.dialects.wirejson import NO_RAW

Number = int | float | None


class Blob(msgspec.Struct, rename="camel"):
    mime_type: str | None = None
    data: str | None = None


class FileData(msgspec.Struct, rename="camel"):
    file_uri: str | None = None
    mime_type: str | None = None


class FunctionCall(msgspec.Struct, rename="camel"):
    name: str
    id: str | None = None
    args: Raw = NO_RAW


class FunctionResponse(msgspec.Struct, rename="camel"):
    name: str
    id: str | None = None
    response: Raw = NO_RAW
    parts: list[Raw] | None = None


class PartIn(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None


class Content(msgspec.Struct, rename="camel"):
    parts: list[Raw] | None = None
    role: str | None = None


class LogprobToken(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class TopCandidates(msgspec.Struct, rename="camel"):
    candidates: list[LogprobToken] | None = None


class Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[LogprobToken] | None = None
    top_candidates: list[TopCandidates] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    content: Content | None = None
    index: int = 0
    finish_reason: str | None = None
    logprobs_result: Raw = NO_RAW


class Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: Number = None


class UsageIn(msgspec.Struct, rename="camel"):
    prompt_token_count: Number = None
    candidates_token_count: Number = None
    thoughts_token_count: Number = None
    tool_use_prompt_token_count: Number = None
    cached_content_token_count: Number = None
    prompt_tokens_details: list[Modality] | None = None
    candidates_tokens_details: list[Modality] | None = None


class PromptFeedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class ReplyIn(msgspec.Struct, rename="camel"):
    """Hold a whole reply, or one event of a stream: they have the same shape."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: Raw = NO_RAW
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = NO_RAW


PART = msgspec.json.Decoder(PartIn)
USAGE = msgspec.json.Decoder(UsageIn)
REPLY = msgspec.json.Decoder(ReplyIn)
LOGPROBS = msgspec.json.Decoder(Logprobs)

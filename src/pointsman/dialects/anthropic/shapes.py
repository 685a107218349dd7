"""What Messages bodies look like, as far as we read them.

Source: platform.claude.com/docs/en/api/messages. Members not named here are ignored by these shapes (requests and
replies keep the ones of the body itself as `extra`).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from pointsman.dialects.wirejson import NO_RAW

Number = int | float | None


class CacheControl(msgspec.Struct):
    type: str = "ephemeral"
    ttl: str | None = None  # 5m (the default) or 1h


class Source(msgspec.Struct):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None


class Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    source: Raw = NO_RAW
    title: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NO_RAW
    tool_use_id: str | None = None
    content: Raw = NO_RAW
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    cache_control: CacheControl | None = None


class CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Number = None
    ephemeral_1h_input_tokens: Number = None


class OutputDetails(msgspec.Struct):
    thinking_tokens: Number = None


class UsageIn(msgspec.Struct):
    input_tokens: Number = None
    output_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None


class ReplyIn(msgspec.Struct):
    content: list[Raw] | None = None
    type: str | None = None
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Raw = NO_RAW


class StartedMessage(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: Raw = NO_RAW


class BlockDelta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None  # of message_delta


class StreamEvent(msgspec.Struct, gc=False):
    """Hold any event of the stream: the members of all kinds side by side, so that one decoder reads each in one go."""

    type: str
    index: int = 0
    delta: BlockDelta | None = None
    content_block: Block | None = None
    message: StartedMessage | None = None
    usage: Raw = NO_RAW


BLOCK = msgspec.json.Decoder(Block)
BLOCKS = msgspec.json.Decoder(str | list[Raw])
SOURCE = msgspec.json.Decoder(Source)
USAGE = msgspec.json.Decoder(UsageIn)
REPLY = msgspec.json.Decoder(ReplyIn)
EVENT = msgspec.json.Decoder(StreamEvent)

"""What travels: the request, the reply, the events, the keys. Sizes are those of a small chat call: 1 KB each way."""

from __future__ import annotations

import json

CLIENT_KEY = "bench-client-key-of-no-value"
UPSTREAM_KEY = "bench-upstream-key-of-no-value"
EVENTS = 100  # content events of one stream; an event that ends it and one with the usage follow
EVENT_BYTES = 200

# What the official Python client sends with each call.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "User-Agent": "AsyncOpenAI/Python 3.54.0",
    "X-Stainless-Arch": "x64",
    "X-Stainless-Async": "async:asyncio",
    "X-Stainless-Lang": "python",
    "X-Stainless-OS": "Linux",
    "X-Stainless-Package-Version": "3.54.0",
    "X-Stainless-Read-Timeout": "600",
    "X-Stainless-Retry-Count": "0",
    "X-Stainless-Runtime": "CPython",
    "X-Stainless-Runtime-Version": "3.11.4",
}

_SYSTEM = (
    "You answer questions about the timetable of a small railway. Be brief, give times in the 24-hour clock, name the "
    "platform, and say when a connection is too short to be safe. If a train does not run on the day asked for, name the "
    "next one that does. Never guess: when the timetable says nothing, say that it says nothing."
)
_USER = (
    "I arrive at the harbour station at 09:42 on a Saturday with a bicycle and want to be in the valley before noon. "
    "Which trains take bicycles, where do I change, and what do I do if the first one is ten minutes late? "
)
_REPLY = (
    "Take the 09:58 from platform 2; it carries bicycles in the last coach. Change at the junction at 10:41 for the 10:55 "
    "valley train from platform 4, which arrives at 11:37. "
)


def request(model: str, *, stream: bool) -> bytes:
    """Return a chat request of about 1 KB in OpenAI's shape, members in the order its client writes them."""
    body: dict[str, object] = {
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER * 2}],
        "model": model,
        "max_completion_tokens": 256,
        "temperature": 0.2,
        "user": "timetable-desk",
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def reply() -> bytes:
    """Return a chat completion of about 1 KB."""
    message: dict[str, object] = {"role": "assistant", "content": _REPLY * 3, "refusal": None, "annotations": []}
    body = {
        "id": "chatcmpl-bench00000000000001",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 212,
            "completion_tokens": 118,
            "total_tokens": 330,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
    }
    return json.dumps(body).encode()


def http(port: int, body: bytes, key: str) -> bytes:
    """Return the whole HTTP request, as the official client would send it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    own = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n"
    return f"POST /v1/chat/completions HTTP/1.1\r\n{own}{lines}\r\n".encode() + body


def stream_parts() -> list[bytes]:
    """Return what one stream is written as: the head, then one HTTP chunk per event."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    words = (_REPLY.split() * (EVENTS // 20 + 1))[:EVENTS]
    events = [_event({"delta": {"content": f" {word}"}, "finish_reason": None}) for word in words]
    last = _event({"delta": {}, "finish_reason": "stop"})
    usage = _event(None) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return [head + events[0], *events[1:], last + usage]


def _event(choice: dict[str, object] | None) -> bytes:
    body: dict[str, object] = {
        "id": "chatcmpl-bench00000000000001",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "bench",
        "choices": [] if choice is None else [{"index": 0, **choice}],
    }
    if choice is None:
        body["usage"] = {"prompt_tokens": 212, "completion_tokens": EVENTS, "total_tokens": 212 + EVENTS}
    text = json.dumps(body)
    body["obfuscation"] = "x" * max(1, EVENT_BYTES - len(text) - 28)
    return _chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

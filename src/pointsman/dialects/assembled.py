"""Assembled: what a stream on OpenAI's wire has said, as one reply, as far as it came."""

from __future__ import annotations

from typing import Any

import msgspec

_any = msgspec.json.Decoder().decode
MOST_CHOICES = 128


def assembled(stream: bytes) -> bytes:
    """Return the text, refusals and tool calls of a stream's events as JSON in the shape of a reply; what is no event that is
    known is passed over."""
    choices: dict[int, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for line in stream.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        try:
            event = _any(line[5:])
        except (msgspec.MsgspecError, UnicodeError):
            continue
        if not isinstance(event, dict):
            continue
        top |= {name: event[name] for name in ("id", "model", "error", "usage") if event.get(name) is not None}
        for choice in event.get("choices") or ():
            if isinstance(choice, dict):
                _add(choices, choice)
    return msgspec.json.encode({**top, "choices": [choices[index] for index in sorted(choices)]})


def _add(choices: dict[int, dict[str, Any]], choice: dict[str, Any]) -> None:
    index, delta = choice.get("index"), choice.get("delta")
    if not isinstance(index, int) or not 0 <= index < MOST_CHOICES:
        return
    made = choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": ""}})
    if choice.get("finish_reason"):
        made["finish_reason"] = choice["finish_reason"]
    for name, value in (delta if isinstance(delta, dict) else {}).items():
        message = made["message"]
        if name == "tool_calls" and isinstance(value, list):
            _call(message.setdefault("tool_calls", {}), value)
        elif isinstance(value, str) and name != "role":
            message[name] = message.get(name, "") + value


def _call(calls: dict[str, dict[str, str]], parts: list[Any]) -> None:
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("function"), dict):
            call = calls.setdefault(str(part.get("index")), {"name": "", "arguments": ""})
            for name in call:
                if isinstance(part["function"].get(name), str):
                    call[name] += part["function"][name]

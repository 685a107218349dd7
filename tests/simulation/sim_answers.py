"""What clients read, judged by itself: whole events with one end, whole replies, errors in their envelope, no secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sim_clients import Client, Response, read_responses
from sim_scenario import KEY, SECRETS


def events_of(body: bytes) -> tuple[list[bytes], bool]:
    """Return the data of every event of a stream (WHATWG: server-sent events), and whether it ends with a whole one."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks = text.split(b"\n\n")
    found: list[bytes] = []
    for block in blocks[:-1]:
        lines = [line for line in block.split(b"\n") if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(line[5:].removeprefix(b" ") for line in lines))
    return found, not blocks[-1].strip(b"\n")


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _is_terminal(data: bytes) -> bool:
    if data == b"[DONE]":
        return True
    value = _value(data)
    return isinstance(value, dict) and "error" in value


def client_problems(client: Client) -> Iterator[str]:
    """I17, I24, I33: whole events with one end, whole answers, errors in their envelope, no secrets."""
    data = bytes(client.data)
    for secret in (*SECRETS, KEY):
        if secret.encode() in data:
            yield "I24: a secret came to a client"
    for response in read_responses(data):
        if response.problem:
            yield f"I17: {response.problem}"
        elif response.whole and response.streams:
            yield from _stream(response)
        elif response.whole:
            yield from _reply(response)


def _stream(response: Response) -> Iterator[str]:
    events, ended = events_of(response.body)
    terminals = [at for at, data in enumerate(events) if _is_terminal(data)]
    if not ended:
        yield "I17: the stream does not end with a whole event"
    if len(terminals) != 1 or terminals[0] != len(events) - 1:
        yield f"I17: {len(events)} events, terminals at {terminals}"
    elif events[-1] != b"[DONE]":
        yield from _error(_value(events[-1])["error"], response)
        if not _has_content(events):
            yield "I8: a stream was begun, and broke off, without any content"


def _has_content(events: list[bytes]) -> bool:
    """Tell whether any event holds what is more than a role; one that cannot be read counts."""
    for value in map(_value, events[:-1]):
        if not isinstance(value, dict):
            return True
        for choice in value.get("choices") or []:
            delta = choice.get("delta") or {}
            if choice.get("finish_reason") or any(delta.get(name) for name in ("content", "tool_calls", "refusal")):
                return True
    return False


def _reply(response: Response) -> Iterator[str]:
    value = _value(response.body)
    if not isinstance(value, dict):
        yield f"I17: {response.status} without a JSON body"
    elif response.status >= 400:
        yield from _error(value.get("error"), response)
        if (response.status in (429, 503)) is not ("retry-after" in response.headers):
            yield f"I33: {response.status} and retry-after {response.headers.get('retry-after')}"
    elif not value.get("choices"):
        yield "I18: 200 without a choice"


def _error(error: Any, response: Response) -> Iterator[str]:
    if not isinstance(error, dict) or not {"message", "type", "code", "param", "origin"} <= set(error):
        yield f"I33: not the envelope: {error}"
    elif error["origin"] not in ("client", "router", "provider") or not error.get("request_id"):
        yield f"I33: no origin or no request id: {error}"
    if "x-request-id" not in response.headers:
        yield "I33: no x-request-id"


def said_by(response: Response) -> tuple[str, bool]:
    """Return the text that a client got, and whether it was told to be complete."""
    if not response.streams:
        value = _value(response.body)
        if response.status != 200 or not isinstance(value, dict):
            return "", False
        return value["choices"][0]["message"].get("content") or "", response.whole
    events, _ = events_of(response.body)
    text, finished = "", False
    for data in events:
        value = _value(data)
        for choice in value.get("choices") or [] if isinstance(value, dict) else []:
            text += (choice.get("delta") or {}).get("content") or ""
            finished = finished or bool(choice.get("finish_reason"))
    done = bool(events) and events[-1] == b"[DONE]"
    return text, done and finished

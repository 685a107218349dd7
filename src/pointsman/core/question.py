"""Question: what of a request may differ from an earlier one whose answer is given again: the text of its last message. Pure.

All else, the frame, is the same byte for byte: system prompt, earlier turns, tools, formats, sampling.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from pointsman.core.cachekey import FORMAT, KEY_BYTES, UNSHARED, VOLATILE, Caching, decoded, encoded

MOST_CHARACTERS = 2_000  # of a question; a longer one is not compared
_PLAIN_CHOICES = (None, "auto", "none")


class Question(NamedTuple):
    """Hold the digest of all but the question, and the question."""

    frame: str
    text: str


def question_of(caching: Caching, share: str, body: bytes, beta: bytes | None = None) -> Question | None:
    """Return the Question of a chat request that was looked up in `share`; None when it is not one to compare."""
    try:
        members = decoded(body)
        for name in VOLATILE:
            members.pop(name, None)
        text = _taken(members)
        frame = encoded(members) if text is not None else b""
    except (msgspec.MsgspecError, OverflowError, RecursionError, UnicodeError):
        return None
    if text is None:
        return None
    marked = b"semantic%d" % FORMAT + caching.mark + bytes.fromhex(share)
    digest = blake2b(frame, digest_size=KEY_BYTES, key=marked[:64])
    if beta is not None:
        digest.update(b"\0" + beta)
    return Question(digest.hexdigest(), text)


def _taken(members: dict[str, Any]) -> str | None:
    """Take the question out of a request's members; None when they are not those of one question in text."""
    messages = members.get("messages")
    if not isinstance(messages, list) or not messages or not UNSHARED.isdisjoint(members):
        return None
    if members.get("n") not in (None, 1) or members.get("tool_choice") not in _PLAIN_CHOICES:
        return None
    if not all(isinstance(one, dict) and _is_text(one.get("content")) for one in messages):
        return None
    last = messages[-1]
    content = last.get("content")
    text = content[0].get("text") if isinstance(content, list) and len(content) == 1 else content
    if last.get("role") != "user" or not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        return None
    # One part of text and a bare text are told apart: providers may mark parts, for their caches.
    last["content"] = [{**content[0], "text": None}] if isinstance(content, list) else None
    return text


def _is_text(content: Any) -> bool:
    """Tell whether a message holds nothing but text: an image, a sound or a file is never compared."""
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)

"""Said: what a chat request on OpenAI's wire says beside its messages, read only where a route asks for it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from pointsman.core.case import Said
from pointsman.core.priority import RANKS
from pointsman.dialects.relay_request import Head

PRIORITY_HEADER = "x-pointsman-priority"
SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id")
# OpenAI's own bounds of metadata: https://platform.openai.com/docs/api-reference/chat/create; what is longer is cut. The
# record of a request holds what its rules saw, and may not become large by what a client writes.
MOST_TEXT = 512  # characters of one value
MOST_NAME = 64
MOST_SESSION = 256
MOST_ENTRIES = 16  # of metadata
MOST_BEGINNING = 16  # messages
_NONE = Raw(b"")


class _Members(msgspec.Struct, frozen=True):
    temperature: Raw = _NONE
    user: Raw = _NONE
    metadata: Raw = _NONE
    prompt_cache_key: Raw = _NONE
    previous_response_id: Raw = _NONE


class _Message(msgspec.Struct, frozen=True):
    role: str = ""


_members = msgspec.json.Decoder(_Members).decode
_map = msgspec.json.Decoder(dict[str, Raw]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_message = msgspec.json.Decoder(_Message).decode
_number = msgspec.json.Decoder(float).decode
_any = msgspec.json.Decoder().decode


def read_said(head: Head, body: bytes, headers: Mapping[str, bytes], rule_headers: tuple[str, ...]) -> Said:
    """Return what a request says. `body` is what `head` was read from; a member of another type than expected counts as
    absent: the provider will say so. `headers` have lower-case names; rules see those of `rule_headers`."""
    found = _members(body)
    return Said(
        head.model[:MOST_TEXT],
        _session(head, found, headers),
        _text(found.user),
        _temperature(found.temperature),
        _metadata(found.metadata),
        tuple(head.router.tags),
        {name: headers[name].decode("latin-1")[:MOST_TEXT] for name in rule_headers if name in headers},
        _beginning(bytes(head.messages)),
        _priority(head, headers),
    )


def _priority(head: Head, headers: Mapping[str, bytes]) -> str:
    """Return the class that the request names, the lower one of two; "" when it names none that there is."""
    named = (head.router.priority, headers.get(PRIORITY_HEADER, b"").decode("latin-1"))
    return max((one for one in named if one in RANKS), key=RANKS.__getitem__, default="")


def _session(head: Head, found: _Members, headers: Mapping[str, bytes]) -> str:
    """Return the session: of the router's own member, of a header, or of a member that providers cache by."""
    named = head.router.session or next((headers[n].decode("latin-1") for n in SESSION_HEADERS if n in headers), "")
    return (named or _text(found.prompt_cache_key) or _text(found.previous_response_id))[:MOST_SESSION]


def _text(raw: Raw) -> str:
    value = _any(raw) if raw else ""
    return value[:MOST_TEXT] if isinstance(value, str) else ""


def _temperature(raw: Raw) -> float:
    try:
        return _number(raw) if raw else -1.0
    except msgspec.ValidationError:
        return -1.0


def _metadata(raw: Raw) -> dict[str, str]:
    """Return metadata as text by name; values that are no strings as the JSON they are."""
    try:
        given = _map(raw) if raw else {}
    except msgspec.ValidationError:
        return {}
    return {
        name[:MOST_NAME]: _text(value) if bytes(value).startswith(b'"') else bytes(value).decode()[:MOST_TEXT]
        for name, value in list(given.items())[:MOST_ENTRIES]
    }


def _beginning(messages: bytes) -> bytes:
    """Return the messages up to the user's first."""
    try:
        raws = _raws(messages)[:MOST_BEGINNING]
        for index, raw in enumerate(raws):
            if _message(raw).role == "user":
                return b"".join(map(bytes, raws[: index + 1]))
    except msgspec.ValidationError:
        pass
    return messages
